"""Ctrl-C, SIGTERM and a closed terminal end a program of ours in the same orderly way."""

import signal
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_in_order() -> None:
    """The first of these signals raises SystemExit, so that all that is open is closed.

    Further ones are ignored: the stop is bounded, and one that is cut short leaves things behind.
    """
    for number in STOPPING:
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for other in STOPPING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)
