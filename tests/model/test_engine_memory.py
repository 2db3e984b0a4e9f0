"""The engine when memory ends, when its device fails, and what it finds out about itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared import telemetry
from shared.cards import CLASSES
from shared.errors import LacksMemory, NoRoom, OutOfResources
from shared.messages import AdapterUsed, Decoding
from shared.prompts import BASE_PROMPT
from tests.adapters import make_adapter
from tests.engines import film
from tests.waiting import wait_until
from workers.caption.captioner import EngineCaptioner
from workers.caption.engine import deltas, linear
from workers.caption.engine.engine import Engine, Size, StepFailed
from workers.caption.engine.requests import Request, Row
from workers.caption.engine.sampling import Sampling
from workers.caption.engine.size import Limits
from workers.delivery.machine import Machine
from workers.delivery.pauses import Pauses
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.loading import LoadedModel
from workers.progress import Progress

pytestmark = pytest.mark.model

SIZE = Size(rows=4, positions=128, chunk=64)
WAIT_S = 120
NO_MEMORY = "CUDA out of memory. Tried to allocate 2 GiB"
Make = Callable[..., Engine]


@pytest.fixture
def make(loaded: LoadedModel) -> Iterator[Make]:
    made: list[Engine] = []

    def engine(size: Size = SIZE, **options: Any) -> Engine:
        made.append(Engine(loaded, size, **{"ahead": True, **options}))
        return made[-1]

    yield engine
    for one in made:
        one.close()


def text(seed: int, new: int = 8, **fields: Any) -> Request:
    return Request((1, 90 + seed, 70), samplings=(Sampling(new),), **fields)


def said(engine: Engine, *requests: Request) -> list[tuple[int, ...]]:
    tickets = [engine.submit(one) for one in requests]
    return [ticket.result(WAIT_S)[0].tokens for ticket in tickets]


def one_step_lacks_memory(engine: Engine, patch: pytest.MonkeyPatch, number: int = 3) -> None:
    begin, calls = engine._runner.begin, iter(range(10**6))

    def lacking(*args: Any) -> Any:
        if next(calls) == number:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return begin(*args)

    patch.setattr(engine._runner, "begin", lacking)


# --- memory --------------------------------------------------------------------------------------


def test_fewer_rows_give_their_memory_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()
    requests = [text(seed) for seed in range(6)]
    wanted, before = said(engine, *requests), engine._runner.kv.bytes
    one_step_lacks_memory(engine, monkeypatch)
    assert said(engine, *requests) == wanted
    assert engine.size.rows == engine._runner.kv.rows == 2
    assert engine._runner.kv.bytes * 2 == before
    engine.audit()


def test_on_a_cpu_too_what_memory_ended_for_is_done_again_with_less(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch has no class of error for it there."""
    engine = make()
    requests = [text(seed) for seed in range(6)]
    wanted = said(engine, *requests)
    begin, calls = engine._runner.begin, iter(range(10**6))

    def lacking(*args: Any) -> Any:
        if next(calls) == 3:
            torch.empty(1 << 46)
        return begin(*args)

    monkeypatch.setattr(engine._runner, "begin", lacking)
    assert said(engine, *requests) == wanted
    assert engine.size.rows == 2


@pytest.mark.parametrize("free", [3, 0])
def test_on_a_cpu_too_fewer_frames_are_seen_at_once(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    engine = make(replace(SIZE, patches=4 * loaded.layout.patches_per_side**2))
    request = film(loaded, 3, 4)
    [wanted] = said(engine, request)
    see = engine._runner.see

    def lacking(some: torch.Tensor, *more: Any) -> torch.Tensor:
        if len(some) > free:
            torch.empty(1 << 46)
        return see(some, *more)

    monkeypatch.setattr(engine._runner, "see", lacking)
    if free:
        assert said(engine, request) == [wanted]
    else:
        with pytest.raises(LacksMemory):
            said(engine, request)


@pytest.mark.parametrize("when", ["ready", "put"])
def test_on_a_cpu_too_an_adapter_without_memory_is_for_later(
    make: Make, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    engine = make()
    used = AdapterUsed(version="a", generation=1)
    for ask in (engine.use, engine.stand_by):
        with monkeypatch.context() as patch:
            patch.setattr(engine._adapters._deltas[2], when, lambda *args: torch.empty(1 << 46))
            with pytest.raises(OutOfResources, match="allocate memory"):
                ask(used, adapters[0])
        ask(used, adapters[0])
        engine.use(None, None)
        used = AdapterUsed(version="b", generation=2)


def test_what_was_learned_holds_for_the_same_card_model_and_adapter(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapters: list[Adapter]
) -> None:
    """And for a worker that starts again."""
    file = tmp_path / "limits.json"
    engine = make(limits=Limits(file, "t4"))
    engine.use(AdapterUsed(version="a", generation=1), adapters[0])
    counted = telemetry.ENGINE_SHRUNK._value.get()
    one_step_lacks_memory(engine, monkeypatch)
    said(engine, *(text(seed) for seed in range(4)))
    assert telemetry.ENGINE_SHRUNK._value.get() == counted + 1
    again = make(limits=Limits(file, "t4"))
    assert again.size.rows == 4  # of the base model nothing is known
    again.use(AdapterUsed(version="a", generation=1), adapters[0])
    assert again.size.rows == 2
    assert telemetry.ENGINE_ROWS_MOST._value.get() == 2
    said(again, text(1))
    assert again._runner.kv.rows == 2
    assert make(limits=Limits(file, "l4")).size.rows == 4


def test_what_is_learned_beside_a_canary_holds_for_both_together(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapters: list[Adapter]
) -> None:
    """Neither has less room alone, nor the canary once it is promoted."""
    file = tmp_path / "limits.json"
    incumbent, canary = (AdapterUsed(version=name, generation=1) for name in "ac")

    def started() -> Engine:
        engine = make(limits=Limits(file, "t4"))
        engine.use(incumbent, adapters[0])
        return engine

    engine = started()
    engine.stand_by(canary, adapters[2])
    one_step_lacks_memory(engine, monkeypatch)
    said(engine, *(text(seed) for seed in range(4)))
    assert engine.size.rows == 2
    again = started()
    assert again.size.rows == 4
    again.stand_by(canary, adapters[2])
    assert again.size.rows == 2
    promoted = make(limits=Limits(file, "t4"))
    promoted.use(canary, adapters[2])
    assert promoted.size.rows == 4


@pytest.fixture(scope="module")
def adapters(
    checkpoint: Path, loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> list[Adapter]:
    shape = AdapterShape.of(loaded.model)
    return [
        read_adapter(f"v{seed}", make_adapter(checkpoint, folder, seed, rank), shape)
        for seed, rank in ((1, 4), (2, 16), (3, 8))
        for folder in [tmp_path_factory.mktemp("adapter")]
    ]


@pytest.mark.parametrize(
    ("form", "what", "number"),
    [("packed", "put", 3), ("joined", "room", 3), ("joined", "put", 3), ("joined", "put", 0)],
)
def test_no_memory_for_an_adapter_leaves_the_others_as_they_are(
    make: Make,
    adapters: list[Adapter],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    what: str,
    number: int,
) -> None:
    """A larger rank needs room in every layer, and it may end in any of them. Where adapters lie
    side by side nothing moves then: a CUDA graph would look at the old place."""
    if form == "joined":
        for module in (linear, deltas):
            monkeypatch.setattr(module, "can_pack", lambda dtype, device: False)
    used = [AdapterUsed(version=f"v{one}", generation=one) for one in range(3)]
    engine = make()
    base = said(engine, text(1))
    engine.use(used[0], adapters[0])
    first, before = said(engine, text(1)), places(engine)
    assert first != base
    with monkeypatch.context() as patch:

        def lacking(*args: Any) -> None:
            raise torch.OutOfMemoryError(NO_MEMORY)

        patch.setattr(engine._adapters._deltas[number], what, lacking)
        with pytest.raises(OutOfResources, match="Tried to allocate"):
            engine.use(used[1], adapters[1])
    assert what == "put" or places(engine) == before
    assert said(engine, text(1)) == first
    engine.use(used[2], adapters[2])
    third = said(engine, text(1))
    engine.use(used[0], None)
    assert said(engine, text(1)) == first
    engine.use(None, None)
    assert said(engine, text(1)) == base
    engine.use(used[1], adapters[1])
    fresh = make()
    fresh.use(used[1], adapters[1])
    assert said(engine, text(1)) == said(fresh, text(1))
    assert third not in (base, first)
    engine.audit()


def places(engine: Engine) -> tuple[object, ...]:
    """What a CUDA graph is caught for, and what it looks at."""
    found = [delta for delta in engine._adapters._deltas if isinstance(delta, deltas.JoinedDelta)]
    return engine._adapters.rank, *(delta._down.data_ptr() for delta in found)


def test_a_caption_alone_that_lacks_memory_gets_less_the_next_time(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3x3 pooling, then fewer frames, down to one of them."""
    captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=1)
    plans = [captioner.plan(BASE_PROMPT, None, 8)]
    decoding, dice = Decoding(max_new_tokens=8), torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 255, (4, 48, 48, 3), generator=dice).byte().numpy()

    def caption(frames: int) -> Any:
        return captioner.caption(pictures[:frames], BASE_PROMPT, decoding, Progress())

    with monkeypatch.context() as patch:

        def lacking(*args: Any) -> None:
            raise torch.OutOfMemoryError(NO_MEMORY)

        patch.setattr(captioner.engine._runner, "begin", lacking)
        while True:
            with pytest.raises(LacksMemory) as error:
                caption(plans[-1].frames)
            if not error.value.again:
                break
            plans.append(captioner.plan(BASE_PROMPT, None, 8))
    assert [(one.frames, one.visual_tokens) for one in plans] == [(4, 36), (4, 16), (2, 8), (1, 4)]
    assert [one.reduced for one in plans] == [False, False, True, True]
    with pytest.raises(NoRoom, match="2 frames: memory ran out with more than 4"):
        captioner.plan(BASE_PROMPT, 2, 8)
    assert captioner.facts()["visual_tokens"] == 4
    answer = caption(2)  # it looks at what there is with as much pooling as it has to
    assert answer.visual_tokens == 8
    assert answer.features.tensor.shape[0] == 8
    assert captioner.plan(BASE_PROMPT, 1, 8).visual_tokens == 4


# --- its device ----------------------------------------------------------------------------------


def broken_card(engine: Engine, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """After an error of CUDA nothing is computed in this process any more. Returns a proof."""

    def failing(*args: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name in ("begin", "see", "free", "lengths", "inputs"):
        patch.setattr(engine._runner, name, failing)
    return failing


def test_after_a_fatal_error_of_the_device_the_worker_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody is told, so that nothing waits for it; and the examination says that it is over."""
    engine = make()
    ended: list[str] = []
    machine = Machine(Pauses(lambda: None), lambda: False)
    tickets = [engine.submit(text(seed, new=100)) for seed in range(6)]
    with monkeypatch.context() as patch:
        machine.check("device", broken_card(engine, patch), ended.append)
        errors: list[BaseException] = []
        for ticket in tickets:
            with pytest.raises((StepFailed, RuntimeError)) as error:
                ticket.result(WAIT_S)
            errors.append(error.value)
        assert {str(one) for one in errors} <= {
            "RuntimeError: CUDA error: an illegal memory access was encountered",
            "CUDA error: an illegal memory access was encountered",
        }
        assert all(machine.is_to_blame(one) for one in errors)
        wait_until(lambda: not engine.lives, WAIT_S, "its end")
    assert ended[0].startswith("device: CUDA error")
    with pytest.raises(RuntimeError, match="the engine has ended"):
        engine.submit(text(1))


def test_an_engine_that_is_dead_is_seen(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=1)
    captioner.prove()
    captioner.engine.close()
    with pytest.raises(RuntimeError, match="the engine has ended"):
        captioner.prove()


# --- what it finds out about itself --------------------------------------------------------------


def spoilt_users(engine: Engine) -> None:
    engine._adapters.hold(1)


def spoilt_lengths(engine: Engine) -> None:
    with torch.inference_mode():
        engine._runner._lengths[3] = 5


def spoilt_memory(engine: Engine) -> None:
    engine._runner.kv.rows = 3


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoilt_users, "1 users of adapters in slot 1, and 0 rows"),
        (spoilt_lengths, "5 positions of row 3, and 0 are its own"),
        (spoilt_memory, "memory for 3 rows, and 4 of them"),
    ],
)
def test_an_idle_engine_looks_itself_over(
    make: Make, spoil: Callable[[Engine], None], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    before = telemetry.ENGINE_FAULTS._value.get()
    said(engine, text(1))
    engine.audit()
    assert telemetry.ENGINE_FAULTS._value.get() == before
    spoil(engine)
    said(engine, text(1))
    wait_until(lambda: telemetry.ENGINE_FAULTS._value.get() > before, 10, "its own audit")
    with pytest.raises(AssertionError, match=told):
        engine.audit()


def test_rows_that_are_over_leave_no_length(make: Make) -> None:
    """Whichever of them ends first, and wherever it stands."""
    engine = make()
    engine._ends = frozenset()
    turns: list[tuple[list[int], list[int]]] = []
    see = engine._see

    def noticed() -> None:
        rows: list[Row] = engine._rows
        turns.append(([row.length for row in rows], engine._runner.lengths()))
        see()

    engine._see = noticed  # type: ignore[method-assign]
    said(engine, *(text(seed, new=new) for seed, new in enumerate((3, 9, 5, 2, 7, 1))))
    assert max(len(rows) for rows, _ in turns) == 4
    for rows, lengths in turns:
        assert lengths == [*rows, *[0] * (4 - len(rows))]
    engine.audit()
