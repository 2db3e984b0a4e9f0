"""One trace from an upload to its record: over a real Redis, with real workers, to a real receiver.

How attempts are told is in tests/unit/test_tracing.py; here is what Redis and processes do to them.
"""

import uuid
from collections.abc import Iterator

import pytest

from producer.backlog.feeder import Feed
from producer.backlog.scan import create, scan_new
from producer.jobs.send import send
from shared.broker.leased_queues import Delivery, LeasedQueues
from shared.errors import StoreUnavailable
from shared.messages import CaptionJob, Recipe, Video
from shared.telemetry.spans import LOST
from shared.telemetry.trace_headers import Attempt, attempt_id, carried_by
from tests.backlogs import fill
from tests.one_task import run_next
from tests.traces import Told, ids, links_of, parent_of, tracing_here
from tests.world import World
from workers import tasks
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases

pytestmark = pytest.mark.integration

QUEUE = "caption.t4"
JOB = CaptionJob(
    video=Video(bucket="b", key="k.mp4", etag="e", size_bytes=1),
    recipe=Recipe(prompt="p", model="m", revision="r"),
)


@pytest.fixture
def queues(redis_url: str) -> Iterator[LeasedQueues]:
    made = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 30.0)
    yield made
    for key in made.redis.scan_iter(f"{made.prefix}*"):
        made.redis.delete(key)
    made.redis.close()


@pytest.fixture
def told() -> Iterator[Told]:
    with tracing_here() as found:
        yield found


def last_of(delivery: Delivery | None) -> Attempt | None:
    assert delivery is not None
    carried = carried_by(delivery.message)
    assert carried is not None
    return carried.last


def test_redis_keeps_who_had_a_message_whatever_becomes_of_it(
    queues: LeasedQueues, told: Told
) -> None:
    send(queues, QUEUE, [JOB])

    def taken() -> tuple[str, Delivery | None]:
        lease = queues.new_lease()
        return lease, queues.take(lease, [QUEUE])

    one, delivery = taken()
    assert last_of(delivery) is None
    assert queues.release(one, None)  # as it was: a worker that drains
    two, delivery = taken()
    last = last_of(delivery)
    assert last is not None
    assert (last.span_id, last.lost, last.before) == (attempt_id(one), False, 0)
    assert last.taken_s == pytest.approx(queues.redis.time()[0], abs=60)
    assert delivery is not None
    assert queues.release(two, delivery.history.tried(), why="retry")
    three, delivery = taken()
    last = last_of(delivery)
    assert last is not None
    assert (last.span_id, last.lost, last.before) == (attempt_id(two), False, attempt_id(one))
    assert queues.untake(three)  # nobody heard of that take
    _, delivery = taken()
    last = last_of(delivery)
    assert last is not None
    assert (last.span_id, last.lost) == (attempt_id(two), False)


def test_a_lost_lease_is_told_by_who_has_the_message_next(queues: LeasedQueues, told: Told) -> None:
    send(queues, QUEUE, [JOB])
    short = LeasedQueues(queues.url, queues.prefix, 0.2)
    killed = short.new_lease()
    assert short.take(killed, [QUEUE]) is not None  # and nothing more is heard of it
    short.redis.close()
    run_next(Leases(queues, 1, dict), Work(), QUEUE)
    lost, done = told.named(f"process {QUEUE}")
    assert ids(lost)[1] == attempt_id(killed)
    assert (lost.attributes or {})["jamak.outcome"] == LOST
    assert (lost.attributes or {})["jamak.worker"] == short.worker
    assert links_of(done) == [ids(lost)]
    assert parent_of(lost) == parent_of(done) == ids(told.only(f"send {QUEUE}"))[1]


def test_what_is_not_traced_is_taken_as_ever(queues: LeasedQueues) -> None:
    lie = '"tracestate": "jamak=0000000000000000.0000000000000.+.0000000000000000"'
    video = JOB.video.model_copy(update={"key": lie})
    send(queues, QUEUE, [JOB, JOB.model_copy(update={"video": video})])
    before = queues.redis.lrange(f"{queues.prefix}{QUEUE}", 0, -1)
    for item in reversed(before):
        lease = queues.new_lease()
        assert queues.take(lease, [QUEUE]) is not None
        held = queues.redis.hget(f"{queues.prefix}unacked", lease)
        assert held is not None
        assert held.endswith(b"\n" + item)
        assert queues.ack([lease]) == 1


class Work:
    """Fails as it is told to, and says a little for the trace."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def run(self, job: CaptionJob, lease: Lease) -> None:
        lease.progress.tick("download")
        lease.say(lambda: {"jamak.adapter": "abc"})
        if self.errors:
            raise self.errors.pop(0)

    def fail(self, job: CaptionJob, lease: Lease, error: Exception) -> None:
        raise AssertionError("nothing is rejected")


def test_a_retry_is_another_attempt_of_the_same_trace(
    queues: LeasedQueues, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "LONGEST_BACKOFF_S", 0.0)
    leases, work = Leases(queues, 1, dict), Work(StoreUnavailable("S3 is away"))
    send(queues, QUEUE, [JOB])
    for _ in range(2):
        run_next(leases, work, QUEUE)
    sent, (one, two) = told.only(f"send {QUEUE}"), told.named(f"process {QUEUE}")
    assert parent_of(one) == parent_of(two) == sent.context.span_id
    assert {ids(span)[0] for span in told.spans()} == {ids(sent)[0]}
    assert links_of(two) == [ids(one)]
    outcomes = [(span.attributes or {})["jamak.outcome"] for span in (one, two)]
    assert outcomes == ["store_unavailable", "done"]
    assert [parent_of(span) for span in told.named("download")] == [ids(one)[1], ids(two)[1]]
    assert (two.attributes or {})["jamak.adapter"] == "abc"
    assert (two.attributes or {})["jamak.attempt"] == 2


def test_what_a_drain_hands_back_is_told_by_who_had_it(queues: LeasedQueues, told: Told) -> None:
    leases = Leases(queues, 1, dict)
    send(queues, QUEUE, [JOB])

    class Drained(Work):
        def run(self, job: CaptionJob, lease: Lease) -> None:
            assert leases.hand_back() == 1
            lease.progress.tick("download")

    run_next(leases, Drained(), QUEUE)
    run_next(Leases(queues, 1, dict), Work(), QUEUE)
    one, two = told.named(f"process {QUEUE}")
    assert (one.attributes or {})["jamak.outcome"] == "draining"
    assert links_of(two) == [ids(one)]


def test_a_backlog_is_a_trace_and_each_of_its_videos_another(world: World, told: Told) -> None:
    fill(world, "traced", 2)
    source = f"s3://{world.videos}/traced/"
    made = create(world.store, world.settings, "traced", source, world.recipe, "t4")
    scan_new(world.store, world.settings, world.queues, made)
    feed = Feed(made, world.queues)
    assert feed.step(10) == 2
    backlog, fed = told.only("backlog"), told.only("feed caption.t4.bulk")
    assert (backlog.attributes or {})["jamak.videos"] == 2
    assert (fed.context.trace_id, parent_of(fed)) == ids(backlog)
    sends = told.named("send caption.t4.bulk")
    assert [links_of(one) for one in sends] == [[ids(fed)]] * 2
    assert len({one.context.trace_id for one in [backlog, *sends]}) == 3
    leases = Leases(world.queues, 1, dict)
    delivery = leases.receive(["caption.t4.bulk"], 5)
    assert delivery is not None
    carried = carried_by(delivery.message)
    assert carried is not None
    assert carried.trace_id in {one.context.trace_id for one in sends}
