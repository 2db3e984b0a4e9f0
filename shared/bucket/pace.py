"""How slowly S3 and SQS may answer, and take what they are sent: a server that trickles is one that
is down.

boto3 waits for every next byte anew, so an answer of which one byte comes each second lasts as long
as its server likes. Here the waits of one answer are added up, and those of one request that is
sent. The server's time counts, and not that of whoever uses what came.

Knows nothing of buckets and keys.
"""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from shared.unreachable import Trickle
from shared.web.ranged import LEAST_BYTES_PER_S


def keep_pace() -> None:
    """From now on all boto3 clients of this process wait no longer than that."""
    AWSHTTPConnectionPool.ConnectionCls = _Http
    AWSHTTPSConnectionPool.ConnectionCls = _Https


class _Pace:
    """Of one answer, or of one request: it may take as long as its server may be silent, and as
    long again as its bytes need at the least rate."""

    def __init__(self, silent_s: float | None) -> None:
        self._left_s = silent_s or 0.0

    @contextmanager
    def waiting(self, sock: Any) -> Iterator[None]:
        """Raises Trickle."""
        silent_s = sock.gettimeout()
        if silent_s is None:  # for ever, as whoever made the client wanted it
            yield
            return
        if self._left_s <= 0:
            raise Trickle
        sock.settimeout(min(self._left_s, silent_s))
        began = time.monotonic()
        try:
            yield
        except TimeoutError as error:
            if self._left_s < silent_s:
                raise Trickle from error
            raise
        finally:
            self._left_s -= time.monotonic() - began
            sock.settimeout(silent_s)

    def add(self, count: int) -> None:
        self._left_s += count / LEAST_BYTES_PER_S


class _Answer(io.RawIOBase):
    """All that http.client asks of the socket that it reads an answer from."""

    def __init__(self, sock: Any) -> None:
        self._sock, self._pace = sock, _Pace(sock.gettimeout())
        self._file = sock.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._pace.waiting(self._sock):
            count = self._file.readinto(buffer) or 0
        self._pace.add(count)
        return int(count)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Paced:
    """A connection of botocore's whose bytes come and go in time."""

    sock: Any
    response_class: Any
    connect: Any
    _sent: _Pace | None = None

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        self._sent = None
        super().putrequest(*args, **kwargs)  # type: ignore[misc]

    def send(self, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        if self._sent is None:
            self._sent = _Pace(self.sock.gettimeout())
        with self._sent.waiting(self.sock):
            super().send(data)  # type: ignore[misc]
        self._sent.add(len(data))

    def getresponse(self) -> Any:
        made = self.response_class
        self.response_class = lambda sock, *args, **more: made(_Answer(sock), *args, **more)
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            self.response_class = made


class _Http(_Paced, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Https(_Paced, AWSHTTPSConnection):  # type: ignore[misc]
    pass
