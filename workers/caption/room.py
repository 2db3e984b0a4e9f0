"""How many visual tokens a caption may have, after memory ran out for one that was alone.

It is forgotten after a while, for what took the memory may be gone, and captions of few frames say
less. Knows nothing of memory, and of how a caption is made.
"""

import threading
import time
from collections.abc import Callable

LESS_S = 600.0


class Room:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._most: int | None = None
        self._until = 0.0

    @property
    def most(self) -> int | None:
        """Visual tokens of a caption; None: as many as were planned."""
        with self._lock:
            return self._most if self._clock() < self._until else None

    def learn(self, most: int) -> None:
        with self._lock:
            held = self._most if self._clock() < self._until else None
            self._most = min(most, held or most)
            self._until = self._clock() + LESS_S
