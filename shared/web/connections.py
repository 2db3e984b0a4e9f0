"""Connections to servers that nobody here knows: what they say ends in time, and where nobody has
named the host it has to be a public one.

Knows nothing of videos, and not which addresses are allowed.
"""

import http.client
import io
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from shared.errors import Forbidden

CONNECT_S, SILENT_S = 4.0, 10.0
CONNECTIONS = 96
"""At once, to S3 or to one other host, for all videos that a worker reads."""
TRIED_IPS = 4
"""Of one host, one after another."""
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that is meant."""

_ends_at: ContextVar[float] = ContextVar("ends_at")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The answer to a request of this thread is read for so long. Later it is cut off, and
    urllib3's TimeoutError raised, however lively it still is."""
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


class _Round:
    """Requests that end together."""

    def __init__(self) -> None:
        self._lock, self._sockets, self._over = threading.Lock(), set[socket.socket](), False

    def add(self, sock: socket.socket) -> None:
        """Raises TimeoutError: it is over."""
        with self._lock:
            if self._over:
                raise TimeoutError
            self._sockets.add(sock)

    def remove(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(sock)

    def end(self) -> None:
        with self._lock:
            self._over = True
            for sock in self._sockets:
                with suppress(OSError):  # it has ended by itself
                    # Beneath TLS: whoever reads from it is woken.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


_round: ContextVar[_Round | None] = ContextVar("round", default=None)


class HangUp:
    """Ends the requests that other threads have begun `covered` by it. Later ones are new."""

    def __init__(self) -> None:
        self._round = _Round()

    @contextmanager
    def covered(self) -> Iterator[None]:
        token = _round.set(self._round)
        try:
            yield
        finally:
            _round.reset(token)

    def now(self) -> None:
        ended, self._round = self._round, _Round()
        ended.end()


def servers(*, public: bool) -> urllib3.PoolManager:
    """Every request has to be made `within` a time.

    Args:
        public: other hosts raise Forbidden, before anything is sent to them. HTTPS only.
    """
    found = urllib3.PoolManager(
        maxsize=CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENT_S),
        retries=False,
    )
    found.pool_classes_by_scheme = {"https": _PublicPool} if public else _POOLS
    return found


def is_public(ip: str) -> bool:
    """Whether everybody's networks lead there, and not only ours."""
    found = ipaddress.ip_address(ip)
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        return found.is_global and found in _UNICAST and found.sixtofour is None
    return found.is_global and not found.is_multicast


class _InTime(io.RawIOBase):
    """What a socket gives until the time of its request is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._ends_at, self._round = sock, _ends_at.get(), _round.get()
        if self._round is not None:
            self._round.add(sock)
        self._file = sock.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """All that http.client asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left_s, SILENT_S))
        return self._file.readinto(buffer)

    def close(self) -> None:
        if self._round is not None:
            self._round.remove(self._sock)
        self._file.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_InTime(sock), *args, **kwargs)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        # urllib3 would log what is wrong with them, and the address, which may be a secret.
        self.headers.defects.clear()
        self.headers.set_payload("")


class _Http(HTTPConnection):
    response_class = _Answer


class _Https(HTTPSConnection):
    response_class = _Answer


class _PublicHttps(_Https):
    def _new_conn(self) -> socket.socket:
        """To the very addresses that were looked at: asked again, DNS could give others. The host
        keeps its name for the certificate."""
        host, failed = self.host, None
        try:
            for ip in self._public_ips()[:TRIED_IPS]:
                self.host = ip
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failed = error
        finally:
            self.host = host
        assert failed is not None
        raise failed

    def _public_ips(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self.host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        ips = list(dict.fromkeys(str(one[4][0]) for one in found))
        for ip in ips:
            if not is_public(ip):
                raise Forbidden(
                    f"{self.host} is at {ip}, which is no public address",
                    cure=f"If it may be read from, add its host to JAMAK_ADDRESSES: "
                    f"https://{self.host}/.",
                )
        return ips


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class _PublicPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PublicHttps


_POOLS = {"http": _HttpPool, "https": _HttpsPool}
