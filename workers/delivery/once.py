"""A worker for one job: it takes one, and ends by itself when that is over, or when none comes.

For those who start a process for each job: a Kubernetes Job, an array of Slurm. It ends as if it
had been asked to, so nothing is different for the job. Knows nothing of what it does.
"""

import os
import signal
import threading
import time

from shared import telemetry
from workers.delivery.leases import Leases

LOOK_S = 0.2

log = telemetry.get_logger("jamak.once")


class Once:
    """Args:
    patience_s: so long it waits for a job.
    """

    def __init__(self, leases: Leases, patience_s: float) -> None:
        self._leases, self._patience_s = leases, patience_s
        leases.left = 1

    def start(self) -> None:
        """From now on jobs may come."""
        threading.Thread(target=self._watch, name="once", daemon=True).start()

    def _watch(self) -> None:
        began = time.monotonic()
        while self._leases.left or self._leases.in_hand():
            if self._leases.left and time.monotonic() - began > self._patience_s:
                log.info("no job has come", waited_s=self._patience_s)
                self._leases.left = 0  # if one has come at this moment it is in hand
            time.sleep(LOOK_S)
        log.info("ending after one job")
        os.kill(os.getpid(), signal.SIGTERM)
