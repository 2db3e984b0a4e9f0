"""How fast this worker is when it has its hands full: units of work a second, lately.

What a replica can do is seen only then. One job alone ends sooner than one among many, but many
together are far more in a second; so a worker with little to do would tell a rate that is much too
low. Each moment with full hands belongs to the jobs in hand, in equal shares, and so much of a job
is done then as of its time passes. Both count when it ends. Knows nothing of what a unit is.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from workers.delivery.rate import BusyRate

ENOUGH = 0.75
"""Of the jobs that may be in hand: with so many the engine's rows are in use."""
LEAST_S = 20.0
"""For so long its hands were full before a rate is told: jobs end by fits and starts."""


class _Moment(NamedTuple):
    at: float
    full_s: float = 0.0
    """For how long its hands were full until then."""
    share_s: float = 0.0
    """What of that would belong to a job that was in hand all along."""


class FullRate:
    """Hears of each job that is taken, and of each that ends.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._units = self._seconds = 0.0
        self._now = _Moment(clock())
        self._since: dict[str, _Moment] = {}
        """Job in hand -> when it was taken."""
        self._rate = BusyRate(clock)

    def took(self, job: str, at_once: int) -> None:
        """Args:
        at_once: how many may be in hand.
        """
        self._since[job] = self._pass(at_once)

    def ended(self, job: str, units: float, at_once: int) -> None:
        """Args:
        units: what was done of it here; 0 of what is only looked at, or given back.
        """
        now = self._pass(at_once)
        since = self._since.pop(job, now)
        if now.at > since.at:
            self._units += units * (now.full_s - since.full_s) / (now.at - since.at)
            self._seconds += now.share_s - since.share_s

    def look(self) -> float | None:
        """None: it was not full for long enough."""
        return self._rate.look(self._units, self._seconds, LEAST_S)

    def _pass(self, at_once: int) -> _Moment:
        """The time until now, with what was in hand."""
        at, full_s, share_s = self._now
        now, in_hand = self._clock(), len(self._since)
        if in_hand and in_hand >= ENOUGH * at_once:
            full_s, share_s = full_s + now - at, share_s + (now - at) / in_hand
        self._now = _Moment(now, full_s, share_s)
        return self._now
