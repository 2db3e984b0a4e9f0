"""Trials of canaries that end by themselves, whoever watches and wherever he is killed."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.processes import stop
from producer.canary.lease import BEAT_S, DEAD_S, Lease
from producer.canary.votes import Votes
from producer.canary.watcher import Watcher
from producer.feedback.store import FeedbackStore
from shared.bucket.registry import base_name
from shared.bucket.storage import ObjectStore
from shared.bucket.trials import TrialPages
from shared.errors import StoreUnavailable
from shared.feedback import Thumb, about
from shared.messages import Arm, ModelIdentity, TrialUsed
from tests.records import caption
from tests.trial_place import BASE, BEGUN, CANARY, EXPECTED, PORTIONS, Place, Unchecked, how
from tests.trials import pairs
from tests.warm import WarmProcess
from tests.world import World

pytestmark = pytest.mark.integration


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Mortal(ObjectStore):
    """Dies at its n-th request, before the store hears of it; or at its n-th write, after that."""

    left = 1_000_000
    answered = False

    def _ask(self, request: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left > 0:
            return request(*args, **options)
        if self.answered:
            request(*args, **options)
        raise Killed

    def get_with_etag(self, *args: Any, **options: Any) -> Any:
        read = super().get_with_etag
        return read(*args, **options) if self.answered else self._ask(read, *args, **options)

    def put(self, *args: Any, **options: Any) -> Any:
        return self._ask(super().put, *args, **options)


@pytest.fixture
def place(world: World) -> Place:
    return Place(world)


def test_it_starts_with_what_all_pods_have_on_aws_and_no_redis(
    world: World, tmp_path: Path
) -> None:
    """tests/unit/test_kustomize.py shows that a watcher's pod has the one, and not the other."""
    env = {**os.environ, **world.env, "JAMAK_REDIS_CREDENTIALS": "elasticache/jamak"}
    del env["JAMAK_REDIS_URL"]
    log = tmp_path / "watcher.log"
    log.touch()
    command = ["jamak", "adapters", "watch"]
    watcher = WarmProcess("watcher", command, log=log, env=env, cwd=Path.cwd())
    try:
        watcher.wait_until(lambda: '"event": "watching"' in log.read_text(), 60)
    finally:
        stop([watcher], patience_s=20)


def test_a_worse_canary_is_rolled_back_and_the_history_says_why(place: Place) -> None:
    place.begin()
    place.tell("a", *pairs(10, canary_bad=5))
    place.watcher().look()
    assert place.pointer.canary is not None  # nobody knows yet
    place.tell("a", *pairs(60, canary_bad=5))
    watcher = place.watcher()
    watcher.look()
    assert place.pointer.canary is None
    assert how(place.pointer) == [BEGUN, ("canary ended", "watch")]
    assert "captions are bad" in place.pointer.history[-1].why
    assert place.pointer.version is None
    watcher.look()
    assert len(place.pointer.history) == 2


def test_one_that_is_not_worse_is_promoted(place: Place) -> None:
    place.begin()
    place.tell("a", *pairs(300))
    place.watcher().look()
    assert how(place.pointer) == [BEGUN, ("canary promoted", "watch")]
    assert place.pointer.version == CANARY


def test_one_that_a_worker_refused_is_rolled_back(place: Place) -> None:
    place.begin()
    place.tell("a", refused="it has no weights")
    place.watcher().look()
    assert how(place.pointer) == [BEGUN, ("canary ended", "watch")]
    assert place.pointer.history[-1].why == "a worker refused it: it has no weights"


def test_what_nobody_tells_of_stays_on_trial_and_leaves_nothing_behind(place: Place) -> None:
    place.begin()
    watcher = place.watcher()
    watcher.look()
    watcher.look()
    assert place.pointer.canary is not None
    assert not list(place.world.store.list(place.world.output, place.pages.folder(1)))


@pytest.mark.parametrize("answered", [False, True])
def test_killed_at_any_request_it_goes_on_and_counts_nothing_twice(
    world: World, answered: bool
) -> None:
    """Two portions, a look at each; killed at the first request, at the second, and so on."""
    requests = 0
    while True:
        place, requests = Place(world), requests + 1
        place.begin()
        store, killed = Mortal(), 0
        store.left, store.answered = requests, answered
        for portion in PORTIONS:
            place.tell_portion(portion)
            try:
                place.watcher("first", store).look()
            except Killed:
                killed += 1
                store.left = 1_000_000
                # The same name: as if the lease had run out by then.
                place.watcher("first").look()
        assert how(place.pointer) == [BEGUN, ("canary ended", "watch")], requests
        state = place.state(1)
        assert (state.sides, state.weighed) == (EXPECTED.sides, EXPECTED.weighed), requests
        if not killed:
            break
    assert requests > (3 if answered else 8)


@pytest.mark.parametrize(("poll_s", "looked_s"), [(0.5, 0.5), (60.0, 5.0)])
def test_it_looks_as_often_as_workers_do_and_often_enough(
    place: Place, poll_s: float, looked_s: float
) -> None:
    waited: list[float] = []

    def wait(pause_s: float) -> bool:
        waited.append(pause_s)
        return True

    settings = place.world.settings.model_copy(update={"adapter_poll_s": poll_s})
    lease = Lease(place.world.store, place.world.output, place.world.prefix, "w")
    Watcher(place.world.store, settings, lease, wait).run()
    assert waited == [looked_s]


def test_two_who_look_at_once_count_once(place: Place, world: World) -> None:
    """Both hold the lease for a moment, one having been frozen: the one who writes second loses."""
    meanwhile: list[Callable[[], None]] = []

    class Freezing(ObjectStore):
        """Right before what is known is written."""

        def put(self, bucket: str, key: str, *args: Any, **options: Any) -> Any:
            if key.endswith("/state.json") and meanwhile:
                meanwhile.pop()()
            return super().put(bucket, key, *args, **options)

    def another_follows() -> None:
        place.tell("a", *pairs(60))
        other = place.watcher("other", clock=iter([0.0, DEAD_S]).__next__)
        other.look()
        other.look()  # dead, so far as it knows

    place.begin()
    place.tell("a", *pairs(20))
    frozen = place.watcher("frozen", Freezing())
    frozen.look()
    place.tell("a", *pairs(40))
    meanwhile.append(another_follows)
    frozen.look()
    assert not meanwhile
    assert place.state(1).side("canary").captions == 60
    frozen.look()
    assert place.state(1).side("canary").captions == 60


def test_a_newer_state_or_a_damaged_one_keeps_no_other_trial(place: Place) -> None:
    place.begin()
    place.tell("a", *pairs(60, canary_bad=5))
    store, output = place.world.store, place.world.output
    other = Unchecked(store, output, place.world.prefix)
    other.begin_canary("b" * 64, CANARY, 0.1, paired=True, by="gate")
    key = TrialPages(store, output, place.world.prefix, "b" * 64).state_key(1)
    store.put(output, key, b"not JSON")
    watcher = place.watcher()
    watcher.look()
    assert place.pointer.canary is None
    assert other.pointer("b" * 64).canary is not None
    assert [one.base for one in watcher.trials] == [base_name(BASE)]


def test_who_cannot_look_tells_of_no_trial(place: Place) -> None:
    """So that an alert tells of a canary that nobody watches."""
    place.begin()
    place.tell("a", *pairs(10))
    watcher = place.watcher()
    watcher.look()
    assert [one.state.version for one in watcher.trials] == [CANARY]

    class Away(ObjectStore):
        def get_with_etag(self, *args: Any, **options: Any) -> Any:
            raise StoreUnavailable("a test")

    watcher._lease = Lease(Away(), place.world.output, place.world.prefix, "w")
    watcher.run()
    assert watcher.trials == ()


def test_a_trial_that_was_ended_by_hand_is_left_alone(place: Place) -> None:
    place.begin()
    place.tell("a", *pairs(60, canary_bad=5))
    place.registry.promote_canary(BASE, by="operator")
    place.watcher().look()
    assert how(place.pointer) == [BEGUN, ("canary promoted", "operator")]


def test_votes_on_records_of_the_trial_count_and_others_do_not(place: Place) -> None:
    trial = place.begin()
    feedback = FeedbackStore(place.world.store, place.world.settings)

    def vote(
        number: int,
        arm: Arm | None,
        generation: int = trial.generation,
        reviewer: str = "kim",
        **more: Any,
    ) -> None:
        used = arm and TrialUsed(generation=generation, arm=arm)
        model = ModelIdentity(id="m", revision="r", weights_sha256=BASE)
        told = {"trial": used, "model": model, "created_at": datetime.now(UTC), **more}
        record = caption("고양이").model_copy(update=told)
        key = f"{place.world.prefix}records/b/x/{number}.json"
        place.world.store.put(place.world.output, key, record.model_dump_json().encode())
        feedback.add(
            Thumb(
                about=about(record, f"s3://{place.world.output}/{key}"),
                reviewer=reviewer,
                at=datetime.now(UTC) + timedelta(seconds=number),
                up=arm != "canary",
            )
        )

    vote(1, "canary")
    vote(2, "incumbent")
    vote(3, None)
    vote(4, "canary", generation=trial.generation + 1)
    other = ModelIdentity(id="m", revision="r", weights_sha256="b" * 64)
    vote(5, "canary", model=other)  # which has a trial of this number, too
    vote(6, "canary", created_at=datetime.now(UTC) - timedelta(days=1))  # before a pointer was lost
    for _ in range(2):  # the second one has to read it from the state
        place.watcher().look()
        state = place.state(trial.generation)
        sides = [state.side("canary"), state.side("incumbent")]
        assert [(side.votes, side.disliked) for side in sides] == [(1, 1), (1, 0)]
    assert state.weighed["disliked"].compared == 1
    moved: list[int] = []
    of = Votes(place.world.store, place.world.settings, lambda: moved.append(1)).of(
        base_name(BASE), state
    )
    assert (list(of), len(moved)) == ([], 10)  # what was said, and the four that count for nothing


def test_what_workers_saw_is_acted_on_before_anybody_reads_what_people_say(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of that there may be hundreds of thousands."""
    place.begin()
    place.tell("a", *pairs(60, canary_bad=5))

    def much(*_: Any) -> Any:
        raise AssertionError("it was read")

    monkeypatch.setattr(Votes, "of", much)
    place.watcher().look()
    assert place.pointer.canary is None


def test_feedback_from_before_a_trial_is_not_read_for_it(place: Place) -> None:
    trial = place.begin()
    store = FeedbackStore(place.world.store, place.world.settings)
    record = about(
        caption("고양이"), f"s3://{place.world.output}/{place.world.prefix}records/b/x/1.json"
    )
    store.add(Thumb(about=record, reviewer="kim", at=datetime.now(UTC), up=False))
    read: list[int] = []
    fresh = FeedbackStore(place.world.store, place.world.settings, lambda: read.append(1))
    assert len(fresh.all(since=trial.updated_at + timedelta(hours=1))) == len(read) == 0
    assert len(fresh.all(since=trial.updated_at - timedelta(hours=1))) == len(read) >= 1


def test_a_caption_has_one_vote_however_many_agree(place: Place) -> None:
    trial = place.begin()
    feedback = FeedbackStore(place.world.store, place.world.settings)
    model = ModelIdentity(id="m", revision="r", weights_sha256=BASE)
    for arm, captions in (("canary", 1), ("incumbent", 40)):
        for number in range(captions):
            used = TrialUsed(generation=trial.generation, arm=arm)  # type: ignore[arg-type]
            told = {"trial": used, "model": model, "created_at": datetime.now(UTC)}
            record = caption("고양이").model_copy(update=told)
            key = f"{place.world.prefix}records/b/x/{arm}-{number}.json"
            place.world.store.put(place.world.output, key, record.model_dump_json().encode())
            judged, ours = about(record, f"s3://{place.world.output}/{key}"), arm == "canary"
            for reviewer in range(40 if ours else 1):
                at = datetime.now(UTC) + timedelta(seconds=reviewer + number)
                feedback.add(Thumb(about=judged, reviewer=f"{reviewer}", at=at, up=not ours))
    place.watcher().look()
    state = place.state(trial.generation)
    assert (state.side("canary").votes, state.side("incumbent").votes) == (1, 40)
    assert state.verdict is None


# Who watches


def test_only_one_watches_and_a_dead_one_is_followed_within_a_minute(place: Place) -> None:
    now = 0.0

    def lease(name: str) -> Lease:
        return Lease(place.world.store, place.world.output, place.world.prefix, name, lambda: now)

    first, second = lease("first"), lease("second")
    assert first.hold()
    for _ in range(10):  # as long as it writes
        now += BEAT_S
        assert (first.hold(), second.hold()) == (True, False)
    died_at = now
    while not second.hold():
        now += 5
    assert DEAD_S <= now - died_at < 60
    assert not first.hold()  # it was frozen, and not dead
    second.give_back()
    assert first.hold()


def test_a_damaged_lease_is_followed_as_a_dead_one(place: Place) -> None:
    now = 0.0
    store, key = place.world.store, f"{place.world.prefix}adapters/watcher.json"
    store.put(place.world.output, key, b"\x00")
    lease = Lease(store, place.world.output, place.world.prefix, "one", lambda: now)
    assert not lease.hold()
    now += DEAD_S
    assert lease.hold()
