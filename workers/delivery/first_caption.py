"""How long this process took from its start to its first caption, stage by stage.

What an autoscaler plans with is its *cold start*: from the start of the process until it takes
work, less what it waited for S3 and Redis, which an outage makes as long as it likes. Then it waits
for a first job, which is none of its own time, and makes a first record. Knows nothing of what is
done in a stage.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal, get_args

from shared import telemetry
from workers.delivery.started import seconds_since_start

Stage = Literal[
    "process",  # the interpreter, Celery and our own modules
    "servers",  # S3 and Redis answer, and can do what is needed
    "imports",  # torch and transformers
    "weights",  # found, fetched, on the device
    "warmup",  # the model is checked, and the engine has its memory and its graphs
    "ready",  # decoders, leases; at its end it takes work
    "waits",  # for a first job
    "record",  # from that to its record
]
STAGES: tuple[Stage, ...] = get_args(Stage)
READY = STAGES.index("ready")
COLD = tuple(stage for stage in STAGES[: READY + 1] if stage != "servers")


class FirstCaption:
    """Stages end in their order, each once; what was passed over took no time of its own.
    Thread-safe.

    Args:
        age_s: of the process, now.
        clock: seconds.
    """

    def __init__(
        self, age_s: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._age_s, self._clock, self._lock = age_s, clock, threading.Lock()
        self._since = self._cold_s = 0.0
        self._next = 0
        self.cold_start_s: float | None = None
        """None: it does not take work yet."""

    def ended(self, stage: Stage) -> None:
        """Nothing, if it has ended before."""
        number = STAGES.index(stage)
        if number < self._next:  # mostly: each later caption says so, too
            return
        with self._lock:
            if number < self._next:
                return
            now = self._clock()
            if not self._next:
                self._since = now - self._age_s()
            took_s = now - self._since
            telemetry.FIRST_CAPTION.labels(stage).set(round(took_s, 3))
            if stage in COLD:
                self._cold_s += took_s
            if number == READY:
                self.cold_start_s = round(self._cold_s, 3)
            self._since, self._next = now, number + 1


first_caption = FirstCaption(seconds_since_start)
"""Of this process, as its metrics are."""
