"""Free loopback ports."""

import socket
from collections.abc import Callable
from typing import TypeVar

from infra.local.processes import ProcessFailed

LOOPBACK = "127.0.0.1"
TRIES = 3

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def on_free_port(start: Callable[[int], T]) -> T:
    """Start a server on a free port, and on another one if somebody was faster.

    Raises:
        ProcessFailed: it does not start, for another reason or again and again.
    """
    for _ in range(TRIES - 1):
        try:
            return start(free_port())
        except ProcessFailed as error:
            if "address already in use" not in str(error).lower():
                raise
    return start(free_port())
