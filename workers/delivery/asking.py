"""Asks again and again whether what is wrong is over; each question by a thread of its own.

The threads are there from the start, for a machine that is sick may start none. A question whose
answer takes long keeps only its own thread; where there are more questions than threads, those that
are due wait for the next free one. Knows nothing of what is asked.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_LOOK_S, LONGEST_LOOK_S = 1.0, 5.0
"""Until it is asked first, and between two answers at most; each time twice as long."""


@dataclass(eq=False)
class Question:
    over: Callable[[], object]
    then: Callable[[], object]
    still: Callable[[Exception], object]
    since: float
    look_at: float


class Asking:
    """Thread-safe.

    Args:
        threads: how many questions may be asked at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._waiting: list[Question] = []
        self._changed = threading.Condition()
        self._stopped = False

    def start(self) -> None:
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="asking", daemon=True).start()

    def stop(self) -> None:
        """Nobody asks any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def until(
        self,
        over: Callable[[], object],
        then: Callable[[], object],
        still: Callable[[Exception], object],
    ) -> None:
        """Ask until it is over.

        Args:
            over: raises for as long as it is not; may mend something first.
            then: called once it is.
            still: called with what `over` raised.
        """
        now = time.monotonic()
        with self._changed:
            self._waiting.append(Question(over, then, still, now, now + FIRST_LOOK_S))
            self._changed.notify_all()

    def _work(self) -> None:
        while (question := self._next()) is not None:
            try:
                question.over()
            except Exception as error:
                question.still(error)
                now = time.monotonic()
                question.look_at = now + min(now - question.since, LONGEST_LOOK_S)
                with self._changed:
                    self._waiting.append(question)
                    self._changed.notify_all()
            else:
                question.then()

    def _next(self) -> Question | None:
        """The one that is due first, when it is; None: nobody asks any more."""
        with self._changed:
            while not self._stopped:
                first = min(self._waiting, key=lambda one: one.look_at, default=None)
                wait_s = None if first is None else first.look_at - time.monotonic()
                if first is not None and wait_s is not None and wait_s <= 0:
                    self._waiting.remove(first)
                    return first
                self._changed.wait(wait_s)
        return None
