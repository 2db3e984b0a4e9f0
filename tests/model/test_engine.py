"""The engine on tiny models: exact beside `generate`, alone and in company, whatever goes wrong."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import DoesNotFit, NotFinite
from tests.engines import FRAME, NEW, SIZE, WAIT_S, Make, asked, film, films, plain, spoil
from tests.tiny_model import make_checkpoint
from workers.caption.engine.engine import Engine, Size, StepFailed
from workers.caption.engine.requests import Request, Said, Ticket
from workers.caption.engine.sampling import Sampling, choose
from workers.delivery.machine import may_be_the_machines
from workers.model.loading import LoadedModel, load_model

pytestmark = pytest.mark.model

DEMO = Path(__file__).parents[2] / "infra/demo/models"

# --- exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heads of their own", "shared heads", "qwen3"])
def test_it_says_what_generate_says(kind: str, make: Make, tmp_path: Path) -> None:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1 if kind == "shared heads" else 4}
    folder = DEMO / "qwen3" if kind == "qwen3" else make_checkpoint(tmp_path, **heads)
    loaded = load_model(folder, model_id="tests/tiny")
    requests = films(loaded)
    wanted = [plain(loaded, one) for one in requests]
    assert len(set(wanted)) > 1
    positions = max(one.longest for one in requests)
    for rows, chunk, frames, ahead in ((3, 16, 1, True), (3, 16, 4, False), (8, 512, 3, True)):
        patches = frames * loaded.layout.patches_per_side**2
        engine = make(Size(rows, positions, chunk, patches), loaded, ahead=ahead)
        assert [one.tokens for one in asked(engine, *requests)] == wanted


def test_no_row_is_begun_for_a_caption_that_is_over_where_nothing_is_gained(
    make: Make, loaded: LoadedModel
) -> None:
    begun = {}
    for ahead in (None, True):
        rows: list[int] = []
        engine = make(ahead=ahead, on_turn=lambda count, _, rows=rows: rows.append(count))
        tokens = asked(engine, film(loaded, 3, 0))[0].tokens
        begun[ahead] = sum(rows) - (len(tokens) - 1)  # the first one is the prompt's
    assert begun == {None: 0, True: 1}


def test_four_bits_are_exact_too(make: Make, checkpoint: Path) -> None:
    loaded = load_model(checkpoint, model_id="tests/tiny", quantized=True)
    requests = films(loaded)[:4]
    wanted = [plain(loaded, one) for one in requests]
    assert [one.tokens for one in asked(make(model=loaded), *requests)] == wanted


@pytest.fixture(scope="module")
def alone(loaded: LoadedModel) -> list[Said]:
    engine = Engine(loaded, SIZE)
    said = [asked(engine, one)[0] for one in films(loaded, logprobs=True)]
    engine.close()
    return said


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    order=st.permutations(range(7)),
    rows=st.integers(1, 7),
    cancelled=st.sets(st.integers(0, 6), max_size=2),
    ahead=st.booleans(),
)
def test_company_and_order_change_no_bit(
    order: list[int],
    rows: int,
    cancelled: set[int],
    ahead: bool,
    loaded: LoadedModel,
    alone: list[Said],
    make: Make,
) -> None:
    """Tokens, and log-probabilities to the last bit."""
    requests = films(loaded, logprobs=True)
    engine = make(replace(SIZE, rows=rows), ahead=ahead)
    tickets: dict[int, Ticket] = {}
    for number in order:
        request = requests[number]
        if number in cancelled:
            request = replace(request, tick=cancel_at(tickets, number, 3))
        tickets[number] = engine.submit(request)
    for number, ticket in tickets.items():
        if number in cancelled:
            with pytest.raises(InterruptedError):
                ticket.result(WAIT_S)
        else:
            assert ticket.result(WAIT_S) == [alone[number]]


def cancel_at(tickets: dict[int, Ticket], number: int, turn: int) -> Callable[[bool], None]:
    turns = iter(range(10**6))

    def tick(runs: bool) -> None:
        if next(turns) >= turn and number in tickets:
            tickets[number].cancel()

    return tick


def test_a_row_may_be_used_to_its_last_position(make: Make, loaded: LoadedModel) -> None:
    request = film(loaded, 4, 2, samplings=(Sampling(40),))
    engine = make(Size(rows=2, positions=request.longest, chunk=16))
    engine._ends = frozenset()
    said, beside = asked(engine, request, film(loaded, 0, 0))
    assert (said.ended, said.tokens) == ("length", plain(loaded, request, eos_token_id=-1))
    assert beside.tokens == plain(loaded, film(loaded, 0, 0), eos_token_id=-1)


# --- how it is drawn -----------------------------------------------------------------------------


def drawn(seed: int, **fields: Any) -> Sampling:
    return Sampling(NEW, temperature=0.8, seed=seed, **fields)


def test_a_seed_says_the_same_in_any_company(make: Make, loaded: LoadedModel) -> None:
    samplings = tuple(drawn(seed, top_p=0.9) for seed in range(3))
    together = film(loaded, 3, 3, samplings=samplings, logprobs=True)
    engine = make(replace(SIZE, rows=5))
    tickets = [engine.submit(one) for one in (film(loaded, 1, 1), together, film(loaded, 2, 2))]
    said = tickets[1].result(WAIT_S)
    assert len({one.tokens for one in said}) == 3
    for sampling, one in zip(samplings, said, strict=True):
        assert asked(engine, replace(together, samplings=(sampling,))) == [one]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.8)])
def test_draws_follow_temperature_and_top_p(temperature: float, top_p: float) -> None:
    count = 4000
    logits = torch.tensor([1.0, 0.2, -0.5, 0.7, -2.0])
    chances = (logits.double() / temperature).softmax(-1)
    order = chances.argsort(descending=True)
    kept = order[(chances[order].cumsum(0) - chances[order]) < top_p]
    share = torch.zeros(5, dtype=torch.float64)
    share[kept] = chances[kept] / chances[kept].sum()
    draws = torch.rand(count, generator=torch.Generator().manual_seed(1)).tolist()
    settings = [Sampling(temperature=temperature, top_p=top_p)] * count
    seen = choose(logits.expand(count, -1), settings, draws).bincount(minlength=5).double()
    assert not seen[share == 0].any()
    expected = (share * count)[share > 0]
    # With 4 degrees of freedom, once in a thousand.
    assert ((seen[share > 0] - expected) ** 2 / expected).sum() < 18.5


def test_a_draw_at_the_very_end_is_one_of_the_likely() -> None:
    logits = torch.tensor([[0.0, 5.0, float("-inf"), -9.0]])
    for draw in (0.0, 1 - 2**-53):
        assert choose(logits, [Sampling(temperature=1, top_p=0.5)], [draw]).tolist() == [1]


def test_the_penalty_is_that_of_transformers(make: Make, loaded: LoadedModel) -> None:
    penalised = (Sampling(24, repetition_penalty=1.5),)
    requests = [film(loaded, seed, 2, samplings=penalised) for seed in (2, 3)]
    wanted = [plain(loaded, one, repetition_penalty=1.5) for one in requests]
    engine = make()
    said = asked(engine, requests[0], film(loaded, 1, 1), requests[1])
    assert [said[0].tokens, said[2].tokens] == wanted
    assert wanted[0] != plain(loaded, requests[0])
    assert said[1].tokens == plain(loaded, film(loaded, 1, 1))


def test_a_stop_string_ends_it(make: Make, loaded: LoadedModel) -> None:
    engine = make()
    request = film(loaded, 2, 2)
    [whole] = asked(engine, request)
    decode = loaded.tokenizer.decode
    stop = decode(whole.tokens[4:6], skip_special_tokens=True)
    [said] = asked(engine, replace(request, samplings=(Sampling(NEW, stop=(stop,)),)))
    count = next(n for n in range(NEW) if stop in decode(whole.tokens[:n]))
    assert (said.ended, said.tokens) == ("stop", whole.tokens[:count])


@pytest.mark.parametrize(
    "fields",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"repetition_penalty": 0.0},
    ],
)
def test_what_cannot_be_drawn_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing can be drawn"):
        Sampling(**fields)


# --- one fails, the others do not ----------------------------------------------------------------


def test_what_does_not_fit_is_refused_and_the_rest_goes_on(make: Make, loaded: LoadedModel) -> None:
    engine = make(replace(SIZE, positions=100))
    good = film(loaded, 1, 1)
    with pytest.raises(DoesNotFit, match="100 positions"):
        engine.submit(film(loaded, 1, 40))
    with pytest.raises(DoesNotFit, match="4 candidates, and 3 rows"):
        engine.submit(replace(good, samplings=(Sampling(NEW),) * 4))
    for ids in ((), (5, 10**6), (-1,)):
        with pytest.raises(ValueError, match=r"token|prompt"):
            engine.submit(replace(good, ids=ids))
    with pytest.raises(ValueError, match="no language lock"):
        engine.submit(replace(good, samplings=(Sampling(NEW, locked=True),)))
    assert good.pixels is not None
    too_many = engine.submit(replace(good, pixels=torch.cat([good.pixels, good.pixels])))
    assert asked(engine, good)[0].tokens == plain(loaded, good)
    none = engine.submit(replace(good, pixels=None))
    for ticket, count in ((too_many, 18), (none, 0)):
        with pytest.raises(ValueError, match=f"9 visual tokens, and {count} features"):
            ticket.result(WAIT_S)


def test_who_gets_a_row_finds_zeros_in_it(make: Make, loaded: LoadedModel) -> None:
    engine = make()
    asked(engine, *films(loaded))
    kv = engine._runner.kv
    assert all(one[row].any() for one in (*kv.keys, *kv.values) for row in range(kv.rows))
    with torch.inference_mode():
        kv.copy(0, 1, 3)
        assert not any(one[1, :, 3:].any() for one in (*kv.keys, *kv.values))
        for row in range(kv.rows):
            kv.clear(row)
    assert not any(one.any() for one in (*kv.keys, *kv.values))


def test_not_a_number_stays_in_its_row(make: Make, loaded: LoadedModel, alone: list[Said]) -> None:
    """And in none that uses its memory later."""
    engine = make()
    requests = films(loaded, logprobs=True)
    spoilt = film(loaded, 9, 4, samplings=(Sampling(60), Sampling(60)))
    assert spoilt.pixels is not None
    spoilt.pixels[2, 0, 5, 5] = float("nan")
    for _ in range(2):
        failing = engine.submit(spoilt)
        assert asked(engine, *requests) == alone
        with pytest.raises(NotFinite):
            failing.result(WAIT_S)
    spoil(engine)
    assert asked(engine, *requests) == alone


@pytest.mark.parametrize("turn", [0, 1, 3, 6, 9])
def test_who_gives_up_frees_its_row(
    turn: int, make: Make, loaded: LoadedModel, alone: list[Said]
) -> None:
    """While it waits, is seen, half in memory, and while it decodes."""
    engine = make(replace(SIZE, rows=1, chunk=32, patches=FRAME))
    ticks = iter(range(10**6))

    def tick(runs: bool) -> None:
        if next(ticks) == turn:
            raise KeyError("enough")

    first = engine.submit(film(loaded, 4, 4, tick=tick))
    after = asked(engine, films(loaded, logprobs=True)[3])
    with pytest.raises(KeyError, match="enough"):
        first.result(WAIT_S)
    assert after == [alone[3]]


def test_a_step_that_raises_ends_those_in_it_alone(
    make: Make, loaded: LoadedModel, alone: list[Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    begin, calls = engine._runner.begin, iter(range(10**6))

    def failing(*args: Any) -> Any:
        step = begin(*args)
        if next(calls) == 5:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return step

    monkeypatch.setattr(engine._runner, "begin", failing)
    requests = films(loaded, logprobs=True)
    tickets = [engine.submit(one) for one in requests]
    ends = []
    for ticket in tickets:
        try:
            ends.append(ticket.result(WAIT_S)[0])
        except StepFailed as error:
            ends.append(error)
    failed = [one for one in ends if isinstance(one, StepFailed)]
    assert 1 <= len(failed) <= SIZE.rows
    assert all("CUDA error" in str(one) and may_be_the_machines(one) for one in failed)
    assert all(one in (alone[n], *failed) for n, one in enumerate(ends))
    assert asked(engine, *requests) == alone


def small_card(engine: Engine, patch: pytest.MonkeyPatch, *, tokens: int, frames: int) -> None:
    """As one that has memory for so much in a step."""
    decoder, vision = engine._runner._decoder, engine._runner._vision

    def step(batch: Any, kv: Any) -> Any:
        if batch.rows + sum(len(part.inputs) for part in batch.parts) > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return decoder(batch, kv)

    class Decoder:
        __call__ = staticmethod(step)
        embed = staticmethod(decoder.embed)

    def see(some: torch.Tensor, pool_stride: int | None) -> torch.Tensor:
        if len(some) > frames:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return vision(some, pool_stride)

    for name in ("_decoder", "_plain"):
        patch.setattr(engine._runner, name, Decoder())
    patch.setattr(engine._runner, "_passes", Decoder)
    patch.setattr(engine._runner, "_vision", see)


def test_when_memory_runs_out_the_work_is_repeated_with_less(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = (Sampling(24),)
    requests = [Request((1, 90 + seed, 70), samplings=long) for seed in range(4)]
    requests.append(film(loaded, 7, 3))
    engine = make(Size(rows=4, positions=256, chunk=64, patches=4 * FRAME))
    engine._ends = frozenset()
    small_card(engine, monkeypatch, tokens=3, frames=2)
    wanted = [plain(loaded, one, eos_token_id=-1) for one in requests]
    assert [one.tokens for one in asked(engine, *requests)] == wanted
    learned = engine.size
    assert (learned.rows, learned.chunk, learned.patches) == (1, 3, 2 * FRAME)
    with pytest.raises(DoesNotFit, match="4 candidates, and 1 rows"):
        engine.submit(replace(requests[0], samplings=long * 4))
    assert [one.tokens for one in asked(engine, *requests)] == wanted
    assert engine.size == learned


def test_what_is_too_much_for_an_empty_card_fails_alone(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    with monkeypatch.context() as patch:
        small_card(engine, patch, tokens=0, frames=0)
        with pytest.raises(DoesNotFit, match="one frame is too much"):
            asked(engine, film(loaded, 1, 1))
        with pytest.raises(DoesNotFit, match="memory ran out"):
            asked(engine, film(loaded, 0, 0))
    assert asked(engine, film(loaded, 1, 1))[0].tokens == plain(loaded, film(loaded, 1, 1))


def test_whoever_waits_is_told_when_it_ends(make: Make, loaded: LoadedModel) -> None:
    engine = make(replace(SIZE, rows=1))
    engine._ends = frozenset()
    runs = threading.Event()

    def tick(on: bool) -> None:
        if on:
            runs.set()

    long = (Sampling(150),)
    requests = [film(loaded, seed, 1, samplings=long, tick=tick) for seed in range(3)]
    tickets = [engine.submit(one) for one in requests]
    assert runs.wait(WAIT_S)
    engine.close()
    for ticket in tickets:
        with pytest.raises(RuntimeError, match="has ended"):
            ticket.result(WAIT_S)
    for late in (lambda: engine.submit(requests[0]), lambda: engine.use(None, None), engine.audit):
        with pytest.raises(RuntimeError, match="has ended"):
            late()
