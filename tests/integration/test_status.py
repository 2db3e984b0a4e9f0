"""Why jobs wait is told: in `status`, and at once by whatever makes jobs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from producer.jobs.send import messages
from producer.jobs.served import VERSION
from producer.jobs.waits import LOOKED_AT
from producer.verbs.backlog import backlog
from producer.verbs.bulk import enqueue, reconcile
from producer.verbs.captions import status
from producer.verbs.failures import failures
from shared.broker.leased_queues import History, LeasedQueues
from shared.bucket.records import Records
from shared.messages import CaptionJob, Video
from tests.backlogs import failure_of, fill
from tests.verbs import inside
from tests.world import World

pytestmark = pytest.mark.integration

QUEUE, BULK = "caption.t4", "caption.t4.bulk"
OURS = {"model": "tests/tiny", "revision": "1", "reads": VERSION}


@pytest.fixture(autouse=True)
def _alone(world: World) -> Iterator[None]:
    """No worker, and nothing in the queues."""
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}:*"):
            client.delete(key)
    yield


def live(world: World, *queues: str, **about: Any) -> LeasedQueues:
    """A worker that beats once."""
    worker = world.queues
    worker.beat({"queues": queues or [QUEUE, BULK], "slots": 2, **OURS, **about}, [])
    return worker


def job(world: World, number: int = 0, **recipe: object) -> CaptionJob:
    return world.job(
        Video(bucket=world.videos, key=f"{number}.mp4", etag="e", size_bytes=1), **recipe
    )


def told(world: World) -> dict[str, Any]:
    return dict(json.loads(inside(world, status, "--json").stdout))


def why(world: World, queue: str = QUEUE) -> list[tuple[str, int]]:
    return [(wait["reason"], wait["jobs"]) for wait in told(world)["queues"][queue]["why"]]


def test_a_queue_without_a_worker_is_told_at_once(world: World) -> None:
    (video,) = fill(world, "waits", 1)
    assert "no live worker serves caption.t4" in inside(world, enqueue, video.uri).stderr
    done = inside(world, status)
    assert "no live worker serves caption.t4" in done.stderr
    assert why(world) == [("no_worker", 1)]
    found = told(world)["queues"][QUEUE]
    assert (found["waiting"], found["alone"], found["workers"]) == (1, 0, [])
    # And with one it is quiet.
    worker = live(world)
    assert inside(world, enqueue, video.uri).stderr == ""
    assert told(world)["queues"][QUEUE]["workers"] == [worker.worker]
    # One that ends takes nothing any more.
    worker.beat({"queues": [QUEUE], "draining": True}, [])
    assert why(world) == [("no_worker", 2)]


def test_a_model_that_nobody_serves_is_told_by_all_that_make_jobs(world: World) -> None:
    live(world, model="other/model", revision="9")
    videos = fill(world, "wrong", 2)
    source = f"s3://{world.videos}/wrong/"
    said = "serves tests/tiny@1; live ones serve other/model@9 (1)"
    done = inside(world, enqueue, videos[0].uri, "--json")
    assert said in done.stderr
    (unserved,) = json.loads(done.stdout)["unserved"]
    assert (unserved["queue"], unserved["reason"]) == (QUEUE, "wrong_model")
    assert said in unserved["message"]
    assert why(world) == [("wrong_model", 1)]
    for_people = inside(world, backlog, "start", "wrong", source).stdout
    assert "other/model@9" in " ".join(for_people.split())
    stands = json.loads(inside(world, backlog, "status", "wrong", "--json").stdout)
    assert [(one["reason"], one["jobs"]) for one in stands["why"]] == [
        ("wrong_model", 2),
        ("not_fed", 2),
    ]
    assert said in json.dumps(json.loads(inside(world, backlog, "plan", source, "--json").stdout))
    assert said in inside(world, reconcile, "wrong").stderr
    assert why(world, BULK) == [("wrong_model", 2)]
    broken = world.job(videos[1])
    Records(world.store, world.settings).write_failure(broken, failure_of(broken))
    assert said in inside(world, failures, "redrive", source, "--go").stderr
    # Once somebody serves it, nobody complains.
    live(world)
    assert inside(world, enqueue, videos[0].uri).stderr == ""
    assert why(world) == [("next", 2)]


def test_a_message_that_is_newer_than_all_workers_is_told(world: World) -> None:
    live(world, reads=VERSION)
    world.send(job(world).model_copy(update={"v": VERSION + 1}))
    assert why(world) == [("newer_message", 1)]
    live(world, reads=VERSION + 1)
    assert why(world) == [("next", 1)]
    # What does not say what it reads is an older worker: it is trusted.
    world.queues.put(QUEUE, ["rubbish"])
    assert why(world) == [("next", 1), ("no_message", 1)]


def test_a_job_whose_source_is_away_says_so(world: World) -> None:
    worker = live(world, away=[world.videos])
    world.send(job(world))
    taken = worker.take(worker.new_lease(), [QUEUE])
    assert taken is not None
    worker.release(taken.lease, None, 20)
    (found,) = told(world)["queues"][QUEUE]["why"]
    assert found["reason"] == "handed_on"
    assert f"s3://{world.videos} does not answer" in found["message"]


def test_each_reason_to_wait_is_told(world: World) -> None:
    worker = live(world)
    world.send(*(job(world, number) for number in range(5)))
    leases = [worker.take(worker.new_lease(), [QUEUE]) for _ in range(2)]
    assert why(world) == [("busy", 3)]
    message = told(world)["queues"][QUEUE]["why"][0]["message"]
    assert "2 of 2 slots in flight" in message
    first, second = (lease.lease for lease in leases if lease)
    worker.release(first, History(attempt=3), 20, "store_unavailable")
    worker.release(second, None, 20)
    found = told(world)["queues"][QUEUE]["why"]
    assert [(wait["reason"], wait["jobs"]) for wait in found] == [
        ("next", 3),
        ("retry", 1),
        ("handed_on", 1),
    ]
    assert "another try after store_unavailable, attempt 3; due in" in found[1]["message"]
    assert "another worker takes it; due in" in found[2]["message"]
    deadly = History(deaths=2).dump()
    item = f"1\n{deadly}\n{messages([job(world, 9)])[0]}"
    worker.redis.lpush(f"{worker.prefix}{QUEUE}:alone", item)
    assert ("alone", 1) in why(world)
    shown = " ".join(inside(world, status).stdout.split())
    assert "store_unavailable" in shown


def test_a_worker_that_takes_nothing_for_now_says_why(world: World) -> None:
    worker = live(world, paused={"scratch": "No space left on device"})
    world.send(job(world))
    assert why(world) == [("worker_paused", 1)]
    said = "takes anything for now: scratch: No space left on device"
    assert said in inside(world, status).stderr
    worker.beat({"queues": [QUEUE], "slots": 2, **OURS, "paused": {}}, [])
    assert why(world) == [("next", 1)]


def test_a_try_that_comes_again_is_taken_as_before(world: World) -> None:
    """The reason travels beside the message, not in it."""
    worker = live(world)
    world.send(job(world))
    (item,) = worker.redis.lrange(f"{worker.prefix}{QUEUE}", 0, -1)
    taken = worker.take(worker.new_lease(), [QUEUE])
    assert taken
    worker.release(taken.lease, History(attempt=2), 0.001, "store_unavailable")
    while (again := worker.take(worker.new_lease(), [QUEUE])) is None:
        pass
    assert again.history == History(attempt=2)
    assert again.message == item.split(b"\n", 2)[2]


def test_of_a_long_queue_only_the_first_messages_are_looked_at(world: World) -> None:
    live(world)
    world.queues.put(QUEUE, messages([job(world)] * LOOKED_AT))
    world.queues.put(QUEUE, messages([job(world, model="later")] * 50))
    found = told(world)
    assert found["queues"][QUEUE]["waiting"] == LOOKED_AT + 50
    assert found["queues"][QUEUE]["looked_at"] == LOOKED_AT
    assert found["sampled"] == [QUEUE]
    assert why(world) == [("next", LOOKED_AT)]
    assert f"of the first {LOOKED_AT}" in " ".join(inside(world, status).stdout.split())


def test_a_backlog_that_is_paused_is_told(world: World) -> None:
    live(world)
    fill(world, "paused", 3)
    inside(world, backlog, "start", "paused", f"s3://{world.videos}/paused/")
    assert ("paused", 3) not in why(world, BULK)
    inside(world, backlog, "pause", "paused")
    assert why(world, BULK) == [("paused", 3)]
    stands = json.loads(inside(world, backlog, "status", "paused", "--json").stdout)
    assert [(one["reason"], one["jobs"]) for one in stands["why"]] == [("paused", 3)]


def test_what_is_wanted_stands_beside_what_runs_and_why(world: World) -> None:
    shown = inside(world, status).stdout
    assert "wanted" not in shown  # nothing is, and nothing runs
    live(world, card="t4")
    world.send(job(world))
    (one,) = (one for one in told(world)["scale"]["classes"] if one["class"] == "t4")
    assert (one["wanted"], one["running"], one["units"]["waiting"]) == (1, 1, 1)
    shown = inside(world, status).stdout
    assert "wanted" in shown and one["reason"] in shown
