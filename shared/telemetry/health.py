"""Whether a process lives, and whether it can do its work: two questions, answered by what it did.

Knows nothing of HTTP, and of the work.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

STILL_S = 300.0
"""A loop that has not moved for so long hangs. A turn may list a large bucket while S3 is slow."""
SILENT_S = 60.0
"""Without success for so long, it is not ready any more. A long poll of SQS takes 20 s."""


class Health(Protocol):
    def live(self) -> str | None:
        """What is wrong so that a restart would help; None = nothing."""

    def ready(self) -> str | None:
        """Why no work is done now; None = it is."""

    def facts(self) -> dict[str, Any]:
        """What else is told to whoever asks whether it is ready."""


class LoopHealth:
    """Of a process that is one loop. Thread-safe.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_at: float | None = None
        self._worked_at: float | None = None
        self._why = ""
        self._ends = False

    def moved(self) -> None:
        """The loop goes round."""
        self._moved_at = self._clock()

    def worked(self) -> None:
        """A turn did what it is for: all that it works with has answered."""
        self._worked_at = self._moved_at = self._clock()
        self._why = ""

    def failed(self, why: str) -> None:
        """A turn did not. Others may: only for a while without any is it not ready."""
        self._why = f": {why}"
        self.moved()

    def ending(self) -> None:
        """It has been asked to."""
        self._ends = True

    def live(self) -> str | None:
        if self._moved_at is None:
            return None  # it starts, and may wait for somebody who is not there yet
        still_s = self._clock() - self._moved_at
        return f"the loop has not moved for {still_s:.0f} s" if still_s > STILL_S else None

    def ready(self) -> str | None:
        if self._ends:
            return "ending"
        if self._worked_at is None:
            return f"nothing has worked yet{self._why}"
        silent_s = self._clock() - self._worked_at
        return (
            f"nothing has worked for {silent_s:.0f} s{self._why}" if silent_s > SILENT_S else None
        )

    def facts(self) -> dict[str, Any]:
        return {}
