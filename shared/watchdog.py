"""The last resort: a process that cannot recover by itself ends, so that it is started again.

Knows nothing of what the process does, nor of how it ends.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

from shared import telemetry

LOOK_S = 2.0
EX_SOFTWARE = 70
"""sysexits.h: a fault of the program. Whoever supervises it starts it again."""

log = telemetry.get_logger("jamak.watchdog")


def watch(look: Callable[[], str | None], end: Callable[[int], None] | None = None) -> None:
    """In a thread of its own, for as long as the process lives.

    Args:
        look: why the process has to end; None = it has not.
        end: ends it with this code; None = at once.
    """
    threading.Thread(
        target=_watch, args=(look, end or end_now), name="watchdog", daemon=True
    ).start()


def end_now(code: int) -> None:
    """For a process that may be killed at any moment."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _watch(look: Callable[[], str | None], end: Callable[[int], None]) -> None:
    while True:
        time.sleep(LOOK_S)
        if look() is None:
            continue
        # A process that was stopped for a while, and goes on, has not had its turn yet.
        time.sleep(LOOK_S)
        reason = look()
        if reason is not None:
            log.critical("this process ends, to be started again", reason=reason)
            end(EX_SOFTWARE)
