"""Whether this machine is to blame for what went wrong with a job: it is examined.

A fault of the machine is none of the job's, so it costs the job no attempt; this worker then takes
nothing until it is well, and ends if that takes too long. An error alone proves nothing: a video
may fill a healthy disk by itself. Knows nothing of what is examined, and of how jobs end.
"""

import errno
import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from shared import telemetry
from shared.errors import JamakError, OutOfResources, Retry
from shared.unreachable import causes
from workers.delivery.pauses import Pauses

LONGEST_SICK_S = 300.0
"""Then the worker ends, and whoever started it may put it on another machine."""
NETWORK = {
    getattr(errno, name)
    for name in ("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "EADDRNOTAVAIL")
}
"""What Python has no class of its own for."""
FILES = 16
"""That a job may well need at once."""

log = telemetry.get_logger("jamak.machine")


@dataclass(frozen=True)
class Check:
    name: str
    prove: Callable[[], object]
    """Raises what is wrong; may mend it first."""
    die: Callable[[str], object] | None


class Machine:
    """Thread-safe.

    Args:
        pauses: hold while it is sick.
        take_fewer: makes room for the jobs in hand; whether there was more than one.
    """

    def __init__(self, pauses: Pauses, take_fewer: Callable[[], bool]) -> None:
        self._pauses, self._take_fewer = pauses, take_fewer
        self._checks = [Check("limits", prove_limits, None)]
        self._lock = threading.Lock()

    def check(
        self,
        name: str,
        prove: Callable[[], object],
        die: Callable[[str], object] | None = None,
    ) -> None:
        """Examine this, too, after what was asked for before.

        Args:
            name: one word, which is a metric's label.
            die: called with what is wrong, where no process recovers from it.
        """
        self._checks.append(Check(name, prove, die))

    def is_to_blame(self, error: BaseException) -> bool:
        """If so, nothing more is taken until it is well; or less at once, if it is too small."""
        if not may_be_the_machines(error):
            return False
        return self._is_sick() or (lacks_something(error) and self._take_fewer())

    def _is_sick(self) -> bool:
        with self._lock:  # one examination serves all that failed at once
            for one in self._checks:
                if one.name in self._pauses.told:
                    return True
                try:
                    one.prove()
                except Exception as error:
                    why = str(error) or type(error).__name__
                    if one.die is not None:
                        one.die(f"{one.name}: {why}")
                    self._pauses.hold(one.name, why, one.prove, LONGEST_SICK_S)
                    return True
        return False


def may_be_the_machines(error: BaseException) -> bool:
    """What is no word of ours may be."""
    return not isinstance(error, JamakError) or lacks_something(error)


def lacks_something(error: BaseException) -> bool:
    """It says so; or S3 or Redis seem to be away, and it is for want of a file or memory here."""
    if isinstance(error, OutOfResources):
        return True
    is_verdict = isinstance(error, JamakError) and not isinstance(error, Retry)
    return not is_verdict and any(map(_is_local, causes(error)))


def _is_local(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | ssl.SSLError | socket.gaierror):
        return False
    if isinstance(error, OSError) and error.errno in NETWORK:
        return False
    return isinstance(error, OSError | MemoryError)


def prove_limits() -> None:
    """There are files and threads left. Raises OSError, RuntimeError."""
    opened = []
    try:
        for _ in range(FILES):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for one in opened:
            os.close(one)
    thread = threading.Thread(target=lambda: None, name="examined")
    thread.start()
    thread.join()
