"""Tenants in the queues of a real Redis: whose turn it is, and what becomes of what comes back."""

import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from producer.jobs.older_workers import pool_unread
from shared.broker.leased_queues import Busy, Delivery, History, LeasedQueues
from shared.broker.sharing import READS_TENANTS, Share
from shared.tenants import OTHER, Tenants
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

TIMEOUT_S = 0.8
FRESH, BULK = "q", "q.bulk"
TENANTS = Tenants({"s3://v/a/": "a", "s3://v/b/": "b:3", "s3://v/c/": "c"})
NewWorker = Callable[[], LeasedQueues]


@pytest.fixture
def new_worker(redis_url: str) -> Iterator[NewWorker]:
    """Each call is another worker of the same queues."""
    prefix = f"test-{uuid.uuid4().hex[:8]}:"
    made: list[LeasedQueues] = []

    def make() -> LeasedQueues:
        made.append(LeasedQueues(redis_url, prefix, TIMEOUT_S, tenants=TENANTS))
        return made[-1]

    yield make
    for key in make().redis.scan_iter(f"{prefix}*"):
        made[0].redis.delete(key)
    for queues in made:
        queues.redis.close()


@pytest.fixture
def queues(new_worker: NewWorker) -> LeasedQueues:
    return new_worker()


def put(queues: LeasedQueues, tenant: str, count: int = 1, queue: str = FRESH) -> None:
    weight = queues.sharing.tenants.weights.get(tenant, 1.0)
    queues.put(queue, {Share(tenant, weight): [tenant] * count})


def take(queues: LeasedQueues, *names: str, **how: int) -> Delivery | None:
    return queues.take(queues.new_lease(), names or (FRESH, BULK), **how)


def taken(queues: LeasedQueues, *names: str, **how: int) -> Delivery:
    found = take(queues, *names, **how)
    assert found is not None
    return found


def turns(queues: LeasedQueues, count: int, *names: str) -> list[str]:
    """Whose the next messages are; each is done at once."""
    found = []
    for _ in range(count):
        delivery = take(queues, *names)
        if delivery is None:
            break
        queues.ack([delivery.lease])
        found.append(delivery.message.decode())
    return found


# Whose turn it is.


def test_turns_are_as_the_weights_say(queues: LeasedQueues) -> None:
    put(queues, "a", 1000)  # who floods gets no more
    put(queues, "b", 60)
    put(queues, "c", 60)
    put(queues, OTHER, 60)
    assert Counter(turns(queues, 60)) == {"a": 10, "b": 30, "c": 10, OTHER: 10}
    # Not in a row, either.
    assert Counter(turns(queues, 6)) == {"a": 1, "b": 3, "c": 1, OTHER: 1}


def test_what_one_leaves_the_others_get_and_nobody_saves_up(queues: LeasedQueues) -> None:
    put(queues, "a", 100)
    assert turns(queues, 50) == ["a"] * 50
    put(queues, "b", 40)  # who comes late comes at once, and then in turn
    first = turns(queues, 40)
    assert "b" in first[:2]
    assert Counter(first) == {"a": 10, "b": 30}
    assert Counter(turns(queues, 20)) == {"a": 10, "b": 10}  # and nobody waits for who is gone


def test_who_comes_again_and_again_gets_no_more_than_its_share(queues: LeasedQueues) -> None:
    put(queues, "b", 300)
    found: list[str] = []
    for _ in range(100):
        put(queues, "a")  # only when it has nothing there: never more than one waits
        while (one := turns(queues, 1)) != ["a"]:
            found += one
        found += one
    assert 0.24 < found.count("a") / len(found) < 0.26


def test_each_tenant_has_three_fresh_ones_for_one_of_bulk(queues: LeasedQueues) -> None:
    for tenant in ("a", "c"):
        put(queues, tenant, 40)
        put(queues, tenant, 40, BULK)
    found = Counter((one.message, one.queue) for one in (taken(queues) for _ in range(32)))
    assert found == {(b"a", FRESH): 12, (b"a", BULK): 4, (b"c", FRESH): 12, (b"c", BULK): 4}


def test_a_backlog_counts_as_much_as_uploads(queues: LeasedQueues) -> None:
    put(queues, "a", 40)
    put(queues, "c", 40, BULK)
    assert Counter(turns(queues, 20)) == {"a": 10, "c": 10}


def test_who_serves_one_of_the_two_queues_gets_what_is_there(queues: LeasedQueues) -> None:
    put(queues, "a", 2)
    put(queues, "c", 2, BULK)
    put(queues, "b", 2, BULK)
    assert Counter(turns(queues, 9, BULK)) == {"c": 2, "b": 2}
    assert turns(queues, 9, FRESH) == ["a", "a"]


def test_below_the_oldest_comes_first_and_tenants_share_there_too(queues: LeasedQueues) -> None:
    put(queues, "a", 3, "low")
    time.sleep(0.01)
    put(queues, "c", 1, "low")
    time.sleep(0.01)
    put(queues, "a", 9, "own")
    queues.put("lowest", ["alone there"])
    names = ("own", "low", "lowest")
    found = [taken(queues, *names, passed_over=1) for _ in range(6)]
    assert [(one.queue, one.message) for one in found] == [
        ("low", b"a"),
        ("low", b"c"),
        ("low", b"a"),
        ("low", b"a"),
        ("lowest", b"alone there"),
        ("own", b"a"),
    ]


def test_without_tenants_nothing_is_kept_of_them(queues: LeasedQueues) -> None:
    queues.put(FRESH, ["1", "2"])
    delivery = taken(queues)
    assert delivery.tenant is None
    queues.ack([delivery.lease])
    names = {key.decode().removeprefix(queues.prefix) for key in keys(queues)}
    assert not [name for name in names if "@" in name or name.endswith(":shares")]
    assert "tenants" not in names


def test_hundreds_of_tenants_cost_as_much_as_ten(queues: LeasedQueues) -> None:
    def calls() -> int:
        stats = queues.redis.info("commandstats")
        return sum(one["calls"] for one in stats.values())

    def of_a_turn(tenants: int) -> float:
        for number in range(tenants):
            put(queues, f"t{number}", 2)
        turns(queues, 1)
        before = calls()
        turns(queues, 10)
        return (calls() - before) / 10

    few = of_a_turn(10)
    assert of_a_turn(300) <= few + 2
    assert few < 40
    assert len(keys(queues)) < 320
    assert len(turns(queues, 1000)) == 20 + 600 - 22  # and each had its turns
    assert len(keys(queues)) < 12  # what is empty is gone


def keys(queues: LeasedQueues) -> list[bytes]:
    return list(queues.redis.scan_iter(f"{queues.prefix}*", count=10_000))


def test_queues_that_nobody_needs_any_more_are_gone(redis_url: str) -> None:
    """And so are their connections, without a search for garbage."""
    made = LeasedQueues(redis_url, "test-gone:", TIMEOUT_S, tenants=TENANTS)
    assert made.sharing.is_shared(FRESH)
    gone = weakref.ref(made)
    del made
    assert gone() is None


# What comes back.


def lists(queues: LeasedQueues) -> dict[str, int]:
    return {name: n for name, n in queues.waiting_by_tenant(FRESH).items() if n}


def test_what_comes_back_is_its_tenants_again(new_worker: NewWorker) -> None:
    worker, dead = new_worker(), new_worker()
    put(worker, "a", 5)
    worker.release(taken(worker).lease, None)  # handed back,
    assert lists(worker) == {"a": 5}
    worker.untake(taken(worker).lease)  # never answered,
    assert lists(worker) == {"a": 5}
    tried = taken(worker)
    worker.release(tried.lease, tried.history.tried(), delay_s=0.1)  # tried,
    worker.release(taken(worker).lease, None, delay_s=0.1)  # handed on,
    dead.beat({}, [])
    assert taken(dead).tenant == "a"  # and lost
    assert lists(worker) == {"a": 2}
    worker.redis.hdel(f"{worker.prefix}clock", "swept")

    def all_back() -> bool:
        take(worker, "none")
        return lists(worker) == {"a": 5}

    wait_until(all_back, 2 * TIMEOUT_S + 3, "all five")
    assert worker.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}


def test_whose_store_is_away_holds_up_nobody(queues: LeasedQueues) -> None:
    """Its jobs go in circles, at once."""
    put(queues, "a", 30)
    put(queues, "c", 10)
    done = 0
    for _ in range(20):
        delivery = taken(queues)
        if delivery.tenant == "a":
            queues.release(delivery.lease, None)
        else:
            done += queues.ack([delivery.lease])
    assert done == 10
    assert lists(queues) == {"a": 30}


def test_turns_count_by_their_work(queues: LeasedQueues) -> None:
    """`a` has long videos, of ten segments each."""
    put(queues, "a", 50)
    put(queues, "c", 200)
    found = Counter[str]()
    for _ in range(110):
        delivery = taken(queues)
        assert delivery.tenant is not None
        found[delivery.tenant] += 1
        if delivery.tenant == "a":
            assert queues.charge(delivery.lease, 9)
        queues.ack([delivery.lease])
        assert not queues.charge(delivery.lease, 9)
    assert found == {"a": 10, "c": 100}
    # What was not done after all counts for nothing.
    delivery = taken(queues)
    while delivery.tenant != "a":
        delivery = taken(queues)
    before = queues.redis.zscore(f"{queues.prefix}q:shares", "a")
    for _ in range(3):
        queues.charge(delivery.lease, 9)
        queues.charge(delivery.lease, -9)
    assert queues.redis.zscore(f"{queues.prefix}q:shares", "a") == before


def test_a_suspect_runs_alone_whosever_it_is(queues: LeasedQueues) -> None:
    put(queues, "a", 1)
    put(queues, "c", 1)
    delivery = taken(queues)
    assert delivery.tenant == "a"
    queues.release(delivery.lease, History(deaths=2))
    assert queues.waiting_alone(FRESH) == 1
    with pytest.raises(Busy):
        take(queues, in_flight=1)
    alone = taken(queues)
    assert (alone.alone, alone.tenant, alone.message) == (True, None, b"a")
    assert queues.ack([alone.lease])
    assert turns(queues, 2) == ["c"]


def test_who_waits_is_woken_for_every_tenant(new_worker: NewWorker) -> None:
    worker = new_worker()
    assert take(worker) is None
    since = time.monotonic()
    put(worker, "a")
    put(worker, "c")
    worker.wait([FRESH], 20)
    taken(worker)
    worker.wait([FRESH], 20)  # whoever takes one of several wakes the next
    taken(worker)
    assert take(worker) is None
    assert time.monotonic() - since < 10


# Beside workers of an older version, which look into no list of a tenant.


def beats(worker: LeasedQueues, *, reads: bool = True) -> None:
    worker.beat({"queues": ["caption.t4"], **({READS_TENANTS: True} if reads else {})}, [])


def group(worker: LeasedQueues) -> set[str]:
    worker.sharing._looked_at = float("-inf")
    uris = ["s3://v/a/1.mp4", "s3://v/x.mp4"]
    return {one.tenant for one in worker.sharing.groups("caption.t4", uris, ["1", "2"])}


def test_while_an_older_worker_lives_tenants_have_no_lists(new_worker: NewWorker) -> None:
    producer, older, worker = new_worker(), new_worker(), new_worker()
    assert group(producer) == {"a", OTHER}  # nobody is there yet
    beats(worker)
    assert group(producer) == {"a", OTHER}
    beats(older, reads=False)
    assert group(producer) == {OTHER}
    older.leave()
    assert group(producer) == {"a", OTHER}


def test_what_no_live_worker_reads_is_moved_to_where_they_look(new_worker: NewWorker) -> None:
    feeder, older, worker = new_worker(), new_worker(), new_worker()
    queue = "caption.t4"
    for number in range(3):
        feeder.put(queue, {Share("a", 1): [f"a{number}"], Share(OTHER): [f"o{number}"]})
    beats(worker)
    beats(older, reads=False)
    assert pool_unread(feeder) == 0  # one of them does
    worker.leave()
    feeder.sharing._looked_at = float("-inf")
    bare = LeasedQueues(older.url, older.prefix, TIMEOUT_S)  # JAMAK_TENANTS was taken away
    assert pool_unread(bare) == 3
    assert pool_unread(feeder) == 0
    items = older.redis.lrange(f"{older.prefix}{queue}", 0, -1)[::-1]
    assert [item.split(b"\n")[-1] for item in items] == [b"o0", b"o1", b"o2", b"a0", b"a1", b"a2"]


def test_what_an_older_producer_puts_is_anybodys(queues: LeasedQueues) -> None:
    put(queues, "a", 10)
    for _ in range(10):
        queues.redis.lpush(f"{queues.prefix}{FRESH}", b"7\n\nolder")
    assert Counter(turns(queues, 10)) == {"a": 5, "older": 5}
