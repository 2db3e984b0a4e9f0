"""The one seam through which work says that it moves: `progress.tick(stage)`.

Each stage of a caption ticks at least when it starts; long ones tick as they go on. Whoever
watches a job (a lease, a watchdog, the timings in its record) reads it here and nowhere else.
"""

import time
from collections.abc import Callable


class Progress:
    """Counts the ticks of one job, and the seconds that each stage took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self.stage = "start"
        self.count = 0
        """Grows with every tick: while it grows, the job is alive."""
        self._timings: dict[str, float] = {}

    def tick(self, stage: str) -> None:
        self.count += 1
        if stage != self.stage:
            self._settle()
            self.stage = stage

    def timings_s(self) -> dict[str, float]:
        """Stage -> seconds so far, in the order in which the stages began."""
        self._settle()
        return {stage: round(spent, 4) for stage, spent in self._timings.items()}

    def _settle(self) -> None:
        now = self._clock()
        if self.stage != "start":
            self._timings[self.stage] = self._timings.get(self.stage, 0.0) + now - self._since
        self._since = now
