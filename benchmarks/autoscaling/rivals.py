"""What people use: KEDA over the length of a list, and SkyPilot's pools.

Their figures are those of their own pages; docs/autoscale.md says where each is from.
"""

from collections.abc import Generator
from typing import Any

from benchmarks.autoscaling.kubernetes import ScaledObject
from benchmarks.autoscaling.scaler import OnKeda, Scaler
from benchmarks.autoscaling.scenarios import MOST


class KedaLlen(OnKeda):
    """The length of the list in Redis, over what one pod handles at once; KEDA's defaults."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.spec = ScaledObject(target=self.per_pod(), most=MOST)

    def per_pod(self) -> float:
        """keda.sh, "AWS SQS Queue": "if one pod can handle 10 messages, set [it] to 10"."""
        return self.card.rows

    def metric(self) -> float:
        return self.queue.messages


class KedaLlenSlo(KedaLlen):
    """The same over what one pod does in the time that a message may take."""

    def per_pod(self) -> float:
        """docs.aws.amazon.com, "Scaling based on Amazon SQS": acceptable latency over the time
        of one message."""
        return self.scenario.slo_s * self.card.rate


class KedaLlenDefault(KedaLlen):
    """The same with the number that KEDA has where none is given."""

    def per_pod(self) -> float:
        """keda.sh, "Redis Lists": listLength."""
        return 5.0


class SkyPilot(Scaler):
    """SkyPilot's pools: one more while more than one job waits, all less when none does.

    PR skypilot#8483 and `sky/serve/autoscalers.py`, QueueLengthAutoscaler, with its defaults. It
    never ends one that works.
    """

    goes_by_steps = True

    LOOK_S, LOOK_AT_NONE_S = 20.0, 5.0
    UP_S, DOWN_S = 300.0, 1200.0
    THRESHOLD = 1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._up = self._down = 0

    def start(self) -> None:
        self.cluster.env.process(self._run())

    def _run(self) -> Generator[Any, Any, None]:
        yield self.cluster.env.timeout(self._draw.uniform(0, self.LOOK_S))
        target = 0
        while True:
            target = self._next(target, self._calculated(target))
            idle = [one for one in self.cluster.there(self.card.name) if not one.is_busy]
            there = len(self.cluster.there(self.card.name))
            count = max(target, there - len(idle))
            self.ask(count, count, lambda one: (one.is_busy, one.is_ready(self.now), -one.asked_at))
            yield self.cluster.env.timeout(self.LOOK_S if target else self.LOOK_AT_NONE_S)

    def _calculated(self, target: int) -> int:
        waiting = self.queue.messages
        if waiting == 0:
            return 0
        if waiting > self.THRESHOLD:
            target += 1
        elif waiting < self.THRESHOLD:
            target -= 1
        return min(max(target, 1), MOST)

    def _next(self, target: int, calculated: int) -> int:
        if target == 0:
            return calculated
        if calculated > target:
            self._up, self._down = self._up + 1, 0
            if self._up >= self.UP_S / self.LOOK_S:
                self._up = 0
                return calculated
        elif calculated < target:
            self._up, self._down = 0, self._down + 1
            if self._down >= self.DOWN_S / self.LOOK_S:
                self._down = 0
                return calculated
        else:
            self._up = self._down = 0
        return target
