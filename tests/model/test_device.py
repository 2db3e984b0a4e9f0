"""What a GPU would not forgive, seen without one: tensors of host and device mixed, and waiting.

The engine runs on a device that is played (tests/device_marks.py), with weights as a GPU has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.messages import AdapterUsed
from tests.device_marks import DEVICE, Marks, Mixed
from tests.engines import WAIT_S, film
from workers.caption.engine import deltas, linear, runner, sampling
from workers.caption.engine.buckets import Mode
from workers.caption.engine.engine import Engine, Size, StepFailed
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.caption.language_lock import LanguageLock
from workers.model.adapter_files import Adapter
from workers.model.loading import LoadedModel, load_model

pytestmark = pytest.mark.model

SIZE = Size(rows=5, positions=256, chunk=32, patches=2 * 36)


class Played(Engine):
    """On the device; counts the steps that were begun, and those of them before each read."""

    def __init__(self, marks: Marks, *args: Any, **options: Any) -> None:
        self.marks, self.begun, self.looked = marks, 0, 0
        self.begun_before_read: list[int] = []
        self.rows_at_read: list[int] = []
        with marks:
            super().__init__(*args, **options)
        marks.waits.clear()
        begin = self._runner.begin

        def counted(*args: Any) -> Any:
            self.begun += 1
            return begin(*args)

        self._runner.begin = counted  # type: ignore[method-assign]

    def _run(self) -> None:
        with self.marks:
            super()._run()

    def _faults(self) -> list[str]:
        self.looked += 1  # the device is read for it, when there is nothing to do
        return super()._faults()

    def _read(self, step: Any) -> None:
        self.begun_before_read.append(self.begun)
        self.rows_at_read.append(len(self._rows))
        super()._read(step)


@pytest.fixture
def play(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Played]]:
    """An engine on the device, with matrices that are joined and not packed, as on a GPU."""
    for module in (linear, deltas):
        monkeypatch.setattr(module, "can_pack", lambda dtype, device: False)
    made: list[Played] = []

    def engine(mode: Mode = "plain") -> Played:
        loaded, marks = load_model(checkpoint, model_id="tests/tiny"), Marks()
        marks.put(loaded.model)
        loaded = replace(loaded, device=DEVICE)
        lock = LanguageLock(loaded.tokenizer, loaded.model.lm_head.out_features)
        made.append(Played(marks, loaded, SIZE, lock, mode=mode, ahead=True))
        made[-1]._ends = frozenset()
        return made[-1]

    yield engine
    for one in made:
        one.close()


def every_kind(loaded: LoadedModel) -> list[Request]:
    """Several candidates, lock, draws, a penalty and log-probabilities; prompts of some chunks;
    frames, their features, and none."""
    kinds = (
        Sampling(9),
        Sampling(6, locked=True),
        Sampling(7, temperature=0.9, top_p=0.8, seed=3),
        Sampling(8, repetition_penalty=1.3, locked=True),
        Sampling(5, temperature=1.1, seed=1),
    )
    return [
        film(loaded, 5, 4, samplings=kinds[:2], logprobs=True),
        film(loaded, 2, 4, samplings=kinds[2:4]),
        film(loaded, 3, 0, samplings=kinds[4:]),
        film(loaded, 4, 4, samplings=kinds[1:4], logprobs=True),
        # Of a video that was seen before.
        replace(film(loaded, 6, 4), pixels=None, features=torch.randn(4 * 9, 64)),
    ]


@pytest.mark.parametrize("mode", ["plain", "same"])
def test_the_host_waits_once_a_step_and_nothing_is_mixed(
    mode: Mode, play: Callable[..., Played], loaded: LoadedModel, known: list[Adapter]
) -> None:
    engine = play(mode)
    tickets = [engine.submit(one) for one in every_kind(loaded)]
    for number, adapter in enumerate(known):
        engine.use(AdapterUsed(version=f"v{number}", generation=number), adapter)
        tickets += [engine.submit(one) for one in every_kind(loaded)]
    for ticket in tickets:
        ticket.result(WAIT_S)
    engine.audit()
    engine.close()  # it does not look itself over any more
    assert engine.marks.waits == []
    assert len(engine.marks.reads) - engine.looked == engine.begun > 30
    # Each was read when the next one had been begun, unless no row was left to begin one for.
    ahead = [count - number for number, count in enumerate(engine.begun_before_read, start=1)]
    assert set(ahead) == {0, 1}
    rows = [rows for rows, more in zip(engine.rows_at_read, ahead, strict=True) if not more]
    assert rows == [0] * len(rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("mode", ["fast", "same", "plain"])
def test_a_real_device_is_waited_for_nowhere_else(
    mode: Mode, checkpoint: Path, known: list[Adapter]
) -> None:
    loaded = load_model(checkpoint, model_id="tests/tiny", device="cuda")
    lock = LanguageLock(loaded.tokenizer, loaded.model.lm_head.out_features)
    engine = Engine(loaded, SIZE, lock, mode=mode)
    engine._ends = frozenset()

    def work() -> None:
        for ticket in [engine.submit(one) for one in every_kind(loaded)]:
            ticket.result(WAIT_S)

    for number, adapter in enumerate(known):
        engine.use(AdapterUsed(version=f"v{number}", generation=number), adapter)
        work()
    engine.audit()
    torch.cuda.set_sync_debug_mode("error")  # of what waits without being asked to
    try:
        work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        engine.close()


def fails_in(engine: Played, loaded: LoadedModel) -> str:
    """What is wrong with it: said by a step that failed, or where it waited."""
    tickets = [engine.submit(one) for one in every_kind(loaded)]
    said = []
    for ticket in tickets:
        try:
            ticket.result(WAIT_S)
        except (StepFailed, Mixed) as error:
            said.append(str(error))
    return " / ".join(said + engine.marks.waits)


def host_only(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return values


def waiting(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return values.to(device)


def asked(logits: torch.Tensor) -> torch.Tensor:
    fine = logits.amax(-1).isfinite()
    return fine if bool(fine.all()) else ~fine


def at_once(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@pytest.mark.parametrize(
    ("module", "name", "fault", "said"),
    [
        (sampling, "up", host_only, "from here, at sampling.py"),
        (runner, "up", host_only, "from here, at"),
        (runner, "up", waiting, "a copy between host and device, at test_device.py"),
        (runner, "finite", asked, "__bool__, at test_device.py"),
        (runner, "Down", at_once, "tolist, at runner.py"),
    ],
)
def test_each_kind_of_fault_is_found(
    module: Any,
    name: str,
    fault: Any,
    said: str,
    play: Callable[..., Played],
    loaded: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = play()
    monkeypatch.setattr(module, name, fault)
    assert said in fails_in(engine, loaded)


MASK = torch.tensor([True, False, True])


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        (lambda x: x + torch.ones(3), "mix"),
        (lambda x: torch.cat([x, torch.zeros(1)]), "mix"),
        (lambda x: x[torch.tensor([0, 1])], "mix"),
        (lambda x: torch.ones(3).add_(x), "mix"),
        (lambda x: torch.where(x > 0, x, torch.zeros(3)), "mix"),
        (lambda x: x.sum().item(), "wait"),
        (lambda x: x[0].item(), "wait"),
        (lambda x: float(x.sum()), "wait"),
        (lambda x: bool(x.any()), "wait"),
        (lambda x: x.tolist(), "wait"),
        (lambda x: x.cpu(), "wait"),
        (lambda x: x.to("cpu"), "wait"),
        (lambda x: x.nonzero(), "wait"),
        (lambda x: torch.where(x > 0), "wait"),
        (lambda x: x[x > 0], "wait"),
        (lambda x: x[[0, 1]], "wait"),
        (lambda x: x.__setitem__(slice(0, 2), torch.zeros(2)), "wait"),
        (lambda x: x.copy_(torch.zeros(3)), "wait"),
        (lambda x: torch.tensor([1.0], device=DEVICE), "wait"),
        (lambda x: MASK.to(DEVICE), "wait"),
        (lambda x: [0, 1, 2][x[0].long()], "wait"),
        (lambda x: x * 2 + torch.tensor(1.0), ""),
        (lambda x: x[1:].view(-1) + x.new_zeros(2), ""),
        (lambda x: torch.zeros_like(x) + torch.arange(3, device=x.device), ""),
        (lambda x: x.__setitem__(0, 5.0), ""),
        (lambda x: x.masked_fill_(x > 0, 1).sum(), ""),
    ],
)
def test_the_played_device_finds_what_a_real_one_would_not_do(
    what: Callable[[torch.Tensor], Any], fault: str
) -> None:
    marks = Marks()
    with torch.inference_mode(), marks:
        x = torch.ones(3, device=DEVICE)
        assert marks.is_there(x)
        if fault == "mix":
            with pytest.raises(Mixed):
                what(x)
            return
        out = what(x)
        assert bool(marks.waits) == (fault == "wait")
        if not fault and isinstance(out, torch.Tensor):
            assert marks.is_there(out)


@pytest.mark.parametrize("mode", ["plain", "same"])
def test_what_was_seen_comes_down_and_goes_up_without_waiting(
    mode: Mode, play: Callable[..., Played], loaded: LoadedModel
) -> None:
    engine = play(mode)
    request = film(loaded, 5, 4)
    first = engine.submit(request)
    told = first.result(WAIT_S)
    assert first.features is not None
    again = replace(request, pixels=None, features=first.features.clone())
    assert engine.submit(again).result(WAIT_S) == told
    engine.audit()
    assert engine.marks.waits == []


@pytest.mark.parametrize("mode", ["plain", "same"])
def test_fewer_rows_are_there_on_the_device_too(
    mode: Mode, play: Callable[..., Played], loaded: LoadedModel
) -> None:
    engine = play(mode)
    requests = [film(loaded, seed, 2) for seed in range(4)]
    wanted = [one.result(WAIT_S) for one in map(engine.submit, requests)]
    engine.size = replace(engine.size, rows=2)
    engine.audit()  # now it is idle
    assert [one.result(WAIT_S) for one in map(engine.submit, requests)] == wanted
    assert engine._runner.kv.rows == 2
    engine.audit()
    assert engine.marks.waits == []
