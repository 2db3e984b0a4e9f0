"""What servers answer to a request for a range, honest ones and others."""

import gzip
import logging
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import (
    EmptyFile,
    Forbidden,
    JamakError,
    Missing,
    NoRanges,
    Overwritten,
    StoreUnavailable,
    TooLarge,
)
from shared.web import ranged
from shared.web.addresses import Addresses
from shared.web.connections import HangUp
from tests.tls import make_certificate
from tests.web import Answer, Request, asked, reply, send_range, serving

CONTENT = bytes(range(256)) * 40


def first(told: str, **headers: str | None) -> Answer:
    """The first byte, about which the server tells something."""
    return lambda request: reply(request, 206, b"x", Content_Range=told, **headers)


def status(code: int, body: bytes = b"", **headers: str | None) -> Answer:
    return lambda request: reply(request, code, body, **headers)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (first("bytes 0-9/10240"), NoRanges),
        (first("bytes 0-0/*"), NoRanges),
        (first("bytes */*"), NoRanges),
        (first("bytes 0-0/many"), NoRanges),
        (first("bytes 0-0/0"), NoRanges),
        (first("0-0/10"), NoRanges),
        (first(f"bytes 0-0/{2**62}"), TooLarge),
        (first(f"bytes 0-0/{10**20}"), TooLarge),
        (first(f"bytes 0-0/{'9' * 5000}"), NoRanges),
        (first("bytes 0-0/10", Content_Encoding="gzip"), NoRanges),
        (status(206, b"x"), NoRanges),
        (status(200, CONTENT), NoRanges),
        (status(200), EmptyFile),
        (status(416, Content_Range="bytes */0"), EmptyFile),
        (status(416), EmptyFile),
        (status(416, Content_Range="bytes */9"), NoRanges),
        (status(400), NoRanges),
        (status(403), Forbidden),
        (status(404), Missing),
        (status(302, Location="/b.mp4"), Missing),
        *((status(code), StoreUnavailable) for code in (408, 425, 429, 500, 503)),
    ],
)
def test_each_answer_has_its_error(answer: Answer, error: type[JamakError]) -> None:
    with serving(answer) as web, pytest.raises(error) as caught:
        Addresses((web,)).head(f"{web}/a.mp4")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has ...</Message>"),
        (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
    ],
)
def test_who_comes_too_late_is_told_to_presign_again(code: int, body: bytes) -> None:
    with (
        serving(status(code, body)) as web,
        pytest.raises(Forbidden, match="has expired") as caught,
    ):
        Addresses((web,)).head(f"{web}/a.mp4")
    assert "Presign it again" in caught.value.cure


def test_an_address_is_not_logged_whatever_a_server_says(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/10\r\nno header\r\n\r\nx")
        request.close_connection = True

    caplog.set_level(logging.WARNING)
    with serving(answer) as web:
        Addresses((web,)).head(f"{web}/a.mp4?X-Amz-Signature=secret")
    assert "secret" not in caplog.text


def test_only_the_bytes_that_were_asked_for_are_taken() -> None:
    def other(request: Request) -> None:
        reply(request, 206, CONTENT[:10], Content_Range="bytes 0-9/10240", ETag='"one"')

    with serving(other) as web, pytest.raises(NoRanges, match="asked for bytes 500-509"):
        Addresses((web,)).get_range(f"{web}/a.mp4", 500, 510, "one")


@pytest.mark.parametrize("compressed", [True, False])
def test_no_more_is_held_than_was_asked_for(compressed: bool) -> None:
    body = gzip.compress(bytes(64 << 20)) if compressed else bytes(64 << 20)
    encoding = "gzip" if compressed else None

    def answer(request: Request) -> None:
        told = {"Content_Range": "bytes 0-0/10", "Content_Encoding": encoding}
        reply(request, 206, body, **told, Content_Length=None, Connection="close")

    with serving(answer) as web:
        addresses = Addresses((web,))
        tracemalloc.start()
        with pytest.raises(NoRanges):
            addresses.head(f"{web}/a.mp4")
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert held < 8 << 20


def test_a_body_that_ends_too_early_is_asked_for_again() -> None:
    def cut(request: Request) -> None:
        reply(request, 206, b"12", Content_Range="bytes 0-4/10", Content_Length=None, ETag='"one"')
        request.close_connection = True

    with serving(cut) as web, pytest.raises(StoreUnavailable, match="2 bytes came of 5"):
        Addresses((web,)).get_range(f"{web}/a.mp4", 0, 5, "one")


OK = b"HTTP/1.1 206 OK\r\n"


@pytest.mark.parametrize(
    ("head", "then", "pause_s"),
    [
        (OK + b"X-Slow: ", b"x", 0.05),
        (OK + b"Content-Range: bytes 0-999/1000\r\nETag: one\r\n\r\n", b"x", 0.05),
        (b"HTTP/1.1 403 No\r\n\r\n", b"x", 0.05),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        (b"", b"", 0.05),
    ],
    ids=["header", "body", "error", "continue", "silence"],
)
def test_no_server_holds_anybody_for_ever(
    head: bytes, then: bytes, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(request: Request) -> None:
        request.wfile.write(head)
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            request.wfile.write(then)
            time.sleep(pause_s)

    monkeypatch.setattr(ranged, "ANSWER_S", 0.5)
    with serving(go_on) as web:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            Addresses((web,)).get_range(f"{web}/a.mp4", 0, 1000, "one")
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("secure", [False, True])
def test_requests_end_when_somebody_hangs_up(
    secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, though the server goes on; the next ones are answered."""
    context, begun = None, threading.Event()
    if secure:
        certificate, key = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    def answer(request: Request) -> None:
        if asked(request)[0] == 0:
            send_range(request, CONTENT)
            return
        request.wfile.write(OK + b"Content-Range: bytes 9-999/1000\r\nETag: one\r\n\r\nx")
        begun.set()
        over.wait(20)

    hang_up, over = HangUp(), threading.Event()
    with serving(answer, context) as web, ThreadPoolExecutor(2) as threads:
        addresses = Addresses((web,))

        def read(start: int, end: int) -> bytes:
            with hang_up.covered():
                return addresses.get_range(f"{web}/a.mp4", start, end, "one")

        held = threads.submit(read, 9, 1000)
        assert begun.wait(10)
        hang_up.now()
        with pytest.raises(StoreUnavailable):
            held.result(5)
        assert threads.submit(read, 0, 9).result(5) == CONTENT[:9]
        over.set()


@pytest.fixture
def seoul(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Seoul")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("code", [302, 404, 403, 416, 500, 206, 200])
def test_the_request_after_an_error_is_answered(code: int) -> None:
    def answer(request: Request) -> None:
        if request.path == "/good.mp4":
            send_range(request, CONTENT)
        else:
            reply(request, code, b"not what was asked for" * 1000)

    with serving(answer) as web:
        addresses = Addresses((web,))
        for _ in range(3):
            with pytest.raises(JamakError):
                addresses.head(f"{web}/bad.mp4")
            assert addresses.get_range(f"{web}/good.mp4", 3, 9, "one") == CONTENT[3:9]


def test_a_connection_is_kept_from_one_good_answer_to_the_next() -> None:
    seen = set()

    def answer(request: Request) -> None:
        seen.add(request.client_address)
        send_range(request, CONTENT)

    with serving(answer) as web:
        addresses = Addresses((web,))
        for start in range(5):
            addresses.get_range(f"{web}/a.mp4", start, start + 100, "one")
    assert len(seen) == 1


@pytest.mark.usefixtures("seoul")
@pytest.mark.parametrize(
    ("told", "date"),
    [
        ("Tue, 01 Sep 2026 10:00:00 GMT", datetime(2026, 9, 1, 10, tzinfo=UTC)),
        ("Tue, 01 Sep 2026 10:00:00 -0000", datetime(2026, 9, 1, 10, tzinfo=UTC)),
        ("Tue, 01 Sep 2026 10:00:00 +0900", datetime(2026, 9, 1, 1, tzinfo=UTC)),
        ("yesterday", None),
        ("Tue, 41 Sep 2026 10:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("Tue, 01 Sep 99999 10:00:00 +99999999", None),
    ],
)
def test_a_date_is_in_utc_or_none_is_told(told: str, date: datetime | None) -> None:
    with serving(first("bytes 0-0/10", Last_Modified=told)) as web:
        found = Addresses((web,)).head(f"{web}/a.mp4").last_modified
    if date is None:
        assert abs((datetime.now(UTC) - found).total_seconds()) < 60
    else:
        assert (found, found.utcoffset()) == (date, date.utcoffset())


@pytest.mark.parametrize("now", [b"another", CONTENT[:4], b""])
def test_who_changes_meanwhile_is_found_out(now: bytes) -> None:
    """Also where so many bytes are not there any more."""

    def answer(request: Request) -> None:
        if len(now) > 5:
            send_range(request, now, ETag='"two"')
        elif now:
            reply(request, 206, now[3:], Content_Range="bytes 3-3/4", ETag='"two"')
        else:
            reply(request, 416, Content_Range="bytes */0")

    with serving(answer) as web, pytest.raises(Overwritten) as caught:
        Addresses((web,)).get_range(f"{web}/a.mp4", 3, 6, "one")
    assert "Enqueue it again" in caught.value.cure
