"""How many messages may wait in a queue: as many as are taken in two minutes.

So a queue is never empty while there is work, and never long: what waits elsewhere (in SQS, in a
backlog's manifest) costs Redis nothing, and can still be paused and cancelled.
"""

import time
from collections import deque
from collections.abc import Callable

from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import LeasedQueues

LEAST, MOST = 100, 5000
"""Where the rate is not measured yet, the most."""
AHEAD_S = 120.0
MEASURED_S, WINDOW_S = 5.0, 30.0
"""The rate is measured over so many seconds, at least and at the most."""


class HighWaterMarks:
    """Args:
    clock: seconds.
    """

    def __init__(self, queues: LeasedQueues, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues, self._clock = queues, clock
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def room(self, queue: str) -> int:
        """How many more messages this queue takes now.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with reaching_redis():
            taken, waiting = self._queues.taken(queue), self._queues.waiting(queue)
        return max(0, self._mark(queue, taken) - waiting)

    def _mark(self, queue: str, taken: int) -> int:
        now = self._clock()
        samples = self._samples.setdefault(queue, deque())
        if samples and taken < samples[-1][1]:
            samples.clear()  # another Redis
        samples.append((now, taken))
        while samples[0][0] < now - WINDOW_S:
            samples.popleft()
        since, before = samples[0]
        if now - since < MEASURED_S:
            return MOST
        rate = (taken - before) / (now - since)
        return round(min(MOST, max(LEAST, rate * AHEAD_S)))
