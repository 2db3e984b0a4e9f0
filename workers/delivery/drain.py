"""How a worker ends: on SIGTERM it takes nothing more, finishes what fits, hands back the rest.

Threads cannot be interrupted, so when the time is up the messages go back to their queues and the
process ends at once, whatever its threads are doing: what they had is safe with the next worker.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from celery.worker import state

from shared import telemetry
from shared.signals import on_signal
from workers.delivery.leases import Leases

LONGEST_FINISH_S = 4.0
"""For handing back, when Redis is slow or away."""
GOODBYE_S = 1.0
"""The same for a worker that has nothing to hand back."""

log = telemetry.get_logger("jamak.drain")


def end_at_once() -> None:
    """Until there is a drain: nothing is in hand, whatever this worker waits for.

    In the main thread, in place of Celery's own handlers, which only make a note for later.
    """
    on_signal(_end)
    if state.should_stop is not None or state.should_terminate is not None:
        _end()  # asked before this


def _end(number: int | None = None) -> NoReturn:
    log.info("asked to end before it took any work")
    os._exit(0)


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
        on_signal(self._asked_to_end, again_s=LONGEST_FINISH_S + GOODBYE_S)

    def _asked_to_end(self, number: int) -> None:
        work = self.finish if self._asked else self._drain
        self._asked = True
        # The second signal is to be heard while the first one is worked on.
        threading.Thread(target=work, name="drain", daemon=True).start()

    def _drain(self) -> None:
        if not self._leases.in_hand():
            _later(GOODBYE_S, self._end_if_idle)
        self._leases.stop_taking()
        log.info("draining", in_hand=len(self._leases.in_hand()), drain_s=self._drain_s)
        self._leases.wait_until_empty(self._drain_s)
        self.finish()

    def finish(self, code: int = 0) -> None:
        """Hand everything back, and be gone."""
        with self._once:
            # If Redis is away: then the leases end by themselves.
            _later(LONGEST_FINISH_S, lambda: os._exit(code))
            handed_back = self._leases.hand_back()
            log.info("handed back", jobs=handed_back)
            self._leases.leave()
            self._clean_up()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def _end_if_idle(self) -> None:
        """Redis should have answered long ago: there is nobody to say goodbye to.

        But acknowledgements may still wait for it: else what has ended would run once more.
        """
        self._leases.flush(LONGEST_FINISH_S - GOODBYE_S)
        if not self._leases.in_hand():
            self._clean_up()
            os._exit(0)


def _later(seconds: float, what: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, what)
    timer.daemon = True
    timer.start()
