"""How fast work arrives, by a count that only rises: a rate that lasts, and no burst.

What came in a burst waits already, and is counted there. So it is the median of the last minutes
that tells the rate: a minute in which much came is one of ten.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

MINUTE_S = 60.0
MINUTES = 10


class Arrivals:
    """Of one class."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque(maxlen=MINUTES + 1)

    def see(self, at: float, count: float) -> None:
        """Args:
        at: seconds, by a clock that is not set.
        count: all that has arrived until then; less than before: it is counted anew.
        """
        if self._marks and count < self._marks[-1][1]:
            self._marks.clear()
        if not self._marks or at - self._marks[-1][0] >= MINUTE_S:
            self._marks.append((at, count))

    def per_s(self) -> float:
        """0 until it was seen for a minute."""
        rates = [
            (count - before) / (at - since)
            for (since, before), (at, count) in pairwise(self._marks)
        ]
        return lasting(rates)


def lasting(rates: Sequence[float]) -> float:
    """Args:
    rates: of the last minutes.
    """
    return median_low(rates) if rates else 0.0
