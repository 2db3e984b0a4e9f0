"""Jobs of one video that come together, such as a pair to compare: one looks, the others wait.

When it has looked, what it saw is kept for them (workers/jobs/looks.py). Nobody waits for long, nor
with anything that others wait for: a job has one turn at most, and gives it up before it asks for
another; and who has a decoder does not wait.
"""

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from workers.progress import Progress

LOOK_S = 0.1
LONGEST_S = 30.0
"""Then two of them look: that costs time, and a job that stands still is no fault of others."""


class Turns:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: dict[Hashable, Turn] = {}

    @contextmanager
    def of(self, progress: Progress) -> Iterator["Turn"]:
        """For one job. At the end of the block it has none."""
        turn = Turn(self._changed, self._taken, progress)
        try:
            yield turn
        finally:
            turn.leave()


class Turn:
    """For one thread."""

    def __init__(
        self,
        changed: threading.Condition,
        taken: "dict[Hashable, Turn]",
        progress: Progress,
    ) -> None:
        self._changed, self._taken, self._progress = changed, taken, progress

    def take(self, key: Hashable, most_s: float = LONGEST_S) -> None:
        """Waits while another one has it, but not for longer. Raises what `progress` raises."""
        if self._taken.get(key) is self:
            return
        self.leave()
        ends_at = time.monotonic() + most_s
        with self._changed:
            while key in self._taken and time.monotonic() < ends_at:
                self._progress.wait_for(self._taken[key]._progress)
                self._changed.wait(LOOK_S)
            self._taken.setdefault(key, self)

    def leave(self) -> None:
        """The one that it has, if any."""
        with self._changed:
            for key in [key for key, turn in self._taken.items() if turn is self]:
                del self._taken[key]
            self._changed.notify_all()
