"""How fast a training is, and how much is left of it: from when its words arrive."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW = 33
"""Steps between whose words the pace is taken."""


class Pace:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[tuple[float, int, int]] = deque(maxlen=WINDOW)
        """When, which, and the tokens of all so far."""
        self._steps_in_all = self._tokens = 0
        self._before: tuple[float, float] | None = None
        """First and last word about the captions before, which take as long as those after."""
        self._after_s = 0.0

    def hear(self, event: dict[str, Any]) -> None:
        now = self._clock()
        if event["stage"] == "before":
            self._before = (self._before[0] if self._before else now, now)
        if event["stage"] == "train":
            self._tokens += event.get("tokens", 0)
            self._steps_in_all = event["steps"]
            self._steps.append((now, event["step"], self._tokens))

    def goes_on(self, after_s: float) -> None:
        """From a checkpoint: an earlier try made the captions before, in so many seconds."""
        self._after_s = after_s

    @property
    def after_s(self) -> float:
        """That the captions afterwards take, as those before did."""
        return self._before[1] - self._before[0] if self._before else self._after_s

    @property
    def tokens_per_s(self) -> float | None:
        if len(self._steps) < 2:
            return None
        (began, _, had), (now, _, have) = self._steps[0], self._steps[-1]
        return (have - had) / (now - began) if now > began and have > had else None

    @property
    def seconds_left(self) -> float | None:
        """From now on."""
        if len(self._steps) < 2:
            return None
        (began, first, _), (now, last, _) = self._steps[0], self._steps[-1]
        each_s = (now - began) / (last - first) if last > first else 0.0
        left_s = (self._steps_in_all - last) * each_s + self.after_s
        return max(0.0, left_s - (self._clock() - now))
