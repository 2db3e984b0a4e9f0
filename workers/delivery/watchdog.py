"""When a worker can no longer recover by itself, so that it has to be started again.

That costs a model load, so there are three reasons only: nothing arrives although work waits and
slots are free, a job stands still so long that its thread will never come back, or what this
machine lacks has not come back in time.
"""

import time
from collections.abc import Callable

import redis

from shared.watchdog import watch
from workers.delivery.leases import Leases

DEAF_S = 30.0
"""Work waits, a slot is free, and nothing arrives."""
STUCK_TIMEOUTS = 2
"""Lease timeouts without a tick: the job's lease is lost after one."""


class Watchdog:
    """Args:
    queues: those that this worker serves.
    end: hands back what can be handed back, and ends the process with the code it is given.
    """

    def __init__(
        self, leases: Leases, queues: list[str], end: Callable[[int], None], deaf_s: float = DEAF_S
    ) -> None:
        self._leases, self._queues, self._end, self._deaf_s = leases, queues, end, deaf_s
        self._waiting_since: float | None = None

    def start(self) -> None:
        watch(self.look, self._end)

    def look(self) -> str | None:
        """Why this worker has to end; None = it has not."""
        return self._stuck() or self._deaf() or self._leases.pauses.overdue

    def _stuck(self) -> str | None:
        longest_s = STUCK_TIMEOUTS * self._leases.queues.timeout_s
        for lease in self._leases.in_hand():
            still_s = time.monotonic() - lease.moved_at
            if still_s > longest_s and lease.moved() is None:
                return f"a job has been in {lease.progress.stage!r} for {still_s:.0f} s"
        return None

    def _deaf(self) -> str | None:
        leases = self._leases
        try:
            waits = leases.free > 0 and any(map(leases.queues.waiting, self._queues))
        except redis.RedisError:
            waits = False  # nobody can receive anything
        now = time.monotonic()
        # Nor can anybody from a Redis that lets us read and refuses our beats.
        refused = now - leases.answered_at > leases.queues.timeout_s / 2
        if not waits or refused:
            self._waiting_since = None
            return None
        since = max(self._waiting_since or now, leases.received_at)
        self._waiting_since = since
        if now - since <= self._deaf_s:
            return None
        return f"work waits, {leases.free} slots are free, and nothing came for {now - since:.0f} s"
