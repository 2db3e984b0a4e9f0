"""How a worker ends: on SIGTERM it takes nothing more, finishes what fits, hands back the rest.

Threads cannot be interrupted, so when the time is up the messages go back to their queues and the
process ends at once, whatever its threads are doing: what they had is safe with the next worker.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from shared import telemetry
from workers.delivery.leases import Leases

LONGEST_FINISH_S = 4.0
"""For handing back, when Redis is slow or away."""

log = telemetry.get_logger("jamak.drain")


class Drain:
    """Args:
    drain_s: how long jobs may go on after the first signal.
    clean_up: what has to be done before the process is gone; quickly.
    """

    def __init__(self, leases: Leases, drain_s: float, clean_up: Callable[[], None]) -> None:
        self._leases, self._drain_s, self._clean_up = leases, drain_s, clean_up
        self._asked = False
        self._once = threading.Lock()

    def install(self) -> None:
        """In the main thread, in place of Celery's own handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_end)

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        # A handler may interrupt anything that holds a lock: only threads do the work.
        work = self.finish if self._asked else self._drain
        self._asked = True
        threading.Thread(target=work, name="drain", daemon=True).start()

    def _drain(self) -> None:
        self._leases.stop_taking()
        log.info("draining", in_hand=len(self._leases.in_hand()), drain_s=self._drain_s)
        self._leases.wait_until_empty(self._drain_s)
        self.finish()

    def finish(self, code: int = 0) -> None:
        """Hand everything back, and be gone."""
        with self._once:
            # If Redis is away: then the leases end by themselves.
            late = threading.Timer(LONGEST_FINISH_S, os._exit, [code])
            late.daemon = True
            late.start()
            handed_back = self._leases.hand_back()
            log.info("handed back", jobs=handed_back)
            self._leases.leave()
            self._clean_up()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
