"""Who decides how many replicas of a class there are: a process in the simulated cluster."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.autoscaling.cluster import Cluster, Replica
from benchmarks.autoscaling.kubernetes import SYNC_S, Autoscaler, Keda, ScaledObject
from benchmarks.autoscaling.scenarios import Scenario


@dataclass(frozen=True)
class Seen:
    """At one look: how many were wanted, and how many there were to be after it."""

    at: float
    card: str
    wanted: int
    asked: int


class Scaler:
    """Of one class.

    Args:
        draw: when its looks begin.
    """

    goes_by_steps = False
    """It never says how many it will want in the end."""

    def __init__(
        self, cluster: Cluster, scenario: Scenario, card: str, draw: np.random.Generator
    ) -> None:
        self.cluster, self.scenario, self.card = cluster, scenario, cluster.cards[card]
        self.queue = cluster.queues[card]
        self._draw = draw
        self.seen: list[Seen] = []

    def start(self) -> None:
        """Its processes."""
        raise NotImplementedError

    @property
    def now(self) -> float:
        return float(self.cluster.env.now)

    @property
    def asked(self) -> int:
        return self.cluster.asked.get(self.card.name, 0)

    def every(self, seconds: float, look: Callable[[], None]) -> None:
        self.cluster.env.process(self._every(seconds, look))

    def _every(self, seconds: float, look: Callable[[], None]) -> Generator[Any, Any, None]:
        yield self.cluster.env.timeout(self._draw.uniform(0, seconds))
        while True:
            look()
            yield self.cluster.env.timeout(seconds)

    def ask(self, count: int, wants: int, first: Callable[[Replica], Any]) -> None:
        if count != self.asked:
            self.cluster.scale(self.card.name, count, first)
        self.seen.append(Seen(self.now, self.card.name, wants, count))


class OnKeda(Scaler):
    """KEDA and the autoscaler over one metric."""

    spec: ScaledObject

    def start(self) -> None:
        self._keda, self._autoscaler = Keda(self.spec), Autoscaler(self.spec)
        self.every(self.spec.polling_s, self._poll)
        self.every(SYNC_S, self._sync)

    def metric(self) -> float:
        raise NotImplementedError

    def wants(self) -> int:
        return min(self.spec.most, math.ceil(self.metric() / self.spec.target))

    def first_to_go(self, one: Replica) -> Any:
        """kubernetes.io, "ReplicaSet": pods that are not ready, then the newest."""
        return (one.is_ready(self.now), -one.ready_at)

    def _poll(self) -> None:
        count = self._keda.poll(self.now, self.asked, [self.metric()])
        self.ask(count, self.wants(), self.first_to_go)

    def _sync(self) -> None:
        if self.asked:
            count = self._autoscaler.sync(self.now, self.asked, self.metric())
            self.ask(count, self.wants(), self.first_to_go)
