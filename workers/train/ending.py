"""How a training is asked to end: by SIGTERM. Knows neither trainers nor checkpoints."""

import os
import signal

STOPPED = 3
"""Exit status of a training that was asked to end, and did."""


class Stopped(Exception):
    """A training was asked to end, and did; what it has learned is in its last checkpoint."""


class Ending:
    """Whether a training was asked to."""

    def __init__(self) -> None:
        self.asked = False
        self.training = False
        """While it is, it ends between two steps; else at once, for there is nothing to keep."""

    def listen(self) -> None:
        """In the main thread."""
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True
        if not self.training:
            os._exit(STOPPED)
