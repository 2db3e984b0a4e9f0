"""Tenants from their prefixes to the queues: who sends, feeds, looks, takes away and puts back."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.backlog.scan import create, scan
from producer.jobs.fleet import fleet_reading
from producer.jobs.high_water_marks import LEAST, MOST, MOST_OF_ALL, HighWaterMarks
from producer.jobs.in_flight import job_names, withdraw
from producer.jobs.send import send, send_as_room_allows
from producer.jobs.set_aside import all_set_aside, put_back
from producer.jobs.waits import look
from producer.verbs.captions import status
from shared.broker.apps import CAPTION_QUEUES, CAPTION_TASK, leased_queues, train_prefix
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_producer
from shared.broker.sharing import READS_TENANTS, Share
from shared.broker.transport import VIDEO
from shared.errors import BrokerRefuses
from shared.messages import CaptionJob, Video
from shared.tenants import OTHER
from tests.verbs import inside
from tests.world import World

pytestmark = pytest.mark.integration

QUEUE, BULK = "caption.t4", "caption.t4.bulk"


@pytest.fixture
def shared(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """Two tenants have a prefix in the bucket of videos, `b` with three times the weight."""
    tenants = f"s3://{world.videos}/a/=a,s3://{world.videos}/b/=b:3"
    prefix = f"{world.redis_prefix}-{request.node.name[:40]}"
    yield replace(world, redis_prefix=prefix, aws={**world.aws, "JAMAK_TENANTS": tenants})
    for key in world.queues.redis.scan_iter(f"{prefix}*"):
        world.queues.redis.delete(key)


def jobs(world: World, tenant: str, count: int) -> list[CaptionJob]:
    return [
        world.job(Video(bucket=world.videos, key=f"{tenant}/{n}.mp4", etag="e", size_bytes=1))
        for n in range(count)
    ]


def fed_from(world: World, tenant: str, count: int) -> Feed:
    """A backlog of videos of a tenant."""
    for number in range(count):
        world.store.put(world.videos, f"{tenant}/{number:03}.mp4", b"x")
    source = f"s3://{world.videos}/{tenant}/"
    made = create(world.store, world.settings, f"of-{tenant}", source, world.recipe, "t4")
    scan(world.store, world.settings, world.queues, made)
    return Feed(made, world.queues)


def by_tenant(world: World, queue: str = QUEUE) -> dict[str, int]:
    return {name: n for name, n in world.queues.waiting_by_tenant(queue).items() if n}


def older_worker(world: World) -> None:
    leased_queues(world.settings, world.queues.prefix).beat({"queues": CAPTION_QUEUES}, [])


def test_each_tenants_uploads_wait_in_a_list_of_their_own(shared: World) -> None:
    send(
        shared.queues, QUEUE, [*jobs(shared, "a", 9), *jobs(shared, "b", 6), *jobs(shared, "x", 3)]
    )
    assert by_tenant(shared) == {"a": 9, "b": 6, OTHER: 3}
    assert shared.queues.waiting(QUEUE) == 18
    taken = [shared.queues.take(shared.queues.new_lease(), [QUEUE]) for _ in range(10)]
    assert Counter(one.tenant for one in taken if one) == {"a": 2, "b": 6, OTHER: 2}
    assert len(job_names(shared.queues)) == 18


def test_what_a_worker_sends_on_is_its_tenants(shared: World) -> None:
    """A job for a larger card, or for the newer content of its video."""
    (job,) = jobs(shared, "b", 1)
    shared.captions.send_task(
        CAPTION_TASK,
        args=(job.model_dump(mode="json"),),
        queue=QUEUE,
        headers={VIDEO: job.video.uri},
    )
    assert by_tenant(shared) == {"b": 1}
    taken = shared.queues.take(shared.queues.new_lease(), [QUEUE])
    assert taken is not None
    assert VIDEO not in json.loads(taken.message)["headers"]


def test_a_send_that_is_tried_again_is_its_tenants_too(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = jobs(shared, "b", 1)
    put, tries = LeasedQueues.put, []

    def fails_once(queues: LeasedQueues, *told: Any) -> int:
        tries.append(told)
        if len(tries) == 1:
            raise redis.ConnectionError("reset")
        return put(queues, *told)

    monkeypatch.setattr(LeasedQueues, "put", fails_once)
    shared.captions.send_task(
        CAPTION_TASK,
        args=(job.model_dump(mode="json"),),
        queue=QUEUE,
        headers={VIDEO: job.video.uri},
    )
    assert len(tries) == 2
    assert by_tenant(shared) == {"b": 1}


def test_each_tenant_has_room_of_its_own(shared: World) -> None:
    now = [0.0]
    marks = HighWaterMarks(shared.queues, lambda: now[0])
    assert marks.room(f"{QUEUE}@b") == MOST * 3 / 5  # nothing is measured yet: by its weight
    send(shared.queues, QUEUE, jobs(shared, "a", 60))
    marks.room(f"{QUEUE}@a"), marks.room(QUEUE)
    taken = [shared.queues.take(shared.queues.new_lease(), [QUEUE]) for _ in range(50)]
    assert all(taken)
    now[0] = 10.0
    assert marks.room(f"{QUEUE}@a") == 600 - 10  # 5 a second, for two minutes
    assert marks.room(f"{QUEUE}@b") == LEAST  # nothing of it was taken
    assert marks.has_room(QUEUE)
    shared.queues.put(QUEUE, {Share("a"): ["m"] * MOST_OF_ALL})
    now[0] = 11.5
    assert not marks.has_room(QUEUE)
    assert marks.room(f"{QUEUE}@b") == LEAST


def test_the_mark_of_nobodys_list_counts_what_was_taken_of_it(shared: World) -> None:
    now = [0.0]
    marks = HighWaterMarks(shared.queues, lambda: now[0])
    marks.room(BULK), marks.room(f"{BULK}@a")
    shared.queues.put(BULK, {Share("a", 1.0): ["m"] * 400, Share(OTHER): ["m"] * 20})
    for _ in range(420):
        assert shared.queues.take(shared.queues.new_lease(), [BULK])
    now[0] = 20.0
    assert marks.room(f"{BULK}@a") == 2400  # 20 a second, for two minutes
    assert marks.room(BULK) == 120


def test_who_has_no_room_holds_up_nobody_else(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = {f"{BULK}@a": 2, f"{BULK}@b": 100}

    def room(name: str) -> int:
        return max(0, marks[name] - shared.queues.waiting_in(name))

    def wait(seconds: float) -> None:
        """Everybody else's is there by then."""
        assert by_tenant(shared, BULK) == {"a": 2, "b": 6}
        marks[f"{BULK}@a"] = 5

    monkeypatch.setattr("producer.jobs.send.time.sleep", wait)
    wanted = [*jobs(shared, "a", 5), *jobs(shared, "b", 6)]
    assert send_as_room_allows(shared.queues, BULK, wanted, room) == 11
    assert by_tenant(shared, BULK) == {"a": 5, "b": 6}


def test_backlogs_of_tenants_are_fed_side_by_side(shared: World) -> None:
    feeds = [fed_from(shared, "a", 30), fed_from(shared, "b", 30)]

    def room(name: str) -> int:
        return max(0, 10 - shared.queues.waiting_in(name))

    while feed_round(feeds, room):
        pass
    assert by_tenant(shared, BULK) == {"a": 10, "b": 10}  # each up to its mark
    # Where they have no lists of their own they share the room by weight.
    older_worker(shared)
    shared.queues.sharing._looked_at = float("-inf")
    assert feed_round(feeds, lambda name: 8) == 8
    assert by_tenant(shared, BULK) == {"a": 10, "b": 10, OTHER: 8}
    assert [feed.fed for feed in feeds] == [12, 16]


def test_a_stretch_ends_where_another_tenants_lines_begin(shared: World) -> None:
    source = f"s3://{shared.videos}/mixed/"
    tenants = f"{source}a/=a,{source}b/=b:3"
    shared = replace(shared, aws={**shared.aws, "JAMAK_TENANTS": tenants})
    for key in ("a/1.mp4", "a/2.mp4", "b/1.mp4", "c/1.mp4"):
        shared.store.put(shared.videos, f"mixed/{key}", b"x")
    made = create(shared.store, shared.settings, "mixed", source, shared.recipe, "t4")
    scan(shared.store, shared.settings, shared.queues, made)
    one = Feed(made, shared.queues)
    full = {f"{BULK}@b"}
    while feed_round([one], lambda name: 0 if name in full else 100):
        pass
    told = by_tenant(shared, BULK)
    assert set(told) == {"a"}
    full.clear()
    while feed_round([one], lambda name: 100):
        pass
    assert set(by_tenant(shared, BULK)) == {"a", "b", OTHER}
    assert sum(by_tenant(shared, BULK).values()) == one.manifest.lines


def test_the_feeder_moves_what_no_live_worker_reads(shared: World) -> None:
    moved: list[int] = []

    def pool() -> int:
        moved.append(1)
        return 0

    feeder = Feeder(list, lambda names: [], Any, lambda name: 0, lambda s: True, pool=pool)
    feeder.round()
    assert moved


def test_what_is_taken_away_is_taken_from_its_list(shared: World) -> None:
    one = fed_from(shared, "a", 7)
    feed_round([one], lambda name: 100)
    send(shared.queues, BULK, jobs(shared, "b", 2))
    assert len(job_names(shared.queues)) == one.manifest.lines + 2
    assert withdraw(shared.queues, "of-a") == one.manifest.lines
    assert by_tenant(shared, BULK) == {"b": 2}
    found = [shared.queues.take(shared.queues.new_lease(), [BULK]) for _ in range(3)]
    assert [one.tenant if one else None for one in found] == ["b", "b", None]


def test_what_was_set_aside_goes_back_to_its_list(shared: World) -> None:
    send(shared.queues, QUEUE, [*jobs(shared, "b", 1), *jobs(shared, "x", 1)])
    for _ in range(2):
        taken = shared.queues.take(shared.queues.new_lease(), [QUEUE])
        assert taken is not None
        shared.queues.poison(taken.lease, "a test")
    assert put_back(shared.queues, list(all_set_aside(shared.queues))) == 2
    assert by_tenant(shared) == {"b": 1, OTHER: 1}


def test_who_waits_is_told_by_status_and_metrics(shared: World) -> None:
    worker = leased_queues(shared.settings, shared.queues.prefix)
    worker.beat({"queues": [QUEUE, BULK], "slots": 9, READS_TENANTS: True}, [])
    send(shared.queues, QUEUE, [*jobs(shared, "a", 300), *jobs(shared, "b", 2)])
    assert worker.take(worker.new_lease(), [QUEUE])
    seen = look(shared.queues, CAPTION_QUEUES).queues
    assert seen[QUEUE].tenants == {"a": 299, "b": 2}
    assert (seen[QUEUE].waiting, seen[BULK].tenants) == (301, {})
    assert seen[QUEUE].sampled
    assert [(one.reason, one.jobs) for one in seen[QUEUE].why] == [("next", seen[QUEUE].looked_at)]
    said = inside(shared, status).stdout
    assert "waiting in caption.t4, by tenant: 299 a, 2 b" in said
    training = leased_queues(shared.settings, train_prefix(shared.settings))
    told = {
        (family.name, *sample.labels.values()): sample.value
        for family in fleet_reading(shared.queues, training, dict).collect()
        for sample in family.samples
    }
    assert told["jamak_queue_messages", QUEUE, "waiting"] == 301
    assert told["jamak_tenant_messages", QUEUE, "a"] == 299
    assert told["jamak_tenant_taken_messages", QUEUE, "a"] == 1
    assert told["jamak_queue_oldest_age_seconds", QUEUE] >= 0
    assert not any(key[:2] == ("jamak_tenant_messages", BULK) for key in told)


def test_a_producer_needs_one_command_more_where_tenants_share(shared: World, world: World) -> None:
    """Who has written down the rights of older versions keeps them, as long as nobody shares."""
    url = urlsplit(world.redis_url)
    user = f"{shared.redis_prefix[-40:]}-user".replace("[", "-")
    rules = ("on", ">pw", "~*", "+@all", "-zadd")
    world.queues.redis.execute_command("ACL", "SETUSER", user, *rules)  # type: ignore[no-untyped-call]
    try:
        as_user = f"redis://{user}:pw@{url.hostname}:{url.port}/0"
        plain, sharing = (replace(one, redis_url=as_user).queues for one in (world, shared))
        prove_producer(plain)
        with pytest.raises(BrokerRefuses, match="zadd"):
            prove_producer(sharing)
    finally:
        world.queues.redis.execute_command("ACL", "DELUSER", user)  # type: ignore[no-untyped-call]
