"""Workers that are to go take nothing: on a real server, from the scaler's word to the worker's."""

import uuid
from collections.abc import Iterator

import pytest

from producer.scaling.answers import Look, look_once
from producer.scaling.scale_in import ScaleIn
from shared.broker.held import HOLD_S, Holds
from shared.broker.leased_queues import Held, LeasedQueues
from shared.settings import Settings
from tests.scaling import Fleet
from tests.waiting import wait_until
from workers.delivery.health import WorkerHealth
from workers.delivery.leases import Leases
from workers.delivery.watchdog import Watchdog

pytestmark = pytest.mark.integration

TIMEOUT_S = 1.0


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    settings = Settings(
        redis_url=redis_url,
        redis_prefix=f"test-{uuid.uuid4().hex[:8]}",
        model="vicuna-7b",
        scale_classes=("l4",),
    )
    made = Fleet(settings)
    yield made
    for key in made.queues.redis.scan_iter(f"{settings.redis_prefix}*"):
        made.queues.redis.delete(key)


def one_more(fleet: Fleet) -> LeasedQueues:
    queues = fleet.queues
    return LeasedQueues(queues.url, queues.prefix, TIMEOUT_S)


def test_a_worker_that_is_held_takes_nothing_until_it_is_let_go(fleet: Fleet) -> None:
    going, stays, holds = one_more(fleet), one_more(fleet), Holds(fleet.queues)
    going.put("q", ["1", "2", "3"])
    holds.hold([going.worker])
    assert holds.held() == {going.worker}
    with pytest.raises(Held):
        going.take(going.new_lease(), ["q"])
    assert stays.take(stays.new_lease(), ["q"])
    holds.lift([going.worker])
    assert holds.held() == set()
    assert going.take(going.new_lease(), ["q"])
    holds.hold([])
    holds.lift([])


@pytest.mark.parametrize("left_s", [-0.001, HOLD_S + 60])
def test_a_hold_ends_by_itself(fleet: Fleet, left_s: float) -> None:
    """Also where the server's clock is set back: nobody is held for longer than a hold lasts."""
    worker = one_more(fleet)
    worker.put("q", ["m"])
    Holds(worker).hold([worker.worker])
    worker.redis.zincrby(f"{worker.prefix}held", 1000 * (left_s - HOLD_S), worker.worker)
    assert worker.take(worker.new_lease(), ["q"])


def test_who_was_woken_and_is_held_wakes_somebody_else(fleet: Fleet) -> None:
    going = one_more(fleet)
    Holds(going).hold([going.worker])
    going.put("q", ["m"])
    assert going.redis.lpop(f"{going.prefix}q:wake")  # as `wait` does
    with pytest.raises(Held):
        going.take(going.new_lease(), ["q"])
    assert going.redis.llen(f"{going.prefix}q:wake") == 1


def test_a_held_worker_is_as_sound_as_any_and_goes_on_when_it_is_let_go(fleet: Fleet) -> None:
    queues = one_more(fleet)
    leases = Leases(queues, 2, lambda: {"held": leases.held})
    leases.start()
    health, holds = WorkerHealth(), Holds(fleet.queues)
    health.takes_work(leases)
    watchdog = Watchdog(leases, ["q"], lambda code: None, deaf_s=1.0)
    try:
        holds.hold([queues.worker])
        queues.put("q", ["m"])
        for _ in range(3):
            assert leases.receive(["q"], 0.4) is None
            assert watchdog.look() is None
        assert leases.held and health.live() is health.ready() is None
        wait_until(lambda: fleet.queues.workers()[0].about["held"], 3, "its beat to say so")
        assert queues.redis.llen(f"{queues.prefix}q:wake") == 1  # it left that for others
        holds.lift([queues.worker])
        assert leases.receive(["q"], 1) is not None
        assert not leases.held
    finally:
        leases.leave()


def test_it_is_held_before_the_lower_number_is_told(fleet: Fleet) -> None:
    def beat(worker: LeasedQueues, units: float, *, held: bool) -> None:
        in_hand = {"caption.l4": [1, units]} if units else {}
        about = {"pod": worker.worker, "card": "l4", "drain_s": 25.0, "in_hand_of": in_hand}
        worker.beat({**about, "held": held}, [])

    def told() -> Look:
        return scale_in.prepare(look_once(fleet.settings, fleet.queues, fleet.training))

    now, costs = 0.0, dict[str, int]()
    holds = Holds(fleet.queues)
    scale_in = ScaleIn(costs.update, holds, lambda: now)
    idle, busy = one_more(fleet), one_more(fleet)
    beat(idle, 0, held=False)
    beat(busy, 9, held=False)
    fleet.put("caption.l4", 2)
    fleet.take("caption.l4", 1)
    assert told().answers["l4"].wanted.replicas == 2
    assert holds.held() == {idle.worker}
    assert costs[idle.worker] < 0 < costs[busy.worker]
    with pytest.raises(Held):
        idle.take(idle.new_lease(), ["caption.l4"])
    beat(idle, 0, held=True)
    now = 60.0
    answer = told().answers["l4"]
    assert (answer.wanted.replicas, answer.running) == (1, 2)
    fleet.put("caption.l4", 9000)
    assert told().answers["l4"].wanted.replicas > 2
    assert idle.take(idle.new_lease(), ["caption.l4"])


def test_two_scalers_hold_the_same_workers(fleet: Fleet) -> None:
    def look() -> Look:
        return look_once(fleet.settings, fleet.queues, fleet.training)

    def beat(worker: LeasedQueues, units: float) -> None:
        in_hand = {"caption.l4": [1, units]}
        worker.beat({"pod": "p", "card": "l4", "held": False, "in_hand_of": in_hand}, [])

    holds = Holds(fleet.queues)
    workers = [one_more(fleet) for _ in range(4)]
    for units, worker in enumerate(workers, 1):
        beat(worker, units)
    fleet.put("caption.l4", 1)
    fleet.take("caption.l4", 1)
    first, second = (ScaleIn(lambda costs: None, holds) for _ in range(2))
    first.prepare(look())
    going = {one.worker for one in workers[:3]}
    assert holds.held() == going
    beat(workers[3], 0.1)  # now it has less than they
    second.prepare(look())
    first.prepare(look())
    assert holds.held() == going
