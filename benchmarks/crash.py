"""A process that kills itself, as by `kill -9`, at a named point: `BENCH_CRASH=after_take:12`."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

_point, _, _count = os.environ.get("BENCH_CRASH", "").partition(":")
_left = int(_count or 0)
_lock = threading.Lock()


def passing(point: str) -> None:
    """Here the process may end."""
    global _left
    if point != _point:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def crash_before(owner: type, method: str, point: str) -> None:
    _wrap(owner, method, lambda call: (passing(point), call())[1])


def crash_after(owner: type, method: str, point: str) -> None:
    def run(call: Callable[[], Any]) -> Any:
        answer = call()
        if answer is not None:
            passing(point)
        return answer

    _wrap(owner, method, run)


def _wrap(owner: type, method: str, run: Callable[[Callable[[], Any]], Any]) -> None:
    original = getattr(owner, method)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run(lambda: original(self, *args, **kwargs))

    setattr(owner, method, wrapped)
