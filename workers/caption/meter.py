"""What the engine's time goes to: it computes, waits for the frames of jobs in hand, or has none.

Every moment is one of the three, and each is counted in seconds. Knows nothing of jobs and requests
but how many there are.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from shared import telemetry

State = Literal["busy", "frames", "idle"]


class Meter:
    """Thread-safe."""

    def __init__(
        self,
        count: Callable[[State, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count or _count
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs = self._asked = 0
        self._since = clock()

    @contextmanager
    def job(self) -> Iterator[None]:
        """A job is in hand, for as long as the block lasts."""
        self._change(jobs=1)
        try:
            yield
        finally:
            self._change(jobs=-1)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The engine has something to do."""
        self._change(asked=1)
        try:
            yield
        finally:
            self._change(asked=-1)

    def look(self) -> None:
        """Count what has passed so far."""
        self._change()

    def _change(self, jobs: int = 0, asked: int = 0) -> None:
        with self._lock:
            state: State = "busy" if self._asked else "frames" if self._jobs else "idle"
            now = self._clock()
            self._count(state, now - self._since)
            self._since = now
            self._jobs += jobs
            self._asked += asked


def _count(state: State, seconds: float) -> None:
    telemetry.ENGINE_SECONDS.labels(state).inc(seconds)
