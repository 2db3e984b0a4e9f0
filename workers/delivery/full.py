"""How fast this worker is when it has its hands full: units of work a second, lately.

What a replica can do is seen only then. One job alone ends sooner than one among many, but many
together are far more in a second; so a worker with little to do would tell a rate that is much too
low. Knows nothing of what a unit is.
"""

import time
from collections.abc import Callable

from workers.delivery.rate import BusyRate

ENOUGH = 0.75
"""Of the jobs that may be in hand: with so many the engine's rows are in use."""
LEAST_S = 20.0
"""For so long its hands were full before a rate is told: jobs end by fits and starts."""


class FullRate:
    """Args:
    clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._units = self._seconds = 0.0
        self._last: float | None = None
        """When something ended, if its hands were full then and have been since."""
        self._rate = BusyRate(clock)

    def ended(self, units: float, in_hand: int, at_once: int) -> None:
        """A job. What is in hand grows less in this way only, so nobody need look in between.

        Args:
            in_hand: with this one.
        """
        now = self._clock()
        if in_hand < ENOUGH * at_once:
            self._last = None
            return
        # From the first end on: until then they were begun, and nothing could end.
        if self._last is not None:
            self._units += units
            self._seconds += now - self._last
        self._last = now

    def look(self) -> float | None:
        """None: it was not full for long enough."""
        return self._rate.look(self._units, self._seconds, LEAST_S)
