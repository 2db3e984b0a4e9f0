"""The one seam through which work says that it moves: `progress.tick(stage)`.

Each stage of a caption ticks at least when it starts; long ones tick as they go on. Whoever
watches a job (a lease, a watchdog, the timings in its record) reads it here and nowhere else.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.errors import TooSlow

Pulse = tuple[int, ...]


@dataclass
class Stage:
    """Of a job; by the clock of its progress."""

    name: str
    began: float
    ended: float
    seconds: float = 0.0
    """In it. A job may leave a stage and come back to it."""


class Progress:
    """Counts the ticks of one job, and the seconds that each stage took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self.stage = "start"
        self._count = 0
        self._ahead: Progress | None = None
        self._waits_since: float | None = None
        self._alive_until = float("-inf")
        self._stop: Exception | None = None
        self.ends_at: float | None = None
        """By the clock; a tick after it raises TooSlow."""
        self.before_stage: Callable[[], None] = lambda: None
        """Called when the stage is about to change."""
        self._stages: dict[str, Stage] = {}

    def tick(self, stage: str) -> None:
        """Raises what `stop` was given; TooSlow after the deadline."""
        self.check()
        self._end_wait()
        if self.ends_at is not None and self._clock() > self.ends_at:
            raise TooSlow(f"not done in time: {stage} would begin now", stages=self.timings_s())
        self._count += 1
        self._ahead = None
        if stage != self.stage:
            self.before_stage()
            self._settle()
            self.stage = stage

    def wait_for(self, ahead: "Progress", stage: str = "wait") -> None:
        """Until the next tick this job is as alive as what it waits for."""
        self.tick(stage)
        self._ahead, self._waits_since = ahead, self._clock()

    @contextmanager
    def alive_for(self, seconds: float) -> Iterator[None]:
        """In the block, and for so long at most, it moves whatever happens: something about it is
        looked into, here or by another thread that it waits for."""
        self._alive_until = self._clock() + seconds
        try:
            yield
        finally:
            self._alive_until = float("-inf")

    def _end_wait(self) -> None:
        """What it waited for others is none of its own time."""
        if self._waits_since is not None and self.ends_at is not None:
            self.ends_at += self._clock() - self._waits_since
        self._waits_since = None

    def stop(self, error: Exception) -> None:
        """From another thread: the job ends at its next tick."""
        self._stop = error

    def check(self) -> None:
        """Raises what `stop` was given. No sign of life."""
        if self._stop is not None:
            raise self._stop

    @property
    def pulse(self) -> Pulse:
        """Changes with every tick: while it changes, the job is alive."""
        ahead, now = self._ahead, self._clock()
        beats = (int(now * 1000),) if now < self._alive_until else ()
        return (self._count, *(ahead.pulse if ahead else ()), *beats)

    def timings_s(self) -> dict[str, float]:
        """Stage -> seconds so far, in the order in which the stages began."""
        return {one.name: round(one.seconds, 4) for one in self.stages()}

    def stages(self) -> list[Stage]:
        """So far, in the order in which they began."""
        self._settle()
        return list(self._stages.values())

    def _settle(self) -> None:
        now = self._clock()
        if self.stage != "start":
            stage = self._stages.get(self.stage)
            if stage is None:
                stage = self._stages[self.stage] = Stage(self.stage, self._since, now)
            stage.seconds += now - self._since
            stage.ended = now
        self._since = now
