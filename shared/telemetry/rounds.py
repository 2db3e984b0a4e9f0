"""The loop of a process that looks every few seconds, until it is stopped."""

from collections.abc import Callable

from structlog.stdlib import BoundLogger

from shared.errors import JamakError
from shared.telemetry.health import LoopHealth
from shared.telemetry.repeated import Repeated


def look_again_and_again(
    look: Callable[[], object],
    every_s: float,
    wait: Callable[[float], bool],
    health: LoopHealth,
    log: BoundLogger,
) -> None:
    """What goes wrong is told when it begins, and when it is over.

    Args:
        look: raises JamakError.
        every_s: seconds from the end of one look to the next.
        wait: so many seconds; True = stop.
    """
    ails, stop = Repeated(log, "looks again", quiet_s=0.0), False
    while not stop:
        try:
            look()
            health.worked()
            ails.worked()
        except JamakError as error:
            health.failed(str(error))
            ails.failed("cannot look", about=error.reason, message=str(error), cure=error.cure)
        stop = wait(every_s)
