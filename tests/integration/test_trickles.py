"""A store that is slow without end: each request ends in time, and leaves nothing behind.

The time of the waits is told by the server of the test, so that nobody has to wait for it.
"""

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from producer.uploads.sqs import reaching_sqs, sqs_client
from shared.bucket import pace
from shared.bucket.storage import ObjectStore
from shared.errors import QueueUnavailable, StoreUnavailable
from tests.tls import make_certificate
from tests.waiting import wait_until
from tests.web import Request, reply, serving

pytestmark = pytest.mark.integration

MANY = 1 << 20
BLOCK = 64 << 10
OK = b"HTTP/1.1 200 OK\r\n"
OBJECT = b'ETag: "0"\r\nContent-Length: %d\r\n\r\n' % MANY
PART = b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-%d/%d\r\n" % (MANY - 1, MANY)
CHECKED = b"x-amz-checksum-crc32: AAAAAA==\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Clock:
    """In the place of `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace, "time", found)
    return found


def receive() -> None:
    sqs = sqs_client(tries=1)
    url = f"{sqs.meta.endpoint_url}/1/uploads"
    with reaching_sqs(sqs, url):
        sqs.receive_message(QueueUrl=url)


ASKED: dict[str, tuple[bytes, bytes, Callable[[ObjectStore, Path], object]]] = {
    "get": (OK + OBJECT, b"x", lambda store, _: store.get("b", "k")),
    "checked": (OK + CHECKED + OBJECT, b"x", lambda store, _: store.get("b", "k")),
    "range": (PART + OBJECT, b"x", lambda store, _: store.get_range("b", "k", 0, MANY)),
    "file": (OK + OBJECT, b"x", lambda store, folder: store.download("b", "k", folder / "k")),
    "list": (OK + CHUNKED, b"1\r\nx\r\n", lambda store, _: next(store.list("b", ""), None)),
    "error": (b"HTTP/1.1 403 No\r\n\r\n", b"x", lambda store, _: store.get("b", "k")),
    "header": (OK + b"X-Slow: ", b"x", lambda store, _: store.get("b", "k")),
    "head": (OK + b"X-Slow: ", b"x", lambda store, _: store.head("b", "k")),
    "put": (OK + b"X-Slow: ", b"x", lambda store, _: store.put("b", "k", b"x")),
    "queue": (OK + OBJECT, b"x", lambda store, _: receive()),
}
"""How an answer begins and goes on, and who asks for it."""


def held() -> set[object]:
    """Threads, and connections that are open on our side or on the server's. Those of other tests
    may end meanwhile."""
    connections = psutil.Process().net_connections("tcp")
    return {*threading.enumerate(), *((one.laddr, one.raddr) for one in connections)}


@pytest.mark.parametrize(("what", "secure"), [*((what, False) for what in ASKED), ("get", True)])
def test_no_answer_lasts_as_long_as_its_server_likes(
    what: str,
    secure: bool,
    clock: Clock,
    aws: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begins, goes_on, ask = ASKED[what]
    context = None
    if secure:
        certificate, key = make_certificate(tmp_path)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    def trickle(request: Request) -> None:
        request.close_connection = True
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.wfile.write(begins)
        for _ in range(1000):
            request.wfile.write(goes_on)
            time.sleep(0.01)
            clock.now += 1

    with serving(trickle, context) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web)
        store, before = ObjectStore(tries=1), held()
        with pytest.raises((StoreUnavailable, QueueUnavailable), match="too slow"):
            ask(store, tmp_path)
        assert clock.now < 200
        wait_until(lambda: held() <= before, 5, "the end of what it took")


def test_no_store_takes_a_file_as_slowly_as_it_likes(
    clock: Clock, aws: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_slowly(request: Request) -> None:
        request.close_connection = True
        while request.rfile.read(BLOCK):
            time.sleep(0.01)
            clock.now += 20

    path = tmp_path / "weights"
    path.write_bytes(bytes(7 << 20))  # more than lies on its way
    with serving(take_slowly) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web)
        store, before = ObjectStore(tries=1), held()
        with pytest.raises(StoreUnavailable, match="too slow"):
            store.upload(path, "b", "k")
        wait_until(lambda: held() <= before, 5, "the end of what it took")


def test_what_is_left_of_the_time_is_waited_for_and_no_more(
    clock: Clock, aws: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def fall_silent(request: Request) -> None:
        request.close_connection = True
        request.wfile.write(OK + OBJECT)
        time.sleep(0.1)
        clock.now += 9.9
        request.wfile.write(b"x")
        over.wait(60)

    with serving(fall_silent) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web)
        with pytest.raises(StoreUnavailable, match="too slow"):
            ObjectStore(tries=1).get("b", "k")
        over.set()


def test_a_slow_store_that_brings_enough_is_waited_for(
    clock: Clock, aws: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody is hurried who uses what came."""
    body = bytes(8 * 10 * BLOCK)

    def bring(request: Request) -> None:
        reply(request, 206, Content_Length=str(len(body)), ETag='"0"')
        for _ in range(8):
            time.sleep(0.02)
            clock.now += 5
            request.wfile.write(body[: 10 * BLOCK])

    with serving(bring) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web)
        store = ObjectStore(tries=1)
        assert store.get_range("b", "k", 0, len(body)) == body
        assert clock.now == 40
        came = store.client.s3.get_object(Bucket="b", Key="k")["Body"]
        first = came.read(1)
        clock.now += 1000
        assert first + came.read() == body
