"""Who knows beforehand what will arrive: the cheapest fleet that is in time, and a fixed one."""

from benchmarks.autoscaling.cluster import Replica
from benchmarks.autoscaling.oracle import plan
from benchmarks.autoscaling.scaler import Scaler


class Planned(Scaler):
    """Knows what will arrive."""

    STEP_S = 30.0
    SLACK_S = 60.0
    """Earlier than due: the last piece is not done in no time."""

    spare = 1.0
    """Times the capacity of the plan: work comes in pieces, and replicas are whole."""

    def plan(self) -> list[int]:
        """Replicas that work, in each step."""
        arrivals = [
            (work.put_at, work.units, self.scenario.due(work.put_at, bulk=work.bulk) - self.SLACK_S)
            for work in self.scenario.works
            if work.card == self.card.name
        ]
        return list(plan(arrivals, self.card.rate / self.spare, self.STEP_S))


class Fixed(Planned):
    """As many as are enough at any time, at all times: a size that nobody knows beforehand."""

    def start(self) -> None:
        self.cluster.scale(self.card.name, max(self.plan()), lambda one: 0)


class Oracle(Planned):
    """It knows what arrives, how long each cold start takes and when a node is reclaimed."""

    LOOK_S = 5.0

    def start(self) -> None:
        self._plan = self.plan()
        self._cold = self.cluster.next_cold_start()
        self.every(self.LOOK_S, self._look)

    def _look(self) -> None:
        while len(self._alive(self.now + self._cold)) < self._needed(self.now + self._cold):
            self.cluster.start(self.card.name, self._cold)
            self._cold = self.cluster.next_cold_start()
        alive = sorted(self._alive(self.now), key=lambda one: one.is_busy)
        for one in alive[: max(0, len(alive) - self._needed(self.now))]:
            self.cluster.end(one)

    def _alive(self, at: float) -> list[Replica]:
        return [one for one in self.cluster.there(self.card.name) if one.works_at(at)]

    def _needed(self, at: float) -> int:
        step = int(at / self.STEP_S)
        return self._plan[step] if step < len(self._plan) else 0


def oracles() -> list[type[Oracle]]:
    """From the cheapest to the one that is surely in time."""
    return [type("Oracle", (Oracle,), {"spare": spare}) for spare in (1.0, 1.05, 1.15, 1.3)]
