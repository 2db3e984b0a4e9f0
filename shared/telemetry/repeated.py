"""What goes wrong again and again: one line when it begins, then one each ten seconds, and one when
it is over. Whoever asks five times a second would bury what else the log has to say.

Knows nothing of what it is that goes wrong.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from structlog.stdlib import BoundLogger

EVERY_S = 10.0
QUIET_S = 1.0


class Repeated:
    """Thread-safe.

    Args:
        over: said when it is.
        quiet_s: for so long nothing may have failed, for what works beside what fails is no end.
        clock: seconds.
    """

    def __init__(
        self,
        log: BoundLogger,
        over: str,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._over, self._quiet_s, self._clock = log, over, quiet_s, clock
        self._lock = threading.Lock()
        self._told_at: dict[str, float] = {}
        """What is told, and about what -> when it was last."""
        self._since = self._failed_at = 0.0
        self._times = 0
        """Since it began; 0: nothing is wrong."""

    def failed(self, what: str, about: str = "", **facts: Any) -> None:
        """Args:
        about: a word for the reason. What is wrong for another one is told at once.
        """
        with self._lock:
            now = self._clock()
            if not self._times:
                self._since = now
            self._times += 1
            self._failed_at = now
            times = self._times
            told_at = self._told_at.get(what + about)
            if told_at is not None and now - told_at < EVERY_S:
                return
            self._told_at[what + about] = now
        self._log.warning(what, times=times, **facts)

    def worked(self) -> None:
        """Something did."""
        if not self._times:
            return
        with self._lock:
            now = self._clock()
            if not self._times or now - self._failed_at < self._quiet_s:
                return
            times, self._times = self._times, 0
            if max(self._told_at.values()) < self._since:
                return  # nobody was told of it
        lasted_s = round(self._failed_at - self._since, 1)
        self._log.info(self._over, times=times, lasted_s=lasted_s)
