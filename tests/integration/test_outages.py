"""A store that is away, and one object of it that is sick: what each costs a job.

The real task, a real Redis, a real S3 API; some of its answers are made sick on the way.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import JamakError, StoreUnavailable
from shared.messages import CaptionJob
from tests.faults import Fault, SickStore
from tests.one_task import run_caption_task
from tests.waiting import wait_until
from tests.world import World
from workers.delivery import asking
from workers.delivery.health import WorkerHealth
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.delivery.outages import Outages
from workers.tasks import MAX_ATTEMPTS

pytestmark = pytest.mark.integration

QUEUE = "caption.t4"


class Work:
    """Reads the video, and writes a record of a kind."""

    def __init__(self, world: World, store: SickStore) -> None:
        self.world, self.store = world, store
        self.failures: list[str] = []

    def run(self, job: CaptionJob, lease: Lease) -> None:
        video = job.video
        info = self.store.head(video.bucket, video.key, etag=video.etag)
        self.store.get_range(video.bucket, video.key, 0, 1, etag=info.etag)
        self.store.put(self.world.output, f"{self.world.prefix}records/one", b"{}")

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> bool:
        self.failures.append(error.reason)
        return False


@pytest.fixture
def leases(redis_url: str) -> Iterator[Leases]:
    queues = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 5.0)
    yield Leases(queues, 4, dict)
    for key in queues.redis.scan_iter(f"{queues.prefix}*"):
        queues.redis.delete(key)
    queues.redis.close()


@pytest.fixture
def job(world: World) -> CaptionJob:
    for name in ("a", "b"):
        world.store.put(world.videos, f"outage/{name}.mp4", name.encode())
    info = world.store.head(world.videos, "outage/a.mp4")
    video: Any = {"bucket": info.bucket, "key": info.key, "etag": info.etag, "size_bytes": 1}
    return world.job(video)


@pytest.fixture
def store(world: World) -> Iterator[SickStore]:
    made = SickStore()
    yield made
    made.fault = lambda *_: None  # the pause ends, and nobody asks any more


@pytest.fixture
def run(
    world: World, leases: Leases, store: SickStore, job: CaptionJob, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], tuple[list[str], History | None]]:
    """As Celery does it: the reasons of the failures, and the history of what waits."""
    monkeypatch.setattr(asking, "FIRST_LOOK_S", 0.05)
    monkeypatch.setattr("workers.delivery.outages.AROUND_S", 0.0)
    leases.outages = Outages(leases.pauses, store, world.settings)
    leases.pauses.start()
    work = Work(world, store)
    payload = job.model_dump(mode="json")

    def run(attempt: int) -> tuple[list[str], History | None]:
        run_caption_task(leases, work, QUEUE, payload, History(attempt=attempt))
        waiting = leases.queues.redis.zrange(f"{leases.queues.prefix}delayed", 0, -1)
        leases.queues.redis.delete(f"{leases.queues.prefix}delayed")
        known = [History.parse(one.decode().split("\n")[4]) for one in waiting]
        return work.failures, known[0] if known else None

    return run


def all_of(bucket: str, status: int = 500, code: str = "InternalError") -> Fault:
    return lambda method, asked, key: (status, code) if asked == bucket else None


def data_of(bucket: str) -> Fault:
    """Its listings go on being answered."""
    return lambda method, asked, key: (500, "InternalError") if asked == bucket and key else None


Run = Callable[[int], tuple[list[str], History | None]]


@pytest.mark.parametrize("kind", [all_of, data_of])
def test_a_source_that_is_away_costs_no_attempt_and_pauses_until_it_is_back(
    world: World, run: Run, leases: Leases, store: SickStore, kind: Callable[[str], Fault]
) -> None:
    store.fault = kind(world.videos)
    assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert "s3://" in leases.pauses.told["source"]
    health = WorkerHealth()
    health.takes_work(leases)
    assert "source" in str(health.ready())
    store.fault = lambda *_: None
    wait_until(lambda: not leases.pauses, 10, "the end of the pause")
    assert run(MAX_ATTEMPTS) == ([], None)


def test_one_object_that_is_sick_is_its_own_matter(
    world: World, run: Run, leases: Leases, store: SickStore, job: CaptionJob
) -> None:
    store.fault = lambda method, bucket, key: (500, "") if key == job.video.key else None
    assert run(2) == ([], History(attempt=3))
    assert run(MAX_ATTEMPTS) == (["store_unavailable"], None)
    assert not leases.pauses


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "NoSuchBucket", "does not exist"),
        (500, "InternalError", "InternalError"),
        (403, "AccessDenied", "access denied"),
        (403, "InvalidAccessKeyId", "not let in"),
        (400, "KMS.DisabledException", "KMS key"),
    ],
)
def test_an_output_that_takes_nothing_costs_no_attempt(
    world: World, run: Run, leases: Leases, store: SickStore, status: int, code: str, said: str
) -> None:
    store.fault = all_of(world.output, status, code)
    assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert said in leases.pauses.told["output"]
    store.fault = lambda *_: None
    wait_until(lambda: not leases.pauses, 10, "the end of the pause")


def test_credentials_that_are_let_in_nowhere_are_no_fault_of_the_job(
    run: Run, leases: Leases, store: SickStore
) -> None:
    store.fault = lambda *_: (403, "InvalidAccessKeyId")
    assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert "output" in leases.pauses.told


def test_a_bucket_of_another_region_does_not_go_round_for_ever(
    world: World, run: Run, leases: Leases, store: SickStore
) -> None:
    store.fault = all_of(world.videos, 400, "AuthorizationHeaderMalformed")
    assert run(2) == ([], History(attempt=3))
    assert run(MAX_ATTEMPTS) == (["wrong_region"], None)
    assert not leases.pauses


def test_one_source_that_is_away_does_not_stop_the_others(
    world: World, run: Run, leases: Leases, store: SickStore
) -> None:
    assert leases.outages is not None
    leases.outages.check("another-bucket")
    store.fault = all_of(world.videos)
    assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert not leases.pauses


def test_the_jobs_of_a_source_that_is_away_go_back_without_a_request(
    world: World, run: Run, leases: Leases, store: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_LOOK_S", 60.0)
    monkeypatch.setattr("workers.delivery.outages.AROUND_S", 60.0)
    assert leases.outages is not None
    store.fault = all_of(world.videos)
    assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert leases.outages.away == [world.videos]
    store.asked.clear()
    for _ in range(3):
        assert run(MAX_ATTEMPTS) == ([], History(attempt=MAX_ATTEMPTS))
    assert store.asked == []
    assert not leases.pauses  # it is still looking for others


def test_a_source_that_trickles_keeps_no_other_one(
    world: World, leases: Leases, store: SickStore
) -> None:
    outages = Outages(leases.pauses, store, world.settings)
    answers, asked = threading.Event(), threading.Event()

    def trickle(method: str, bucket: str, key: str) -> tuple[int, str]:
        if bucket == "trickles":
            asked.set()
            answers.wait(60)
        return 500, "InternalError"

    def fail(bucket: str) -> bool:
        error = StoreUnavailable("it does not answer")
        error.place = bucket, "a.mp4"
        return outages.is_to_blame(error, lambda: None)

    store.fault = trickle
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fail, "trickles")
        assert asked.wait(10)
        assert fail("silent")
        assert not slow.done()
        answers.set()
        assert slow.result(60)
    assert outages.away == ["silent", "trickles"]


def test_a_source_of_which_nothing_is_wanted_is_forgotten(
    world: World, run: Run, leases: Leases, store: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.delivery.outages.FORGOTTEN_S", 0.0)
    assert leases.outages is not None
    store.fault = all_of(world.videos)
    run(1)
    wait_until(lambda: not leases.outages or not leases.outages.away, 10, "it to be forgotten")


def test_one_look_at_a_source_serves_all_whose_jobs_failed_at_once(
    world: World, leases: Leases, store: SickStore
) -> None:
    """A silent one takes ten seconds for each answer that it does not give."""
    outages = Outages(leases.pauses, store, world.settings)
    failed = threading.Barrier(4)

    def silent(method: str, bucket: str, key: str) -> tuple[int, str]:
        time.sleep(0.3)
        return 500, "InternalError"

    def fail(number: int) -> bool:
        error = StoreUnavailable("it does not answer")
        error.place = world.videos, f"outage/{number}.mp4"
        failed.wait()
        return outages.is_to_blame(error, lambda: None)

    store.fault = silent
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fail, range(4)))
    assert len(store.asked) == 1


def test_a_pause_for_a_source_ends_for_a_look_at_the_others(
    world: World, run: Run, leases: Leases, store: SickStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.delivery.outages.OTHERS_S", 0.0)
    store.fault = all_of(world.videos)
    run(1)
    wait_until(lambda: not leases.pauses, 10, "the end of the pause")
