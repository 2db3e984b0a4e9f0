"""Why this worker takes no messages for now: named reasons, each until what is wrong is over.

What is in hand goes on. Whether it is over is asked again and again, by a thread that is there from
the start, for a machine that is sick may start none. Knows nothing of queues, nor of what is wrong.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared import telemetry

FIRST_LOOK_S, LONGEST_LOOK_S = 1.0, 5.0
"""Until it is asked whether it is over; each time twice as long."""

log = telemetry.get_logger("jamak.pauses")


@dataclass
class Pause:
    why: str
    over: Callable[[], object]
    most_s: float | None
    since: float
    look_s: float = FIRST_LOOK_S

    @property
    def look_at(self) -> float:
        return self.since + self.look_s


class Pauses:
    """All of one worker. Thread-safe.

    Args:
        changed: called when one begins, and when one is over.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._held: dict[str, Pause] = {}
        self._wake = threading.Condition()
        self._stopped = False

    def start(self) -> None:
        threading.Thread(target=self._watch, name="pauses", daemon=True).start()

    def stop(self) -> None:
        """Nobody asks any more."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

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
        with self._wake:
            if reason in self._held:
                return
            self._held[reason] = Pause(why, over, most_s, time.monotonic())
            telemetry.PAUSED.labels(reason).set(1)
            self._wake.notify_all()
        log.error("takes nothing more for now", reason=reason, message=why)
        self._changed()

    @property
    def told(self) -> dict[str, str]:
        """Reason -> why, of all that hold."""
        with self._wake:
            return {reason: pause.why for reason, pause in self._held.items()}

    @property
    def overdue(self) -> str | None:
        """What lasts for so long that this worker had better end; None = nothing."""
        with self._wake:
            for reason, pause in self._held.items():
                lasted_s = time.monotonic() - pause.since
                if pause.most_s is not None and lasted_s > pause.most_s:
                    return f"{reason} for {lasted_s:.0f} s: {pause.why}"
        return None

    def __bool__(self) -> bool:
        return bool(self._held)

    def _watch(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._held or self._stopped)
                if self._stopped:
                    return
                reason, pause = min(self._held.items(), key=lambda item: item[1].look_at)
                # Another one may begin meanwhile, which is to be looked at earlier.
                if self._wake.wait(max(0.0, pause.look_at - time.monotonic())):
                    continue
            self._look(reason, pause)

    def _look(self, reason: str, pause: Pause) -> None:
        lasted_s = time.monotonic() - pause.since
        try:
            pause.over()
        except Exception as error:
            pause.why = str(error) or type(error).__name__
            log.warning("still takes nothing", reason=reason, message=pause.why)
            pause.look_s = lasted_s + min(lasted_s, LONGEST_LOOK_S)
            return
        with self._wake:
            del self._held[reason]
            telemetry.PAUSED.labels(reason).set(0)
        log.info("takes work again", reason=reason, lasted_s=round(lasted_s, 1))
        self._changed()
