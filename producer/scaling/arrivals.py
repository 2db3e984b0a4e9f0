"""How fast work arrives: a rate that lasts, and no burst.

What came in a burst waits already, and is counted there. So it is the median of the last minutes
that tells the rate: a minute in which much came is one of ten.
"""

from collections.abc import Sequence
from statistics import median_low

MINUTE_S = 60.0
MINUTES = 10


def lasting(rates: Sequence[float]) -> float:
    """Args:
    rates: of the last minutes.
    """
    return median_low(rates) if rates else 0.0
