"""How many messages may wait in a queue: as many as are taken in two minutes.

So a queue is never empty while there is work, and never long: what waits elsewhere (in SQS, in a
backlog's manifest) costs Redis nothing, and can still be paused and cancelled. Where tenants share
a queue each has a mark of its own, so that what one of them has leaves the others their room.
"""

import time
from collections import deque
from collections.abc import Callable

from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import LeasedQueues

LEAST, MOST = 100, 5000
"""Where the rate is not measured yet, the most."""
MOST_OF_ALL = 50_000
"""Uploads of all tenants together, 60 MB of them: nobody knows whose the next ones in SQS are."""
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
        self._of_all: dict[str, tuple[float, int]] = {}

    def room(self, name: str) -> int:
        """How many more messages this queue, or a tenant's list in it, takes now.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with reaching_redis():
            taken, waiting = self._queues.taken_in(name), self._queues.waiting_in(name)
        return max(0, self._mark(name, taken) - waiting)

    def has_room(self, queue: str) -> bool:
        """For what comes next, whosever it is. Raises as `room`."""
        with reaching_redis():
            if not self._queues.sharing.is_shared(queue):
                return self.room(queue) > 0
            looked_at, waiting = self._of_all.get(queue, (float("-inf"), 0))
            if self._clock() - looked_at > 1.0:
                waiting = self._queues.waiting(queue)
                self._of_all[queue] = self._clock(), waiting
        return waiting < MOST_OF_ALL

    def _mark(self, name: str, taken: int) -> int:
        now = self._clock()
        samples = self._samples.setdefault(name, deque())
        if samples and taken < samples[-1][1]:
            samples.clear()  # another Redis
        samples.append((now, taken))
        while samples[0][0] < now - WINDOW_S:
            samples.popleft()
        since, before = samples[0]
        if now - since < MEASURED_S:
            return self._unmeasured(name)
        rate = (taken - before) / (now - since)
        return round(min(MOST, max(LEAST, rate * AHEAD_S)))

    def _unmeasured(self, name: str) -> int:
        """All tenants together are not given much more than one queue has."""
        _, _, tenant = name.partition("@")
        weights = self._queues.sharing.tenants.weights
        part = weights.get(tenant, 1.0) / sum(weights.values()) if tenant else 1.0
        return min(MOST, max(LEAST, round(MOST * part)))
