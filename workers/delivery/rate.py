"""How fast this worker is while it works: jobs per busy second, over the last ten minutes.

Idle time does not count, so the figure says what one more worker would bring.
"""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 600.0


class BusyRate:
    """Args:
    clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples = deque([(clock(), 0.0, 0.0)])

    def look(self, ended: float, busy_s: float, least_s: float = 0.0) -> float | None:
        """Called now and then with how many jobs have ended so far, and for how long there was any.

        None: none has ended lately, or in too short a time to say.
        """
        now = self._clock()
        self._samples.append((now, ended, busy_s))
        while self._samples[0][0] < now - WINDOW_S:
            self._samples.popleft()
        _, ended_before, busy_before_s = self._samples[0]
        lately, lately_s = ended - ended_before, busy_s - busy_before_s
        return round(lately / lately_s, 4) if lately and lately_s and lately_s >= least_s else None
