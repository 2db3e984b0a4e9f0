"""What one worker holds: which leases it keeps alive, and what it does when Redis is away."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.local.redis import RedisServer, start_redis
from shared import telemetry
from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import LeaseLost
from tests.waiting import SLOWEST, wait_until
from workers.delivery.drain import Drain
from workers.delivery.full import FullRate
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.delivery.watchdog import Watchdog

pytestmark = pytest.mark.integration

TIMEOUT_S = 1.0


@pytest.fixture
def queues(redis_url: str) -> Iterator[LeasedQueues]:
    made = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", TIMEOUT_S)
    yield made
    for key in made.redis.scan_iter(f"{made.prefix}*"):
        made.redis.delete(key)
    made.redis.close()


@pytest.fixture
def leases(queues: LeasedQueues) -> Iterator[Leases]:
    made = Leases(queues, 2, lambda: {"queues": ["q"]})
    made.start()
    yield made
    made.leave()


def receive(leases: Leases) -> Lease:
    delivery, deadline = None, time.monotonic() + 5 * SLOWEST
    while delivery is None and time.monotonic() < deadline:
        delivery = leases.receive(["q"], 1)
    assert delivery is not None
    return leases.of(delivery.lease)


def held_by_others(leases: Leases) -> list[bytes]:
    found = leases.queues.take(leases.queues.new_lease(), ["q"])
    return [found.message] if found else []


def test_what_is_in_hand_is_told_by_queue_in_messages_and_units(leases: Leases) -> None:
    leases.queues.put("q", ["a", "b"])
    first, second = receive(leases), receive(leases)
    second.units = 7.5
    assert leases.in_hand_of() == {"q": (2, 8.5)}
    leases.finished(first.delivery.lease)
    assert leases.in_hand_of() == {"q": (1, 7.5)}
    leases.finished(second.delivery.lease)
    assert leases.in_hand_of() == {}


def test_what_is_given_back_or_was_done_already_tells_nothing_of_how_fast_it_is(
    leases: Leases,
) -> None:
    now = [0.0]
    leases.full = FullRate(lambda: now[0])
    leases.queues.put("q", [f"{n}" for n in range(40)])
    for _ in range(10):
        made, other = receive(leases), receive(leases)
        made.units = other.units = 3.0
        now[0] += 2  # both are in hand
        made.done = made.units
        leases.finished(made.delivery.lease)
        other.account.wasted("duplicates")
        leases.finished(other.delivery.lease)
    for _ in range(10):
        for back in (receive(leases), receive(leases)):
            now[0] += 0.01
            leases.release(back, 60, tried=False)
            leases.finished(back.delivery.lease)
    assert leases.full.look() == pytest.approx(30 / 20, rel=0.02)


def test_a_job_that_moves_is_kept_and_one_that_hangs_is_lost(leases: Leases) -> None:
    leases.queues.put("q", ["moves", "hangs"])
    moving, hanging = receive(leases), receive(leases)
    deadline = time.monotonic() + 3 * TIMEOUT_S
    back: list[bytes] = []
    while time.monotonic() < deadline:
        moving.progress.tick("work")
        back += held_by_others(leases)
        time.sleep(0.05)
    assert set(back) == {b"hangs"}
    moving.check()
    # It wakes up: neither its next tick nor its write goes through.
    hanging.progress.tick("work")
    wait_until(lambda: not hanging.held, 2, "the loss to be noticed")
    with pytest.raises(LeaseLost):
        hanging.progress.tick("work")
    with pytest.raises(LeaseLost):
        hanging.check()
    leases.finished(hanging.delivery.lease)
    assert leases.flush(5)
    assert leases.queues.counts()["in_flight"] == 2  # ours that moves, and the other one's


def test_the_lease_is_asked_for_and_not_remembered(leases: Leases) -> None:
    """Frozen past its lease, a process believes that it still holds it."""
    leases.queues.put("q", ["m"])
    lease = receive(leases)
    assert leases.queues.release(lease.delivery.lease, None)  # behind its back
    assert lease.held
    with pytest.raises(LeaseLost):
        lease.check()


def test_no_more_is_taken_than_there_are_slots(leases: Leases) -> None:
    leases.queues.put("q", ["1", "2", "3"])
    first, _ = receive(leases), receive(leases)
    assert leases.receive(["q"], 0.2) is None
    assert leases.free == 0
    threading.Timer(0.2, leases.finished, [first.delivery.lease]).start()
    # One call: the slot that becomes free ends its wait.
    delivery = leases.receive(["q"], 60)
    assert delivery is not None
    assert delivery.message == b"3"


def test_what_is_lost_keeps_its_slot_until_its_thread_is_done(leases: Leases) -> None:
    leases.queues.put("q", ["1", "2", "3"])
    first, _ = receive(leases), receive(leases)
    first.lose()
    assert leases.receive(["q"], 0.2) is None
    leases.finished(first.delivery.lease)
    assert receive(leases).delivery.message == b"3"


def test_what_a_dead_worker_had_is_counted_when_it_is_taken_again(leases: Leases) -> None:
    def told() -> float:
        return telemetry.REDELIVERED.collect()[0].samples[0].value

    queues, before = leases.queues, told()
    queues.put("q", ["new"])
    ours = receive(leases)
    leases.finished(ours.delivery.lease)
    assert told() == before
    dead = LeasedQueues(queues.url, queues.prefix, TIMEOUT_S)
    queues.put("q", ["its"])
    assert dead.take(dead.new_lease(), ["q"]) is not None
    assert receive(leases).delivery.history.workers == (dead.worker,)
    assert told() == before + 1


def test_a_suspect_runs_alone(leases: Leases) -> None:
    item = f"0\n{History(deaths=2).dump()}\nsuspect"
    leases.queues.put("q", ["1", "2", "3"])
    neighbour = receive(leases)
    leases.queues.redis.rpush(f"{leases.queues.prefix}q:alone", item)
    assert leases.receive(["q"], 0.2) is None  # not beside the neighbour, and nothing else either
    leases.finished(neighbour.delivery.lease)
    suspect = receive(leases)
    assert (suspect.delivery.message, suspect.delivery.alone) == (b"suspect", True)
    assert leases.receive(["q"], 0.2) is None
    leases.finished(suspect.delivery.lease)
    assert receive(leases).delivery.message == b"2"


def test_handing_back_blames_nobody_and_ends_everything(leases: Leases) -> None:
    leases.queues.put("q", ["1", "2", "3"])
    held = [receive(leases), receive(leases)]
    assert leases.hand_back() == 2
    assert leases.flush(5)
    assert leases.queues.counts()["in_flight"] == 0
    assert leases.queues.waiting("q") == 3
    for lease in held:
        with pytest.raises(LeaseLost):
            lease.check()
        leases.finished(lease.delivery.lease)
    assert leases.receive(["q"], 0.2) is None
    taker = leases.queues
    found = [taker.take(taker.new_lease(), ["q"]) for _ in range(3)]
    assert all(one is not None and one.history == History() for one in found)


def test_an_idle_worker_does_not_end_before_what_it_did_is_acknowledged(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, in_flight = threading.Event(), []
    ack = LeasedQueues.ack

    def slow(self: LeasedQueues, *told: Any) -> object:
        answers.wait(5)
        return ack(self, *told)

    monkeypatch.setattr(LeasedQueues, "ack", slow)
    monkeypatch.setattr(
        os, "_exit", lambda code: in_flight.append(leases.queues.counts()["in_flight"])
    )
    leases.queues.put("q", ["1"])
    leases.finished(receive(leases).delivery.lease)
    assert leases.in_hand() == []
    ends = in_background(Drain(leases, 20.0, lambda: None)._end_if_idle)
    threading.Timer(0.3, answers.set).start()
    ends.join(5)
    assert in_flight == [0]


# While Redis is away.


@pytest.fixture
def server(tmp_path: Path) -> Iterator["Restartable"]:
    made = Restartable(tmp_path)
    yield made
    made.server.stop()


class Restartable:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: RedisServer = start_redis(folder)

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        self.server = start_redis(self.folder, port=self.server.port, password=self.server.password)


@pytest.fixture
def fragile(server: Restartable) -> Iterator[Leases]:
    made = Leases(LeasedQueues(server.server.url, "t:", TIMEOUT_S), 2, dict)
    made.start()
    yield made
    made.leave()


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_it_goes_on_by_itself_when_redis_is_back(server: Restartable, fragile: Leases) -> None:
    fragile.queues.put("q", ["1", "2"])
    first = receive(fragile)
    server.kill()
    assert fragile.receive(["q"], 0.1) is None  # and no exception that would end the consumer
    fragile.finished(first.delivery.lease)  # cannot be told now
    time.sleep(TIMEOUT_S * 1.5)
    server.restart()
    wait_until(lambda: fragile.queues.counts()["in_flight"] == 0, 3, "the acknowledgement")
    assert receive(fragile).delivery.message == b"2"
    assert fragile.queues.waiting("q") == 0


def test_who_wants_to_write_waits_for_redis_to_say_so(server: Restartable, fragile: Leases) -> None:
    fragile.queues.put("q", ["1"])
    lease = receive(fragile)
    server.kill()
    written = threading.Event()
    thread = in_background(lambda: (lease.check(), written.set()))
    time.sleep(TIMEOUT_S * 2.5)
    assert not written.is_set()
    # Which is no reason to end this worker.
    assert Watchdog(fragile, ["q"], lambda code: None).look() is None
    server.restart()
    thread.join(5)
    assert written.is_set()


def test_a_message_whose_answer_was_lost_comes_back_unblamed(
    fragile: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script ran, its answer did not arrive: the message is under a lease nobody knows of."""
    fragile.queues.put("q", ["1"])
    take = LeasedQueues.take

    def cut(self: LeasedQueues, *args: object, **kwargs: object) -> None:
        take(self, *args, **kwargs)  # type: ignore[arg-type]
        raise redis.ConnectionError("cut")

    monkeypatch.setattr(LeasedQueues, "take", cut)
    assert fragile.receive(["q"], 0.1) is None
    monkeypatch.setattr(LeasedQueues, "take", take)
    delivery = None
    while delivery is None:
        delivery = fragile.receive(["q"], 0.2)
    assert delivery.history == History()  # a lease that had to end would be on record as a hang


def test_a_redis_that_refuses_writes_is_no_reason_to_end(
    server: Restartable, fragile: Leases
) -> None:
    """Work waits, as it lets us see, and a slot is free: but nobody could take it."""
    fragile.queues.put("q", ["1"])
    watchdog = Watchdog(fragile, ["q"], lambda code: None, deaf_s=TIMEOUT_S)
    with redis.Redis.from_url(server.server.url) as admin:
        admin.config_set("min-replicas-to-write", 1)
        looks: list[str | None] = []
        end = time.monotonic() + 2.5 * TIMEOUT_S
        while time.monotonic() < end:
            assert fragile.receive(["q"], 0.1) is None
            looks.append(watchdog.look())
        admin.config_set("min-replicas-to-write", 0)
    assert set(looks) == {None}
    assert receive(fragile).delivery.message == b"1"


def test_takes_that_are_refused_wait_for_one_answer(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    refusing = [True]
    take, untake = LeasedQueues.take, LeasedQueues.untake

    def refused(self: LeasedQueues, lease: str, *args: object, **how: object) -> object:
        asked.append(f"take {lease}")
        if refusing:
            raise redis.exceptions.ReadOnlyError("You can't write against a read only replica.")
        return take(self, lease, *args, **how)  # type: ignore[arg-type]

    def given_up(self: LeasedQueues, lease: str) -> bool:
        if refusing:
            raise redis.exceptions.ReadOnlyError("You can't write against a read only replica.")
        asked.append(f"untake {lease}")
        return untake(self, lease)

    monkeypatch.setattr(LeasedQueues, "take", refused)
    monkeypatch.setattr(LeasedQueues, "untake", given_up)
    leases.queues.put("q", ["1"])
    for _ in range(4):
        assert leases.receive(["q"], 0.2) is None
    assert len(asked) == 1
    refusing.clear()
    assert receive(leases).delivery.message == b"1"
    first = asked[0].removeprefix("take ")
    assert asked[1] == f"untake {first}"
    assert len(asked) == 3


# What it costs, and when it gives up.


def test_an_idle_worker_asks_rarely(leases: Leases) -> None:
    commands = 0
    end = time.monotonic() + 4
    thread = in_background(lambda: [leases.receive(["q"], 2) for _ in range(8)])
    with leases.queues.redis.monitor() as monitor:
        for command in monitor.listen():
            ours = leases.queues.prefix in command["command"]
            commands += ours and command["client_type"] != "lua"
            if time.monotonic() > end:
                break
    beats = 4 * 4 / TIMEOUT_S  # of this short timeout; with 30 s it is one in 7.5 s
    assert 4 <= commands <= 4 * 4 + beats
    leases.stop_taking()
    thread.join(5)


def test_a_worker_that_hears_nothing_although_work_waits_ends(leases: Leases) -> None:
    watchdog = Watchdog(leases, ["q"], lambda code: None, deaf_s=0.5)
    assert watchdog.look() is None
    leases.queues.put("q", ["1", "2", "3"])  # and nobody calls receive any more
    assert watchdog.look() is None
    time.sleep(0.7)
    assert "nothing came" in str(watchdog.look())
    # Nothing is wrong while messages come, or while no slot is free.
    receive(leases).progress.tick("work")
    assert watchdog.look() is None
    receive(leases).progress.tick("work")
    time.sleep(0.7)
    assert watchdog.look() is None


def test_a_worker_with_a_thread_that_will_not_come_back_ends(leases: Leases) -> None:
    watchdog = Watchdog(leases, ["q"], lambda code: None)
    leases.queues.put("q", ["1"])
    lease = receive(leases)
    lease.progress.tick("frames")
    time.sleep(2.5 * TIMEOUT_S)
    assert "'frames'" in str(watchdog.look())
    lease.progress.stop(TimeoutError())
    leases.finished(lease.delivery.lease)
    assert watchdog.look() is None


def test_a_beat_that_failed_is_made_up_for(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    leases.queues.put("q", ["1"])
    lease = receive(leases)
    lease.progress.tick("download")  # and then one long call to S3
    beat, failures = LeasedQueues.beat, [1]

    def failing(self: LeasedQueues, about: object, names: list[str]) -> object:
        if names and failures:
            failures.pop()
            raise redis.ConnectionError("cut")
        return beat(self, about, names)  # type: ignore[arg-type]

    monkeypatch.setattr(LeasedQueues, "beat", failing)
    leases._beat()
    assert not failures
    before = leases.queues.redis.zscore(f"{leases.queues.prefix}leases", lease.delivery.lease)
    time.sleep(0.05)
    leases._beat()
    after = leases.queues.redis.zscore(f"{leases.queues.prefix}leases", lease.delivery.lease)
    assert before is not None
    assert after is not None
    assert after > before
