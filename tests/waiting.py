"""Waiting for a condition instead of sleeping and hoping."""

import time
from collections.abc import Callable

SLOWEST = 10
"""A machine with other work may take so many times what a quiet one does. No test may fail of that:
what has to be quick is told from what is slow by more than this factor, never by a tight limit."""


def wait_until(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Args:
    within_s: on a quiet machine.
    """
    deadline, pause_s = time.monotonic() + SLOWEST * within_s, 0.03
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {SLOWEST * within_s:.0f} s in vain for {what}")
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.25)  # to look costs servers, too
