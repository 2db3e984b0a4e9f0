"""Leased queues against a real server: what comes back when, to whom, and what is remembered."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.redis import start_redis
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import Busy, Delivery, History, LeasedQueues
from shared.broker.transport import rendered
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

TIMEOUT_S = 0.8
NewWorker = Callable[[], LeasedQueues]


@pytest.fixture
def new_worker(redis_url: str) -> Iterator[NewWorker]:
    """Each call is another worker of the same queues."""
    prefix = f"test-{uuid.uuid4().hex[:8]}:"
    made: list[LeasedQueues] = []

    def make() -> LeasedQueues:
        made.append(LeasedQueues(redis_url, prefix, TIMEOUT_S))
        return made[-1]

    yield make
    for key in make().redis.scan_iter(f"{prefix}*"):
        made[0].redis.delete(key)
    for queues in made:
        queues.redis.close()


def take(queues: LeasedQueues, *names: str, **how: int) -> Delivery | None:
    return queues.take(queues.new_lease(), names or ("q",), **how)


def taken(queues: LeasedQueues, *names: str, **how: int) -> Delivery:
    """Within two timeouts: what a dead worker held is returned once a second."""
    found: list[Delivery] = []

    def look() -> bool:
        delivery = take(queues, *names, **how)
        if delivery:
            found.append(delivery)
        return bool(found)

    wait_until(look, 2 * TIMEOUT_S + 3, "a message")
    return found[0]


def test_first_in_first_out_and_gone_when_acknowledged(new_worker: NewWorker) -> None:
    worker = new_worker()
    assert worker.put("q", ["1", "2", "3"]) == 3
    for message in (b"1", b"2", b"3"):
        delivery = taken(worker)
        assert (delivery.message, delivery.queue, delivery.alone) == (message, "q", False)
        assert delivery.history == History()
        assert worker.ack([delivery.lease])
        assert not worker.ack([delivery.lease])
    assert take(worker) is None
    assert worker.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}


def test_what_a_dead_worker_held_comes_back_once(new_worker: NewWorker) -> None:
    dead, living, other = new_worker(), new_worker(), new_worker()
    living.put("q", ["m"])
    dead.beat({}, [])
    assert take(dead)
    assert take(living) is None
    since = time.monotonic()
    delivery = taken(living)
    assert time.monotonic() - since > TIMEOUT_S * 0.8
    assert take(other) is None
    assert delivery.history == History(deaths=1, workers=(dead.worker,))


def test_a_lease_that_is_beaten_is_kept_however_long(new_worker: NewWorker) -> None:
    worker, other = new_worker(), new_worker()
    worker.put("q", ["m"])
    delivery = taken(worker)
    for _ in range(12):
        time.sleep(TIMEOUT_S / 4)
        assert worker.beat({}, [delivery.lease]) == [True]
        assert take(other) is None
    assert worker.ack([delivery.lease])


def test_a_zombie_can_do_nothing_to_the_next_holder(new_worker: NewWorker) -> None:
    zombie, holder = new_worker(), new_worker()
    zombie.put("q", ["m"])
    lost = taken(zombie).lease
    held = taken(holder).lease
    assert zombie.beat({}, [lost]) == [False]
    assert not zombie.renew(lost)
    assert not zombie.ack([lost])
    assert not zombie.release(lost, None)
    assert not zombie.poison(lost, "late")
    assert holder.renew(held)
    assert holder.counts() == {"in_flight": 1, "delayed": 0, "poison": 0}
    assert holder.ack([held])


def test_who_hangs_while_its_worker_lives_is_no_killer(new_worker: NewWorker) -> None:
    worker, other = new_worker(), new_worker()
    worker.put("q", ["m"])
    taken(worker)
    found: list[Delivery] = []

    def look() -> bool:
        worker.beat({}, [])  # lives, but renews nothing
        delivery = take(other)
        if delivery:
            found.append(delivery)
        return bool(found)

    wait_until(look, 2 * TIMEOUT_S + 3, "the message")
    assert found[0].history == History(hangs=1, workers=(worker.worker,))


def test_a_killer_ends_alone_and_its_neighbours_are_not_blamed(new_worker: NewWorker) -> None:
    producer = new_worker()
    producer.put("q", ["killer", "neighbour"])
    # Twice in company: neither is blamed, both come back to everybody.
    for _ in range(2):
        victim = new_worker()
        held = [taken(victim), taken(victim, in_flight=1)]
        assert {one.message for one in held} == {b"killer", b"neighbour"}
        assert not any(one.alone for one in held)
        time.sleep(TIMEOUT_S + 1.2)
        take(producer, "none")
        assert producer.counts()["in_flight"] == 0
    # From now on alone; a busy worker first has to finish what it has.
    assert (producer.waiting("q"), producer.waiting_alone("q")) == (0, 2)
    victim, busy = new_worker(), new_worker()
    with pytest.raises(Busy):
        take(busy, in_flight=1)
    for _ in range(2):
        suspect = taken(victim)
        assert suspect.alone
        if suspect.message == b"neighbour":
            assert victim.ack([suspect.lease])
        else:
            assert victim.begin(suspect.lease)
    time.sleep(TIMEOUT_S + 1.2)
    again = taken(busy)
    assert (again.message, again.alone) == (b"killer", True)
    assert (again.history.deaths, again.history.deaths_alone) == (2, 1)
    assert busy.begin(again.lease)
    # Alone twice: proven. It comes to everybody again, to be written down and not to be run.
    time.sleep(TIMEOUT_S + 1.2)
    proven = taken(new_worker())
    assert (proven.alone, proven.history.deaths_alone) == (False, 2)
    assert len(proven.history.workers) == 4


def test_what_advanced_begins_its_history_anew(new_worker: NewWorker) -> None:
    """A training of hours whose machines are taken away again and again, and goes on each time."""
    producer = new_worker()
    producer.put("q", ["m"])

    def after_a_death(delivery: Delivery) -> Delivery:
        producer.redis.zadd(f"{producer.prefix}leases", {delivery.lease: 1})  # it ends now
        producer.redis.hdel(f"{producer.prefix}clock", "swept")
        return taken(new_worker())

    delivery = taken(new_worker())
    for _ in range(4):
        assert producer.kept(delivery.lease)
        delivery = after_a_death(delivery)
        assert (delivery.alone, delivery.history.deaths) == (False, 1)
    delivery = after_a_death(delivery)
    assert (delivery.alone, delivery.history.deaths) == (True, 2)
    assert producer.begin(delivery.lease)
    assert producer.kept(delivery.lease)
    delivery = after_a_death(delivery)
    assert (delivery.alone, delivery.history.deaths_alone) == (False, 1)
    assert not producer.kept("another lease")


def test_who_dies_alone_with_a_job_that_had_not_begun_died_of_something_else(
    new_worker: NewWorker,
) -> None:
    producer = new_worker()
    producer.put("q", ["m"])
    for deaths in range(10):
        delivery = taken(new_worker())
        assert (delivery.history.deaths, delivery.history.deaths_alone) == (deaths, 0)
        assert delivery.alone == (deaths >= 2)
        producer.redis.zadd(f"{producer.prefix}leases", {delivery.lease: 1})  # it ends now
        producer.redis.hdel(f"{producer.prefix}clock", "swept")
        assert not producer.begin("another lease")
        take(producer, "none")
    # Whatever does that will not stop: it is set aside, with the evidence.
    assert take(producer) is None
    assert producer.counts() == {"in_flight": 0, "delayed": 0, "poison": 1}


def test_another_try_comes_when_it_is_due_and_not_before(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.put("q", ["m", "m"])  # the same twice: two messages all the same
    for _ in range(2):
        delivery = taken(worker)
        assert worker.release(delivery.lease, delivery.history.tried(), delay_s=0.7)
    since = time.monotonic()
    assert worker.counts() == {"in_flight": 0, "delayed": 2, "poison": 0}
    assert take(worker) is None
    again = [taken(worker), taken(worker)]
    assert time.monotonic() - since > 0.6
    assert [one.history.attempt for one in again] == [2, 2]


def test_what_is_handed_back_is_next_and_as_it_was(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.put("q", ["1", "2"])
    first = taken(worker)
    assert worker.release(first.lease, None)
    again = taken(worker)
    assert (again.message, again.history) == (b"1", History())
    assert again.enqueued_ms == first.enqueued_ms


def test_a_restart_of_the_server_blames_nobody(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    try:
        worker = LeasedQueues(server.url, "t:", TIMEOUT_S)
        worker.put("q", ["m"])
        worker.beat({}, [])
        held = taken(worker)
        server.kill()
        time.sleep(TIMEOUT_S + 0.5)  # longer away than a lease lasts
        server = start_redis(tmp_path, port=server.port, password=server.password)
        other = LeasedQueues(server.url, "t:", TIMEOUT_S)
        assert take(other) is None
        assert worker.renew(held.lease)
        assert worker.ack([held.lease])
    finally:
        server.stop()


def test_who_waits_is_woken_at_once_one_for_each_message(new_worker: NewWorker) -> None:
    woken: list[str] = []

    def idle() -> None:
        worker = new_worker()
        while True:
            if take(worker):
                woken.append(worker.worker)
                return
            worker.wait(["q"], 600)

    idlers = [threading.Thread(target=idle) for _ in range(4)]
    for thread in idlers:
        thread.start()
    time.sleep(0.5)
    new_worker().put("q", ["1", "2", "3", "4"])
    for thread in idlers:
        thread.join()  # without a wake they would sit out their 600 s
    assert len(woken) == 4
    # Nothing is left there to wake anybody for nothing.
    last = new_worker()
    assert take(last) is None
    since = time.monotonic()
    last.wait(["q"], 0.3)
    assert time.monotonic() - since >= 0.3


def test_the_oldest_message_of_the_others_comes_first_when_asked(new_worker: NewWorker) -> None:
    worker = new_worker()
    for queue in ("low", "own", "lowest", "low"):
        worker.put(queue, [queue])
        time.sleep(0.01)
    names = ("own", "lowest", "low")
    assert taken(worker, *names, passed_over=1).queue == "low"
    assert taken(worker, *names, passed_over=1).queue == "lowest"
    assert taken(worker, *names).queue == "own"
    assert taken(worker, *names, passed_over=1).queue == "low"


def test_anything_may_lie_in_a_queue(new_worker: NewWorker) -> None:
    worker = new_worker()
    odd = [b"{}", b"", b"\x00\xff\n\n", b"12\nno history\nm", b"7\n[1]\nm", b'7\n{"x":1}\nm', b"\n"]
    for item in odd:
        worker.redis.lpush(f"{worker.prefix}q", item)
    for item in odd:
        delivery = taken(worker)
        assert item.endswith(delivery.message)
        assert delivery.history == History()
        assert worker.poison(delivery.lease, "two\nlines")
    assert worker.counts()["poison"] == len(odd)
    # Also when its worker dies with it.
    worker.redis.lpush(f"{worker.prefix}q", b'7\n{"deaths":"many"}\nm')
    taken(worker)
    time.sleep(TIMEOUT_S + 1.2)
    assert taken(worker).message == b"m"


def test_what_is_set_aside_has_an_end(new_worker: NewWorker) -> None:
    worker = new_worker()
    key = f"{worker.prefix}poison"
    worker.redis.rpush(key, *(f"1\nq\nwhy\n{i}" for i in range(10_000)))
    worker.put("q", ["m" * 100_000])
    assert worker.poison(taken(worker).lease, "too long")
    assert worker.counts()["poison"] == 10_000
    (newest,) = worker.redis.lrange(key, 0, 0)
    assert len(newest) < 66_000
    assert b"\nthe first 65536 bytes of it: too long\n" in newest
    assert worker.redis.lindex(key, -1) == b"1\nq\nwhy\n9998"


def test_the_line_of_what_is_set_aside_has_ended(new_worker: NewWorker) -> None:
    worker = new_worker()
    progress = BacklogProgress(worker, "films")

    def message(line: object, name: object = "films") -> str:
        payload = json.dumps({"backlog": {"name": name, "line": line}})
        return rendered("jamak.caption", "id", payload)

    progress.feed("q", 0, 2, [message(0), message(1)])
    assert worker.poison(taken(worker).lease, "no message of ours")
    assert progress.counts().failed == {"set_aside": 1}
    # Its workers die before it begins.
    worker.release(taken(worker).lease, History(deaths=9))
    lost = taken(worker)
    worker.redis.zadd(f"{worker.prefix}leases", {lost.lease: 1})
    worker.redis.hdel(f"{worker.prefix}clock", "swept")
    assert take(worker) is None
    assert progress.counts().failed == {"set_aside": 2}
    # It may be done all the same, by another copy of its message.
    progress.note(1, "done")
    assert (progress.counts().done, progress.counts().failed) == (1, {"set_aside": 1})
    # What it claims may be anything.
    worker.redis.lpush(f"{worker.prefix}backlog:odd:fed", "no number")
    lines = [message(line) for line in (2, -1, 0.5, "0", 2**40)]
    names = [message(0, "odd"), message(0, ["films"])]
    worker.put("q", [*lines, *names, "{}", "[]", '{"body": 1}', '{"body": "[[1]]"}'])
    while delivery := take(worker):
        assert worker.poison(delivery.lease, "a claim")
    assert progress.counts().failed == {"set_aside": 1}
    assert worker.counts()["poison"] == 13


def test_what_was_set_aside_comes_back_once_and_as_new(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.redis.lpush(f"{worker.prefix}q", f"7\n{History(attempt=16, deaths=2).dump()}\nm")
    assert worker.poison(taken(worker).lease, "unwritable")
    (entry,) = worker.redis.lrange(f"{worker.prefix}poison", 0, -1)
    assert worker.run("redrive", entry) == 1
    assert worker.run("redrive", entry) == 0
    back = taken(worker)
    assert (back.message, back.history, back.enqueued_ms) == (b"m", History(), 7)
    assert worker.counts()["poison"] == 0


def test_workers_say_who_they_are_until_they_leave(new_worker: NewWorker) -> None:
    worker, reader = new_worker(), new_worker()
    worker.beat({"queues": ["q", "r"]}, [])
    assert reader.serving() == {"q": [worker.worker], "r": [worker.worker]}
    worker.leave()
    assert reader.serving() == {}
    worker.beat({"queues": ["q"]}, [])
    time.sleep(TIMEOUT_S + 0.1)
    assert reader.serving() == {}


@pytest.mark.parametrize(
    "spoilt",
    [
        b'1\n{"attempt": 1e999}\nm',
        b'1\n{"deaths": -5, "hangs": 1e300}\nm',
        b"1\n" + b"[" * 100_000 + b"\nm",
        b"1" * 5000 + b"\n\nm",
        b'1\n{"workers": 5}\nm',
        b"1\n[]\nm",
        b"no newline",
    ],
)
def test_an_item_that_others_spoilt_is_delivered_and_comes_back(
    new_worker: NewWorker, spoilt: bytes
) -> None:
    worker = new_worker()
    worker.redis.lpush(f"{worker.prefix}q", spoilt)
    first = taken(worker)
    assert first.history.attempt >= 1
    worker.redis.zadd(f"{worker.prefix}leases", {first.lease: 1})  # it ends now
    worker.redis.hdel(f"{worker.prefix}clock", "swept")
    again = taken(worker)
    assert again.history.deaths + again.history.hangs == 1
    assert again.message.endswith(spoilt[-1:])
    assert worker.poison(again.lease, "a test")
    assert worker.counts() == {"in_flight": 0, "delayed": 0, "poison": 1}


def test_what_is_handed_on_goes_behind_what_waits(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.put("q", ["for another", "again", "waits"])
    for delay_s, tried in ((0.3, False), (0.3, True)):
        delivery = taken(worker)
        history = delivery.history.tried() if tried else None
        worker.release(delivery.lease, history, delay_s)
    time.sleep(0.4)
    order = [taken(worker).message for _ in range(3)]
    assert order == [b"again", b"waits", b"for another"]


HOUR_MS = 3_600_000


def set_clock(queues: LeasedQueues, by_ms: int) -> None:
    """As if the server's clock had been set: every time that it wrote lies so far off."""
    client, prefix = queues.redis, queues.prefix
    for key in ("leases", "workers", "delayed"):
        for member, score in client.zrange(f"{prefix}{key}", 0, -1, withscores=True):
            client.zadd(f"{prefix}{key}", {member: score - by_ms})
    for name, value in client.hgetall(f"{prefix}clock").items():
        client.hset(f"{prefix}clock", name, int(value) - by_ms)
    for key in client.scan_iter(f"{prefix}*:claim"):
        by, since = client.get(key).split(b"\n")
        client.set(key, b"%s\n%d" % (by, int(since) - by_ms))


@pytest.mark.parametrize("by_ms", [-HOUR_MS, HOUR_MS])
def test_a_clock_that_is_set_holds_nothing_up_and_ends_no_lease(
    new_worker: NewWorker, by_ms: int
) -> None:
    worker, dead = new_worker(), new_worker()
    worker.put("q", ["tried", "lost", "held"])
    tried = taken(worker)
    worker.release(tried.lease, tried.history.tried(), delay_s=0.2)
    dead.beat({}, [])
    taken(dead)
    held = taken(worker)
    worker.beat({}, [held.lease])
    set_clock(worker, by_ms)
    assert take(worker, "none") is None
    assert worker.renew(held.lease)
    assert worker.counts()["in_flight"] == 2  # nobody lost anything at once
    back = []

    def look() -> bool:
        worker.beat({}, [held.lease])
        found = take(worker)
        if found:
            back.append(found.message)
            worker.ack([found.lease])
        return len(back) == 2

    wait_until(look, 2 * TIMEOUT_S + 3, "what was tried, and what the dead one held")
    assert sorted(back) == [b"lost", b"tried"]
    assert worker.ack([held.lease])
    assert [one.name for one in new_worker().workers()] == [worker.worker]


@pytest.mark.parametrize("timeouts", [0.7, 1, 2, 4])
def test_some_timeouts_in_which_nobody_was_here_end_no_lease(
    redis_url: str, timeouts: float
) -> None:
    """The clock went forward by so much, or Redis refused or heard nobody for so long."""
    worker = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 30)
    worker.put("q", ["m"])
    held = taken(worker)
    worker.beat({}, [held.lease])
    set_clock(worker, round(timeouts * 30_000))
    assert take(worker) is None
    assert worker.beat({}, [held.lease]) == [True]
    set_clock(worker, 14_000)  # in which others were here: it ends as ever, and not before
    assert take(worker) is None
    for _ in range(3):
        worker.beat({}, [])
        set_clock(worker, 10_000)
    assert taken(worker).history.hangs == 1
    for key in worker.redis.scan_iter(f"{worker.prefix}*"):
        worker.redis.delete(key)


def test_a_clock_that_is_set_back_leaves_no_claim_behind(new_worker: NewWorker) -> None:
    dead, busy = new_worker(), new_worker()
    dead.redis.rpush(f"{dead.prefix}q:alone", f"0\n{History(deaths=2).dump()}\nsuspect")
    dead.put("q", ["m"])
    with pytest.raises(Busy):
        take(dead, in_flight=1)
    assert take(busy, in_flight=1) is not None  # somebody else sees to it
    set_clock(dead, -HOUR_MS)
    with pytest.raises(Busy):
        take(busy, in_flight=1)


def test_what_a_clock_wrote_that_was_set_back_since_is_the_oldest(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.put("low", ["low"])
    seconds, _ = worker.redis.time()  # type: ignore[misc]
    worker.redis.rpush(f"{worker.prefix}lowest", f"{(seconds + 3600) * 1000}\n\nlowest")
    assert taken(worker, "own", "low", "lowest", passed_over=1).message == b"lowest"


def test_a_take_that_comes_after_it_was_given_up_takes_nothing(new_worker: NewWorker) -> None:
    worker = new_worker()
    worker.put("q", ["m"])
    late = worker.new_lease()
    assert not worker.untake(late)
    assert worker.take(late, ["q"]) is None
    assert worker.counts()["in_flight"] == 0
    early = worker.new_lease()
    assert worker.take(early, ["q"])
    assert worker.untake(early)
    again = taken(worker)
    assert again.history == History()
    assert worker.ack([again.lease])
