"""What becomes of each kind of error: another try, a failure record, the poison list, or nothing.

Run by the real task in this process, over a real Redis; the bucket's side is a small fake.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import (
    BadCredentials,
    BadMessage,
    BrokerRefuses,
    Forbidden,
    JamakError,
    LacksMemory,
    NoRoom,
    NotAVideo,
    StoreUnavailable,
    WrongModel,
    WrongRegion,
)
from shared.messages import CaptionJob, Recipe, Video
from tests.one_task import run_caption_task
from workers import tasks
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.tasks import MAX_ATTEMPTS, MAX_HANGS, MAX_UNWRITTEN

pytestmark = pytest.mark.integration

JOB = CaptionJob(
    video=Video(bucket="b", key="k.mp4", etag="e", size_bytes=1),
    recipe=Recipe(prompt="p", model="m", revision="r"),
)
PAYLOAD = JOB.model_dump(mode="json")
QUEUE = "caption.l4.bulk"


class Work:
    """Fails as it is told to, and keeps what it was asked to write."""

    def __init__(self, error: Exception | None = None, unwritable: Exception | None = None) -> None:
        self.error, self.unwritable = error, unwritable
        self.runs = 0
        self.failures: list[JamakError] = []

    def run(self, job: CaptionJob, lease: Lease) -> None:
        assert job.video == JOB.video
        self.runs += 1
        if self.error:
            raise self.error

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> None:
        if self.unwritable:
            raise self.unwritable
        self.failures.append(error)


@pytest.fixture
def leases(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Leases]:
    queues = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 5.0)
    yield Leases(queues, 4, dict)
    for key in queues.redis.scan_iter(f"{queues.prefix}*"):
        queues.redis.delete(key)
    queues.redis.close()


def run(
    leases: Leases, work: Work, payload: Any = PAYLOAD, history: History | None = None
) -> dict[str, int]:
    """As Celery does it; what is in Redis afterwards."""
    run_caption_task(leases, work, QUEUE, payload, history or History())
    return leases.queues.counts()


NOTHING = {"in_flight": 0, "delayed": 0, "poison": 0}
LATER = {**NOTHING, "delayed": 1}


def delayed(leases: Leases) -> History:
    ((member, _),) = leases.queues.redis.zrange(
        f"{leases.queues.prefix}delayed", 0, -1, withscores=True
    )
    return History.parse(member.decode().split("\n")[4])


def test_done_is_done(leases: Leases) -> None:
    work = Work()
    assert run(leases, work) == NOTHING
    assert (work.runs, work.failures) == (1, [])


def test_the_inputs_fault_is_recorded_at_once(leases: Leases) -> None:
    work = Work(NotAVideo("x"))
    assert run(leases, work) == NOTHING
    assert [error.reason for error in work.failures] == ["not_a_video"]


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("x"), LacksMemory("x"), ZeroDivisionError("a fault of ours")],
)
def test_the_worlds_fault_is_tried_again_later(leases: Leases, error: Exception) -> None:
    work = Work(error)
    assert run(leases, work, history=History(attempt=2, deaths=1)) == LATER
    assert work.failures == []
    assert delayed(leases) == History(attempt=3, deaths=1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreUnavailable("x"), "store_unavailable"),
        (LacksMemory("x"), "lacks_memory"),
        (ZeroDivisionError("x"), "internal_error"),
    ],
)
def test_the_last_try_ends_on_the_record(leases: Leases, error: Exception, reason: str) -> None:
    work = Work(error)
    assert run(leases, work, history=History(attempt=MAX_ATTEMPTS)) == NOTHING
    assert [error.reason for error in work.failures] == [reason]


@pytest.mark.parametrize("unwritable", [StoreUnavailable("down"), Forbidden("closed to us")])
def test_a_failure_that_cannot_be_written_is_tried_again(
    leases: Leases, unwritable: Exception
) -> None:
    work = Work(NotAVideo("x"), unwritable)
    assert run(leases, work, history=History(attempt=MAX_ATTEMPTS)) == LATER
    assert delayed(leases).attempt == MAX_ATTEMPTS + 1


def test_a_job_whose_end_cannot_be_written_is_set_aside_after_many_tries(leases: Leases) -> None:
    work = Work(NotAVideo("x"), Forbidden("closed to us"))
    history = History(attempt=MAX_UNWRITTEN)
    assert run(leases, work, history=history) == {**NOTHING, "poison": 1}
    (entry,) = leases.queues.redis.lrange(f"{leases.queues.prefix}poison", 0, -1)
    assert b"unwritable: neither its record nor its failure could be written: closed" in entry


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (None, {**PAYLOAD, "v": 99}),
        (WrongModel("another one"), PAYLOAD),
        (NoRoom("on this card, for now"), PAYLOAD),
        (BadCredentials("this machine has none"), PAYLOAD),
        (WrongRegion("of this machine"), PAYLOAD),
        (BrokerRefuses("this machine"), PAYLOAD),
    ],
)
def test_what_is_for_another_worker_goes_on_however_often(
    leases: Leases, error: Exception | None, payload: Any
) -> None:
    work = Work(error)
    assert run(leases, work, payload, history=History(attempt=MAX_ATTEMPTS)) == LATER
    assert work.failures == []
    assert delayed(leases) == History(attempt=MAX_ATTEMPTS)


@pytest.mark.parametrize("payload", [{"nonsense": 1}, None, [], "text", {**PAYLOAD, "x": 1}])
def test_what_is_no_job_is_set_aside(leases: Leases, payload: Any) -> None:
    work = Work()
    assert run(leases, work, payload) == {**NOTHING, "poison": 1}
    assert (work.runs, work.failures) == (0, [])


def test_a_job_that_claims_what_is_not_so_is_set_aside(leases: Leases) -> None:
    work = Work(BadMessage("another size"))
    assert run(leases, work, history=History(attempt=MAX_ATTEMPTS)) == {**NOTHING, "poison": 1}
    assert work.failures == []  # under a name that was made up


def test_what_was_lost_is_left_to_somebody_else(leases: Leases) -> None:
    class Lost(Work):
        def run(self, job: CaptionJob, lease: Lease) -> None:
            lease.lose()
            lease.progress.tick("download")

    work = Lost()
    assert run(leases, work) == {**NOTHING, "in_flight": 1}  # until its lease ends
    assert work.failures == []


@pytest.mark.parametrize(
    ("history", "reason", "runs"),
    [
        (History(deaths=2), None, 1),
        (History(deaths=2, deaths_alone=1, workers=("a", "b", "c")), None, 1),
        (History(deaths=2, deaths_alone=2, workers=("a", "b", "c", "d")), "kills_workers", 0),
        (History(hangs=MAX_HANGS - 1), None, 1),
        (History(hangs=MAX_HANGS, workers=("a", "b", "c")), "hangs", 0),
    ],
)
def test_what_kills_or_hangs_its_workers_ends_with_the_evidence(
    leases: Leases, history: History, reason: str | None, runs: int
) -> None:
    work = Work()
    assert run(leases, work, history=history) == NOTHING
    assert work.runs == runs
    assert [error.reason for error in work.failures] == ([reason] if reason else [])
    for error in work.failures:
        assert error.evidence["workers"] == history.workers


def test_the_pause_before_another_try_grows_and_is_bounded(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.random, "uniform", lambda low, high: 1.0)
    pauses = []

    def release(lease: Lease, delay_s: float = 0.0, *, tried: bool = True, why: str = "") -> None:
        assert why == "store_unavailable"  # as `jamak status` tells it
        pauses.append(delay_s)

    monkeypatch.setattr(leases, "release", release)
    for attempt in range(1, MAX_ATTEMPTS):
        run(leases, Work(StoreUnavailable("x")), history=History(attempt=attempt))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
