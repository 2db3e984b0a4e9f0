"""Why this worker takes no messages for now: named reasons, each until what is wrong is over.

What is in hand goes on. Knows nothing of queues, nor of what is wrong.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from shared import telemetry
from workers.delivery.asking import Asking

ASKED_AT_ONCE = 7
"""Each reason by itself: limits, scratch, decoders, device, engine, source, output."""

log = telemetry.get_logger("jamak.pauses")


@dataclass
class Pause:
    why: str
    most_s: float | None
    since: float


class Pauses:
    """All of one worker. Thread-safe.

    Args:
        changed: called when one begins, and when one is over.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._held: dict[str, Pause] = {}
        self._lock = threading.Lock()
        self._asking = Asking(ASKED_AT_ONCE)

    def start(self) -> None:
        self._asking.start()

    def stop(self) -> None:
        """Nobody asks any more."""
        self._asking.stop()

    def hold(
        self, reason: str, why: str, over: Callable[[], object], most_s: float | None = None
    ) -> None:
        """Take nothing more, until `over` returns. For a reason that holds already, nothing new.

        Args:
            reason: one word, which is a metric's label: "scratch", "source".
            why: for people.
            over: raises for as long as it is not; may mend something first.
            most_s: after so long it is `overdue`; None = it may last for ever.
        """
        with self._lock:
            if reason in self._held:
                return
            pause = self._held[reason] = Pause(why, most_s, time.monotonic())
            telemetry.PAUSED.labels(reason).set(1)
        self._asking.until(over, partial(self._end, reason, pause), partial(_still, reason, pause))
        log.error("takes nothing more for now", reason=reason, message=why)
        self._changed()

    @property
    def told(self) -> dict[str, str]:
        """Reason -> why, of all that hold."""
        with self._lock:
            return {reason: pause.why for reason, pause in self._held.items()}

    @property
    def overdue(self) -> str | None:
        """What lasts for so long that this worker had better end; None = nothing."""
        with self._lock:
            for reason, pause in self._held.items():
                lasted_s = time.monotonic() - pause.since
                if pause.most_s is not None and lasted_s > pause.most_s:
                    return f"{reason} for {lasted_s:.0f} s: {pause.why}"
        return None

    def __bool__(self) -> bool:
        return bool(self._held)

    def _end(self, reason: str, pause: Pause) -> None:
        with self._lock:
            del self._held[reason]
            telemetry.PAUSED.labels(reason).set(0)
        lasted_s = time.monotonic() - pause.since
        log.info("takes work again", reason=reason, lasted_s=round(lasted_s, 1))
        self._changed()


def _still(reason: str, pause: Pause, error: Exception) -> None:
    pause.why = str(error) or type(error).__name__
    log.warning("still takes nothing", reason=reason, message=pause.why)
