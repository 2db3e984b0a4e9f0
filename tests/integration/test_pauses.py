"""A worker that takes nothing for now: why, for how long, and what it tells of it."""

import threading
import uuid
from collections.abc import Iterator

import pytest

from shared import telemetry
from shared.broker.leased_queues import LeasedQueues
from shared.errors import StoreUnavailable
from tests.waiting import wait_until
from workers.delivery import asking
from workers.delivery.health import WorkerHealth
from workers.delivery.leases import Leases
from workers.delivery.pauses import ASKED_AT_ONCE
from workers.delivery.watchdog import Watchdog

pytestmark = pytest.mark.integration


@pytest.fixture
def leases(redis_url: str) -> Iterator[Leases]:
    queues = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 30.0)
    made = Leases(queues, 2, dict)
    made.start()
    yield made
    made.leave()
    for key in queues.redis.scan_iter(f"{queues.prefix}*"):
        queues.redis.delete(key)
    queues.redis.close()


class Away:
    """S3, until it is back."""

    def __init__(self) -> None:
        self.back = threading.Event()

    def __call__(self) -> None:
        if not self.back.is_set():
            raise StoreUnavailable("still away")


def test_while_a_reason_holds_nothing_is_taken_and_what_is_in_hand_goes_on(leases: Leases) -> None:
    leases.queues.put("q", ["1", "2"])
    first = leases.receive(["q"], 5)
    assert first is not None
    health = WorkerHealth()
    health.takes_work(leases)
    assert health.ready() is None
    source, scratch = Away(), Away()
    leases.pauses.hold("source", "S3 is away", source)
    leases.pauses.hold("source", "said again", source)
    leases.pauses.hold("scratch", "no space", scratch)
    assert leases.receive(["q"], 0.2) is None
    assert leases.free == 0
    assert Watchdog(leases, ["q"], lambda code: None, deaf_s=0).look() is None
    assert leases.pauses.told == {"source": "S3 is away", "scratch": "no space"}
    assert "takes nothing for now: source: S3 is away" in str(health.ready())
    assert health.live() is None
    assert telemetry.PAUSED.labels("source")._value.get() == 1
    leases.of(first.lease).check()
    leases.finished(first.lease)
    wait_until(lambda: leases.pauses.told["source"] == "still away", 10, "the first look")
    source.back.set()
    wait_until(lambda: leases.pauses.told.keys() == {"scratch"}, 20, "the source")
    assert leases.receive(["q"], 0.2) is None
    # Whoever waits for a message is told at once.
    threading.Timer(0.1, scratch.back.set).start()
    second = leases.receive(["q"], 60)
    assert second is not None
    assert second.message == b"2"
    assert health.ready() is None
    assert telemetry.PAUSED.labels("source")._value.get() == 0


def test_a_look_that_takes_long_keeps_no_other_reason(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_LOOK_S", 0.0)
    looked, goes_on = threading.Event(), threading.Event()

    def trickle() -> None:
        looked.set()
        goes_on.wait(60)

    leases.pauses.hold("source", "S3 is away", trickle)
    assert looked.wait(10)
    for number in range(ASKED_AT_ONCE - 1):
        leases.pauses.hold(f"other-{number}", "for a moment", lambda: None)
    wait_until(lambda: leases.pauses.told.keys() == {"source"}, 10, "the end of the others")
    goes_on.set()
    wait_until(lambda: not leases.pauses, 10, "the end of the slow one")


def test_what_does_not_pass_in_its_time_ends_the_worker(leases: Leases) -> None:
    watchdog = Watchdog(leases, ["q"], lambda code: None)
    leases.pauses.hold("source", "S3 is away", Away())
    leases.pauses.hold("scratch", "no space", Away(), most_s=3600)
    assert watchdog.look() is None
    leases.pauses.hold("decoders", "none comes up", Away(), most_s=0)
    assert "decoders for 0 s: " in str(watchdog.look())
