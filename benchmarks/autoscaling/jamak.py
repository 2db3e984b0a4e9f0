"""Ours: the sum of producer/scaling/policy.py, imported, and what it is fed with."""

from collections import deque
from itertools import pairwise
from typing import Any

from benchmarks.autoscaling.cluster import DRAIN_S, LEASE_S, Replica
from benchmarks.autoscaling.kubernetes import Policy, Rules, ScaledObject
from benchmarks.autoscaling.scaler import OnKeda
from benchmarks.autoscaling.scenarios import COLD_P90_S, MOST
from producer.jobs.high_water_marks import AHEAD_S, LEAST
from producer.jobs.high_water_marks import MOST as MOST_AHEAD
from producer.scaling.answers import LOOK_S
from producer.scaling.arrivals import MINUTE_S, MINUTES, lasting
from producer.scaling.policy import Demand, Due, kept, wanted

POLLING_S, COOLDOWN_S = 15.0, 900.0
BEAT_S = LEASE_S / 4
"""How often a worker says what it has in hand."""


class Jamak(OnKeda):
    """What `jamak scale` serves, under the ScaledObject of infra/kubernetes: it says how many
    replicas are wanted, the target is 1. And what pods have in hand is their deletion cost.
    """

    UP = Rules((Policy("Pods", MOST, 15),), window_s=0)
    DOWN = Rules((Policy("Percent", 100, 15),), window_s=120)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.spec = ScaledObject(
            target=1,
            most=MOST,
            polling_s=POLLING_S,
            cooldown_s=COOLDOWN_S,
            up=self.UP,
            down=self.DOWN,
        )
        self._minutes: deque[float] = deque([0.0], maxlen=MINUTES + 1)
        """What had arrived at the end of each."""
        self._entered: deque[tuple[float, float]] = deque()
        self._costs: dict[Replica, float] = {}
        """Units in hand, of who has any, by the last beats."""
        self._wanted = 0

    def start(self) -> None:
        super().start()
        self.every(LOOK_S, self._look)
        self.every(MINUTE_S, self._count)
        self.every(BEAT_S, self._hear)

    def metric(self) -> float:
        return self._wanted

    def _lasting(self) -> int:
        """Replicas that could not do in their drain what they have in hand."""
        return sum(units > DRAIN_S * self.card.rate for units in self._costs.values())

    def _working(self) -> list[Replica]:
        return [one for one in self.cluster.there(self.card.name) if one.is_busy]

    def demand(self) -> Demand:
        """As `jamak scale` sees it: producer/scaling/demand.py."""
        name, rate = self.card.name, self.card.rate
        in_queue = min(self.queue.bulk_units, self._mark())
        held = min(self.cluster.in_flight(name, bulk=True), rate * self.scenario.slo_s)
        unfed = self.queue.bulk_units - in_queue
        left_s = (self.scenario.deadline_s or 0.0) - self.now
        return Demand(
            waiting=max(0.0, self.queue.units),
            in_flight=self.cluster.in_flight(name),
            arrival_per_s=lasting([(b - a) / MINUTE_S for a, b in pairwise(self._minutes)]),
            oldest_s=self._oldest_s(),
            rate=rate,
            cold_start_s=COLD_P90_S,
            running=sum(one.is_ready(self.now) for one in self.cluster.there(name)),
            due=(Due(in_queue + held, min(self.scenario.slo_s, left_s)), Due(unfed, left_s))
            if in_queue + held > 0
            else (),
        )

    def first_to_go(self, one: Replica) -> Any:
        """Pods that are not ready, those with the lowest pod-deletion-cost, the newest."""
        return (one.is_ready(self.now), self._costs.get(one, 0.0), -one.ready_at)

    def _mark(self) -> float:
        """How many messages may wait in Redis: what is above it waits outside."""
        return min(max(len(self._working()) * self.card.rate * AHEAD_S, LEAST), MOST_AHEAD)

    def _oldest_s(self) -> float:
        """Since it was put into Redis: how long it had waited outside is not known."""
        if not self.queue.new:
            return 0.0
        entered = next((at for at, upto in self._entered if upto > self.queue.taken), self.now)
        return self.now - max(entered, self.queue.new[0].put_at)

    def _count(self) -> None:
        self._minutes.append(self.cluster.arrived[self.card.name])

    def _hear(self) -> None:
        self._costs = {one: one.left(self.now) for one in self._working()}

    def _look(self) -> None:
        self._entered.append((self.now, self.queue.taken + self._mark()))
        while self._entered[0][1] <= self.queue.taken:
            self._entered.popleft()
        demand = self.demand()
        least = min(max(kept(demand), self._lasting()), MOST)
        answer = wanted(demand, slo_s=self.scenario.slo_s, most=MOST, least=least)
        self._wanted = answer.replicas


class AnyPod(Jamak):
    """The same without pod-deletion-cost: Kubernetes ends the newest."""

    def first_to_go(self, one: Replica) -> Any:
        return OnKeda.first_to_go(self, one)


class Held(Jamak):
    """The same, and the pods that shall go take nothing more from when that is known."""

    def _look(self) -> None:
        super()._look()
        there = self.cluster.there(self.card.name)
        ready = [one for one in there if one.is_ready(self.now)]
        ready.sort(key=lambda one: (not one.held, self._costs.get(one, 0.0)))
        self.cluster.hold(self.card.name, ready[: max(0, len(there) - self._wanted)])

    def first_to_go(self, one: Replica) -> Any:
        return (one.is_ready(self.now), not one.held, self._costs.get(one, 0.0))


class Slowly(Jamak):
    """The same, going down as is often advised for GPUs: a fifth in two minutes, after ten."""

    DOWN = Rules((Policy("Percent", 20, 120),), window_s=600)
