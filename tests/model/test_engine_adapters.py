"""Adapters in the engine: several in one batch, swapped while rows decode, each row's its own."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotFinite
from shared.messages import AdapterUsed
from tests.adapters import make_adapter
from tests.engines import SIZE, WAIT_S, Make, asked, film
from workers.caption.engine import deltas
from workers.caption.engine.engine import Engine
from workers.caption.engine.requests import Request, Ticket
from workers.caption.engine.sampling import Sampling
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.loading import LoadedModel

pytestmark = pytest.mark.model


@dataclass
class Known:
    used: AdapterUsed
    adapter: Adapter


@pytest.fixture(scope="module")
def adapters(
    checkpoint: Path, loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> list[Known]:
    shape = AdapterShape.of(loaded.model)
    made = []
    for seed, rank in ((1, 8), (2, 4), (3, 8)):
        folder = make_adapter(checkpoint, tmp_path_factory.mktemp("adapter"), seed, rank)
        used = AdapterUsed(version=f"v{seed}", generation=seed)
        made.append(Known(used, read_adapter(used.version, folder, shape)))
    return made


def in_one_batch(engine: Engine, request: Request, adapters: list[Known | None]) -> list[Ticket]:
    """The same request under each of them, one begun while the ones before decode."""
    engine._ends = frozenset()
    turns, tickets, full = iter(range(10**6)), [], threading.Event()

    def tick(runs: bool) -> None:
        turn = next(turns)
        if turn % 4 == 2 and turn // 4 < len(adapters):
            one = adapters[turn // 4]
            assert engine._use(one and one.used, one and engine._adapters.ready(one.adapter))
            tickets.append(engine.submit(request))
        if len(tickets) == len(adapters):
            full.set()

    first = engine.submit(replace(request, tick=tick, samplings=(Sampling(60),)))
    first.result(WAIT_S)
    assert full.wait(WAIT_S)
    return tickets


def test_rows_of_several_adapters_are_as_each_alone(
    make: Make, loaded: LoadedModel, adapters: list[Known]
) -> None:
    mixed: list[Known | None] = [adapters[0], None, adapters[1]]
    request = film(loaded, 3, 2, logprobs=True, samplings=(Sampling(30),))
    rows: list[int] = []
    engine = make(replace(SIZE, rows=4, adapters=3), on_turn=lambda count, _: rows.append(count))
    together = [one.result(WAIT_S)[0] for one in in_one_batch(engine, request, mixed)]
    assert max(rows) == 4
    single = make()
    single._ends = frozenset()
    for one, said in zip(mixed, together, strict=True):
        single.use(one and one.used, one and one.adapter)
        assert asked(single, request) == [said]
        assert said.adapter == (one and one.used)
    assert len({one.tokens for one in together}) == 3


def test_an_adapter_is_made_ready_by_who_brings_it(
    make: Make, loaded: LoadedModel, adapters: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that decode do not wait for that."""
    engine, threads = make(), []

    class Packed(deltas.Packed):
        def __init__(self, *args: Any) -> None:
            threads.append(threading.current_thread())
            super().__init__(*args)

    monkeypatch.setattr(deltas, "Packed", Packed)
    engine.use(adapters[0].used, adapters[0].adapter)
    assert set(threads) == {threading.current_thread()}
    assert asked(engine, film(loaded, 1, 1))[0].adapter == adapters[0].used


def test_an_adapter_that_goes_bad_spoils_its_own_rows_alone(
    make: Make, loaded: LoadedModel, adapters: list[Known]
) -> None:
    request = film(loaded, 3, 2, logprobs=True, samplings=(Sampling(30),))
    engine = make(replace(SIZE, rows=4, adapters=3))
    engine._ends = frozenset()
    for one in adapters[:2]:
        engine.use(one.used, one.adapter)
    good = asked(engine, request)
    bad = engine._adapters.find(adapters[0].used.version)
    assert bad is not None
    spoilt = {name: one * float("nan") for name, one in adapters[0].adapter.tensors.items()}
    for delta in engine._adapters._deltas:
        delta.put(bad, delta.ready(replace(adapters[0].adapter, tensors=spoilt)))
    failing, beside = in_one_batch(engine, request, [adapters[0], adapters[1]])
    with pytest.raises(NotFinite):
        failing.result(WAIT_S)
    assert beside.result(WAIT_S) == good
    engine.use(adapters[1].used, None)
    assert asked(engine, request) == good


def test_a_new_adapter_waits_until_rows_of_an_older_one_have_ended(
    make: Make, loaded: LoadedModel, adapters: list[Known]
) -> None:
    """Two places: the one in use is kept, so the third comes when the first one's row is over."""
    engine = make(replace(SIZE, rows=2))
    engine._ends = frozenset()
    first, second, third = adapters
    engine.use(first.used, first.adapter)
    runs, may_end = threading.Event(), threading.Event()

    def tick(on: bool) -> None:
        if on:
            runs.set()
        if may_end.is_set():
            raise KeyError("enough")

    holding = engine.submit(film(loaded, 1, 1, samplings=(Sampling(200),), tick=tick))
    assert runs.wait(WAIT_S)
    order: list[str] = []

    def use(one: Known, name: str) -> None:
        engine.use(one.used, one.adapter)
        order.append(name)
        if name == "second":
            use(third, "third")

    thread = threading.Thread(target=use, args=(second, "second"))
    thread.start()
    may_end.set()
    thread.join(WAIT_S)
    with pytest.raises(KeyError):
        holding.result(WAIT_S)
    assert order == ["second", "third"]
    assert asked(engine, film(loaded, 1, 1))[0].adapter == third.used
    with pytest.raises(ValueError, match="could never take"):
        Engine(loaded, replace(SIZE, adapters=1))


def test_a_canary_beside_the_one_in_use_answers_those_who_ask_for_it(
    make: Make, loaded: LoadedModel, adapters: list[Known]
) -> None:
    """By its trial; another trial's ask in vain. It waits for a place that rows still use, and
    captions go on meanwhile."""
    engine = make(replace(SIZE, rows=4))
    engine._ends = frozenset()
    older, incumbent, canary = adapters
    request = film(loaded, 3, 2, logprobs=True)
    may_end, runs = threading.Event(), threading.Event()

    def tick(on: bool) -> None:
        if on:
            runs.set()
        if may_end.is_set():
            raise KeyError("enough")

    engine.use(older.used, older.adapter)
    holding = engine.submit(film(loaded, 1, 1, samplings=(Sampling(200),), tick=tick))
    assert runs.wait(WAIT_S)
    engine.use(incumbent.used, incumbent.adapter)
    comes = threading.Thread(target=engine.stand_by, args=(canary.used, canary.adapter))
    comes.start()
    theirs = replace(request, canary=canary.used.generation)
    early = asked(engine, theirs)[0]
    assert early.adapter == incumbent.used
    may_end.set()
    comes.join(WAIT_S)
    with pytest.raises(KeyError):
        holding.result(WAIT_S)
    later = replace(request, canary=canary.used.generation + 1)
    both = asked(engine, request, theirs, later)
    assert [one.adapter for one in both] == [incumbent.used, canary.used, incumbent.used]
    alone = make()
    alone._ends = frozenset()
    for one, said in zip((incumbent, canary, incumbent), both, strict=True):
        alone.use(one.used, one.adapter)
        assert asked(alone, request) == [said]
    engine.use(canary.used, None)  # promoted, it is there
    assert asked(engine, request)[0].adapter == canary.used
    engine.audit()


def test_the_audit_finds_a_user_that_is_left_behind(make: Make, loaded: LoadedModel) -> None:
    engine = make()
    engine._adapters.hold(0)
    with pytest.raises(AssertionError, match="1 users of adapters"):
        engine.audit()
    engine._adapters.release(0)
