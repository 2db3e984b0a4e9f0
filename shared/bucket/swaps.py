"""Compare-and-swap has an end: who loses again and again says so, and does not spin.

Knows nothing of what is swapped. After a lost race the caller reads again, and looks whether what
is there now is what it meant to write: then it was its own answer that got lost.
"""

import random
import time
from collections.abc import Iterator

from shared.errors import StoreUnavailable

SWAPS = 16
"""Together with their pauses some four seconds: less than a lease lasts."""
PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.4


def swaps(where: str) -> Iterator[None]:
    """One for each try, with pauses between them.

    Raises:
        StoreUnavailable: all of them were lost.
    """
    for attempt in range(SWAPS):
        if attempt:
            pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**attempt)
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        yield
    raise StoreUnavailable(
        f"{where} was written by others {SWAPS} times between our look and our write",
        cure="If nobody else writes there, the store misjudges If-Match: `jamak doctor` tells.",
    )
