"""A process that is asked to end hears it at once, whatever it is waiting for.

Python runs a signal's handler in the main thread, between two steps of it: while that thread looks
up a name or loads a model, the process is deaf. So a thread of its own hears SIGTERM and SIGINT,
and does nothing else: the second signal ends the process, whatever the first one waits for. Knows
nothing of what is in hand.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType

ASKED = (signal.SIGTERM, signal.SIGINT)
GRACE_S = 1.0
"""For what a process does last: what waits for longer has nothing to lose."""


def on_signal(
    react: Callable[[int], None],
    interrupt: Callable[[int], None] = lambda number: None,
    again_s: float = 0.0,
) -> None:
    """From now on, in place of what was to be done before. Called in the main thread.

    A signal that comes at the same time is told to the one or to the other, and never to nobody.

    Args:
        react: called in a thread of its own, for each signal after the other.
        interrupt: called in the main thread, as soon as that gets to it; may raise.
        again_s: so long after the second signal the process is gone, whatever `react` waits for: a
            Redis that is silent, or a reader of its log.
    """
    listener = _listener()
    listener.react, listener.interrupt, listener.again_s = react, interrupt, again_s
    listener.take_over()


class _Listener:
    """One pipe and two threads, for as long as the process lives."""

    def __init__(self) -> None:
        self.react: Callable[[int], None] = lambda number: None
        self.interrupt: Callable[[int], None] = lambda number: None
        self.again_s = 0.0
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        for work, *of in ((self._listen, heard), (self._react,)):
            threading.Thread(target=work, args=of, name="signals", daemon=True).start()

    def take_over(self) -> None:
        for number in ASKED:
            signal.signal(number, self._handle)
        signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.interrupt(number)

    def _listen(self, heard: int) -> None:
        asked = False
        while numbers := os.read(heard, 64):
            for number in numbers:
                # Somebody else may have taken this signal over since.
                if number in ASKED and signal.getsignal(number) == self._handle:
                    self._numbers.put(number)
                    if asked:
                        time.sleep(self.again_s)
                        os._exit(128 + number)
                    asked = True

    def _react(self) -> None:
        while True:
            number = self._numbers.get()
            self.react(number)


@cache
def _listener() -> _Listener:
    return _Listener()


def end_on_signal(stop: Callable[[], float]) -> Callable[[], bool]:
    """For a process that may be killed at any moment: it ends in time, with exit code 0; after
    SIGINT, which a person sends, with 130.

    Args:
        stop: asks everything to end by itself, and says for how many seconds it may.

    Returns:
        Whether it was SIGINT, to be asked at the end.
    """
    heard: list[int] = []

    def react(number: int) -> None:
        heard.append(number)
        time.sleep(stop())
        os._exit(128 + number if number == signal.SIGINT else 0)

    on_signal(react)
    return lambda: signal.SIGINT in heard


def end_as_first_process() -> None:
    """What the kernel does for every process but the first one of a container, which is deaf to
    SIGTERM until it has a handler. Before the imports that take time; whoever has something to do
    at the end takes over.
    """
    if os.getpid() == 1:
        on_signal(lambda number: os._exit(128 + number))


def interrupt_on_signal() -> None:
    """For a command: what it does is interrupted, and has GRACE_S to tidy up."""

    def react(number: int) -> None:
        time.sleep(GRACE_S)
        os._exit(128 + number)

    def interrupt(number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    on_signal(react, interrupt)
