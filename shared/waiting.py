"""What a process needs and what is not there yet may come: it waits for it, and says so.

Knows nothing of signals: a process that waits here has to end by them all the same
(`shared/signals.py`).
"""

import time
from collections.abc import Callable
from typing import TypeVar

from shared import telemetry
from shared.errors import Retry

LOOK_AGAIN_S = 1.0

T = TypeVar("T")

log = telemetry.get_logger("jamak.waiting")


def wait_for(whom: str, ask: Callable[[], T]) -> T:
    """Ask until there is an answer.

    Raises:
        ConfigError: it is there, and does not let us do what we have to.
    """
    waits = telemetry.Repeated(log, f"{whom} is there", quiet_s=0.0)
    while True:
        try:
            found = ask()
        except Retry as error:
            waits.failed(f"waiting for {whom}", message=str(error), cure=error.cure)
            time.sleep(LOOK_AGAIN_S)
        else:
            waits.worked()
            return found
