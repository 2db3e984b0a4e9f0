"""A worker for one job: it takes one, and ends by itself when that is over, or when none comes.

For those who start a process for each job: a Kubernetes Job, an array of Slurm. It ends as if it
had been asked to, so nothing is different for the job. Where somebody reads its metrics it stays
until that has been done once more: how its job ended is in them. Knows nothing of what it does.
"""

import os
import signal
import threading
import time

from shared import telemetry
from shared.telemetry.readers import Readers
from workers.delivery.leases import Leases

LOOK_S = 0.2
LINGER_S = 60.0
"""Prometheus reads more often, as it is set everywhere."""

log = telemetry.get_logger("jamak.once")


class Once:
    """Args:
    patience_s: so long it waits for a job.
    readers: of its metrics.
    """

    def __init__(self, leases: Leases, patience_s: float, readers: Readers) -> None:
        self._leases, self._patience_s, self._readers = leases, patience_s, readers
        leases.left = 1

    def start(self) -> None:
        """From now on jobs may come."""
        threading.Thread(target=self._watch, name="once", daemon=True).start()

    def _watch(self) -> None:
        began, idle = time.monotonic(), False
        while self._leases.left or self._leases.in_hand():
            if self._leases.left and time.monotonic() - began > self._patience_s:
                log.info("no job has come", waited_s=self._patience_s)
                self._leases.left = 0  # if one has come at this moment it is in hand
                idle = True
            time.sleep(LOOK_S)
        if not idle:
            self._readers.wait_for_one(LINGER_S)
        log.info("ending after one job")
        os.kill(os.getpid(), signal.SIGTERM)
