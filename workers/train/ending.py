"""How a training ends before it is done: asked by SIGTERM, or with its parent.

Knows neither trainers nor checkpoints.
"""

import os
import select
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


def end_with_parent(silent_s: float | None = None, stdin: int = 0) -> None:
    """Waits for the end of whoever holds the other end of our stdin, however it dies, and ends.

    Args:
        silent_s: it also ends when nothing came for so long. A parent that stands still loses its
            job to somebody else, who trains it: then nobody shall train it here.
    """
    # Not through sys.stdin: its lock, held while waiting, would abort the interpreter's exit.
    while select.select([stdin], [], [], silent_s)[0] and os.read(stdin, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
