"""Who reads the metrics of this process, for one that ends by itself: what it did last shall be
read. Knows nothing of HTTP."""

import threading
import time


class Readers:
    """Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._began_at: float | None = None
        """The last reading that is over."""

    def read(self, began_at: float) -> None:
        """Somebody has read all, and began at this time of `time.monotonic`."""
        with self._changed:
            self._began_at = max(began_at, self._began_at or began_at)
            self._changed.notify_all()

    def wait_for_one(self, most_s: float) -> None:
        """Until a reading that begins from now on is over; at once where nobody ever read."""
        now = time.monotonic()
        with self._changed:
            if self._began_at is not None:
                self._changed.wait_for(lambda: (self._began_at or 0) >= now, most_s)


READERS = Readers()
"""Of the one port that a process has."""
