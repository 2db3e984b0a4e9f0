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
from producer.scaling.going import Running, still_finish, to_go
from producer.scaling.policy import Demand, Due, kept, wanted

POLLING_S, COOLDOWN_S = 15.0, 900.0
BEAT_S = LEASE_S / 4
"""How often a worker says what it has in hand."""


class Jamak(OnKeda):
    """What `jamak scale` serves, under the ScaledObject of infra/kubernetes: it says how many
    replicas are wanted, the target is 1. And what pods have in hand is their deletion cost.
    """

    UP = Rules((Policy("Pods", MOST, 15),), window_s=0)
    DOWN = Rules((Policy("Percent", 100, 15),), window_s=60)

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
        self._heard_at = 0.0
        self._say_held: set[Replica] = set()
        """By the same beats."""
        self._held_since: dict[Replica, float] = {}
        self._done: set[Replica] = set()
        """Of them, those that had nothing left at the last look."""
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
        stays = 2 - (one in self._held_since) - (one in self._done)
        return (one.is_ready(self.now), stays, self._costs.get(one, 0.0), -one.ready_at)

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
        self._say_held = {one for one in self.cluster.there(self.card.name) if one.held}
        self._heard_at = self.now

    def _look(self) -> None:
        self._entered.append((self.now, self.queue.taken + self._mark()))
        while self._entered[0][1] <= self.queue.taken:
            self._entered.popleft()
        demand = self.demand()
        least = min(max(kept(demand), self._lasting()), MOST)
        answer = wanted(demand, slo_s=self.scenario.slo_s, most=MOST, least=least)
        self._wanted = answer.replicas + self._hold(demand.running - answer.replicas)

    def _hold(self, too_many: int) -> int:
        """As producer/scaling/scale_in.py; how many still finish what they have."""
        there = self.cluster.there(self.card.name)
        running = [self._seen(one) for one in there if one.is_ready(self.now)]
        going = to_go(running, too_many)
        names = [one.name for one in going]
        self._held_since = {one: self._held_since.get(one, self.now) for one in names}
        self._done = {one.name for one in going if one.is_done}
        self.cluster.hold(self.card.name, names)
        return still_finish(going)

    def _seen(self, one: Replica) -> Running[Replica]:
        since = self._held_since.get(one)
        return Running(
            one,
            self._costs.get(one, 0.0),
            self.now - self._heard_at,
            DRAIN_S,
            one in self._say_held,
            None if since is None else self.now - since,
        )


class NotHeld(Jamak):
    """The same, but who is to go takes work until it ends."""

    def _hold(self, too_many: int) -> int:
        return 0


class AnyPod(NotHeld):
    """Without pod-deletion-cost, too: Kubernetes ends the newest."""

    def first_to_go(self, one: Replica) -> Any:
        return OnKeda.first_to_go(self, one)


class Slowly(Jamak):
    """The same, going down as is often advised for GPUs: a fifth in two minutes, after ten."""

    DOWN = Rules((Policy("Percent", 20, 120),), window_s=600)
