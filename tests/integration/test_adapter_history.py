"""The pointer's way back: through what was in use, and never forward to what was left."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.bucket.moves import HISTORY
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict, Reject, StoreUnavailable
from shared.messages import ModelIdentity
from tests.adapters import publish
from tests.world import World

pytestmark = pytest.mark.integration

BASE = "a" * 64


@pytest.fixture
def versions(world: World, tmp_path: Path) -> list[str]:
    """A, B, C and D, in the order in which they were published."""
    base = ModelIdentity(id="m", revision="r", weights_sha256=BASE)
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    found = []
    for content in "ABCD":
        (tmp_path / "adapter_model.safetensors").write_text(content)
        found.append(publish(registry_of(world), tmp_path, base).version)
    return found


def registry_of(world: World, store: ObjectStore | None = None) -> Registry:
    return Registry(store or world.store, world.output, world.prefix)


@pytest.fixture
def registry(world: World, versions: list[str]) -> Registry:
    """Nothing in use yet."""
    world.store.delete(world.output, f"{world.prefix}adapters/{BASE[:12]}/active.json")
    return registry_of(world)


Walk = Callable[[str], list[str | None]]


@pytest.fixture
def walk(registry: Registry, versions: list[str]) -> Walk:
    """What is in use after each step: a letter activates that version, `<` rolls back; a small one
    begins a canary, `+` promotes it and `-` ends it."""
    names: dict[str | None, str | None] = dict(zip(versions, "ABCD", strict=True))
    names[None] = None

    def walk(steps: str) -> list[str | None]:
        seen = []
        for step in steps:
            version = versions["ABCD".find(step.upper())]
            if step == "<":
                moved = registry.rollback(BASE)
            elif step in "+-":
                end = registry.promote_canary if step == "+" else registry.end_canary
                moved = end(BASE, by="operator")
            elif step.islower():
                moved = registry.begin_canary(BASE, version, 0.1, paired=True, by="operator")
            else:
                moved = registry.activate(BASE, version)
            assert registry.pointer(BASE) == moved
            seen.append(names[moved.version])
        return seen

    return walk


@pytest.mark.parametrize(
    ("steps", "seen"),
    [
        ("ABC<<<", ["A", "B", "C", "B", "A", None]),
        # what is activated after a rollback goes on from there
        ("ABC<D<<<", ["A", "B", "C", "B", "D", "B", "A", None]),
        ("A<B<", ["A", None, "B", None]),
        # the same again is no step
        ("AAB<<", ["A", "A", "B", "A", None]),
        # what a rollback left is left, wherever else on the way it was
        ("ABA<<", ["A", "B", "A", "B", None]),
        # until somebody chooses it again
        ("AB<BC<<", ["A", "B", "A", "B", "C", "B", "A"]),
        # a rollback ends a canary, and what is in use stays; then it goes on from there
        ("ABc<<", ["A", "B", "B", "B", "A"]),
        # what was only tried is never gone back to,
        ("Ab-C<<", ["A", "A", "A", "C", "A", None]),
        # not even if it was in use before
        ("ABCb-<<", ["A", "B", "C", "C", "C", "A", None]),
        # what was promoted is
        ("Ab+C<<<", ["A", "A", "B", "C", "B", "A", None]),
        # whatever else is put to use ends the trial
        ("AbC<", ["A", "A", "C", "A"]),
        ("a<B<", [None, None, "B", None]),
        ("a+<", [None, "A", None]),
    ],
)
def test_a_rollback_walks_back(walk: Walk, steps: str, seen: list[str | None]) -> None:
    assert walk(steps) == seen


def test_at_the_end_there_is_nothing_to_roll_back_to(walk: Walk, registry: Registry) -> None:
    with pytest.raises(Reject, match="nothing to roll back to: nothing was in use before the base"):
        registry.rollback(BASE)
    walk("AB<<")
    before = registry.pointer(BASE)
    with pytest.raises(Reject, match="nothing to roll back to"):
        registry.rollback(BASE)
    assert registry.pointer(BASE) == before
    told = [(stop.generation, stop.how) for stop in before.history]
    assert told == [(1, "activated"), (2, "activated"), (3, "rolled back"), (4, "rolled back")]


def test_who_names_what_to_leave_leaves_nothing_else(
    walk: Walk, registry: Registry, versions: list[str]
) -> None:
    """Two operators who see the same bad captions, one a minute after the other."""
    walk("ABC")
    bad = versions[2]
    assert registry.rollback(BASE, bad).version == versions[1]
    with pytest.raises(Reject, match=f"not {bad} but {versions[1]} is in use; nothing was done"):
        registry.rollback(BASE, bad)
    assert registry.pointer(BASE).version == versions[1]


def test_two_who_roll_back_at_once_go_one_step(
    walk: Walk, world: World, versions: list[str]
) -> None:
    walk("ABC")
    both_have_read = threading.Barrier(2)

    class Meets(ObjectStore):
        def put(self, *args: Any, **options: Any) -> str:
            both_have_read.wait(30)
            return super().put(*args, **options)

    def rolled_back(_: int) -> str:
        try:
            return str(registry_of(world, Meets()).rollback(BASE).version)
        except Conflict as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(rolled_back, range(2)), key=len)
    assert told[0] == versions[1]
    assert f"now {versions[1]} is in use" in told[1]
    assert registry_of(world).pointer(BASE).version == versions[1]


def test_a_move_that_is_sent_twice_is_one_move(
    walk: Walk, world: World, versions: list[str]
) -> None:
    """The answer to the first write is lost on the way, and the client sends it again."""
    walk("ABC")

    class Repeats(ObjectStore):
        def put(self, *args: Any, **options: Any) -> str:
            super().put(*args, **options)
            return super().put(*args, **options)

    assert registry_of(world, Repeats()).rollback(BASE).version == versions[1]
    assert registry_of(world, Repeats()).activate(BASE, versions[3]).generation == 5


def test_who_cannot_know_whether_a_move_was_made_is_told_so(
    walk: Walk, world: World, versions: list[str]
) -> None:
    """It was, and all answers from then on are lost: done once more it would go two steps."""
    walk("ABC")

    class Falls(ObjectStore):
        fallen = False

        def put(self, *args: Any, **options: Any) -> str:
            super().put(*args, **options)
            self.fallen = True
            raise StoreUnavailable("SlowDown")

        def get_with_etag(self, *args: Any, **options: Any) -> tuple[bytes, str]:
            if self.fallen:
                raise StoreUnavailable("SlowDown")
            return super().get_with_etag(*args, **options)

    with pytest.raises(StoreUnavailable, match="nobody can tell whether this move") as raised:
        registry_of(world, Falls()).rollback(BASE)
    assert "`jamak adapters list` first" in raised.value.cure
    assert registry_of(world).pointer(BASE).version == versions[1]


@pytest.mark.parametrize("before", ["", "A"])
def test_what_was_chosen_over_one_version_never_replaces_another(
    walk: Walk, world: World, registry: Registry, versions: list[str], before: str
) -> None:
    """Also when the other one comes between the look and the write."""
    walk(before)
    over = registry.pointer(BASE)

    class Late(ObjectStore):
        def put(self, *args: Any, **options: Any) -> str:
            if registry.pointer(BASE) == over:
                walk("B")
            return super().put(*args, **options)

    with pytest.raises(Conflict, match=f"has changed: {versions[1]}, and no longer"):
        registry_of(world, Late()).activate(BASE, versions[2], over)
    with pytest.raises(Conflict, match="nothing was done"):
        registry.activate(BASE, versions[2], over)
    assert registry.activate(BASE, versions[2], registry.pointer(BASE)).version == versions[2]


def test_a_trial_is_told_from_its_beginning_to_its_end(
    registry: Registry, versions: list[str]
) -> None:
    first, second, third, _ = versions
    registry.activate(BASE, first)
    begun = registry.begin_canary(BASE, second, 0.1, paired=True, by="gate", why="it was better")
    assert begun.canary is not None
    assert (begun.version, begun.canary.version, begun.canary.share) == (first, second, 0.1)
    registry.end_canary(BASE, by="watch", why="worse: repetitive", trial=begun.generation)
    with pytest.raises(Conflict, match=f"the trial no. {begun.generation} is over"):
        registry.promote_canary(BASE, by="watch", trial=begun.generation)
    registry.begin_canary(BASE, second, 0.1, paired=True, by="operator")
    again = registry.begin_canary(BASE, second, 0.5, paired=False, by="operator")
    with pytest.raises(Reject, match=f"{second} is on trial already"):
        registry.begin_canary(BASE, second, 0.5, paired=False, by="operator")
    with pytest.raises(Reject, match=f"{second} is on trial already"):
        registry.begin_canary(BASE, third, 0.1, paired=True, by="gate")
    with pytest.raises(Conflict, match="is over"):
        registry.end_canary(BASE, by="watch", trial=again.generation - 1)
    registry.promote_canary(BASE, by="operator", why="it looks good")
    with pytest.raises(Reject, match="no adapter is on trial"):
        registry.end_canary(BASE, by="operator")
    told = [
        (stop.generation, stop.version, stop.how, stop.canary, stop.share, stop.why, stop.by)
        for stop in registry.pointer(BASE).history
    ]
    assert told == [
        (1, first, "activated", None, None, "", None),
        (2, first, "canary begun", second, 0.1, "it was better", "gate"),
        (3, first, "canary ended", second, None, "worse: repetitive", "watch"),
        (4, first, "canary begun", second, 0.1, "", "operator"),
        (5, first, "canary begun", second, 0.5, "", "operator"),
        (6, second, "canary promoted", second, None, "it looks good", "operator"),
    ]


def test_who_ends_a_trial_ends_no_other_one(
    registry: Registry, world: World, versions: list[str]
) -> None:
    """It began between the look and the write."""
    registry.begin_canary(BASE, versions[0], 0.1, paired=True, by="gate")

    class Late(ObjectStore):
        def put(self, *args: Any, **options: Any) -> str:
            if registry.pointer(BASE).generation == 1:
                registry.begin_canary(BASE, versions[0], 0.2, paired=True, by="gate")
            return super().put(*args, **options)

    with pytest.raises(Conflict, match=r"the trial no. 1 is over"):
        registry_of(world, Late()).end_canary(BASE, by="operator")
    assert registry.pointer(BASE).generation == 2


def test_what_is_in_use_can_be_left_in_the_middle_of_a_trial(
    registry: Registry, versions: list[str]
) -> None:
    registry.activate(BASE, versions[0])
    registry.activate(BASE, versions[1])
    registry.begin_canary(BASE, versions[2], 0.1, paired=True, by="operator")
    left = registry.rollback(BASE, versions[1])
    assert (left.version, left.canary, left.history[-1].canary) == (versions[0], None, versions[2])


def test_a_long_history_is_cut_and_says_so(
    walk: Walk, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bucket.moves.HISTORY", 2)
    assert HISTORY > 100
    assert walk("ABCD<")[-1] == "C"
    with pytest.raises(Reject, match="what was in use before is older"):
        registry.rollback(BASE)


class TestOfVersion1:
    """A pointer that an older Jamak wrote: it knows one version beside the one in use."""

    def put(self, world: World, generation: int, version: str | None, previous: str | None) -> None:
        pointer = {
            "v": 1,
            "generation": generation,
            "version": version,
            "previous": previous,
            "updated_at": datetime.now(UTC).isoformat(),
        }
        key = f"{world.prefix}adapters/{BASE[:12]}/active.json"
        world.store.put(world.output, key, json.dumps(pointer).encode())

    def test_it_is_read(self, registry: Registry, world: World, versions: list[str]) -> None:
        self.put(world, 7, versions[1], versions[0])
        pointer = registry.pointer(BASE)
        assert (pointer.generation, pointer.version) == (7, versions[1])

    def test_what_was_in_use_before_is_the_way_back(
        self, registry: Registry, world: World, versions: list[str]
    ) -> None:
        self.put(world, 7, versions[1], versions[0])
        assert registry.rollback(BASE).version == versions[0]
        last = registry.rollback(BASE)
        assert (last.version, last.generation) == (None, 9)

    def test_what_was_left_is_not(
        self, registry: Registry, world: World, versions: list[str]
    ) -> None:
        self.put(world, 7, versions[0], versions[1])
        assert registry.rollback(BASE).version is None
        self.put(world, 7, None, versions[1])
        with pytest.raises(Reject, match="nothing to roll back to"):
            registry.rollback(BASE)

    def test_the_way_goes_on_from_it(
        self, registry: Registry, world: World, versions: list[str], walk: Walk
    ) -> None:
        self.put(world, 7, versions[1], versions[0])
        assert walk("C<<") == ["C", "B", "A"]
