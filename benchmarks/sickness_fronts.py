"""What stands between a fleet and its servers, so that they can be made to answer wrongly.

A front passes everything on until it is told otherwise. Knows nothing of who is behind it.
"""

import http.client
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from infra.local.ports import LOOPBACK

CHUNK = 65536
LOOK_S = 0.02
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


class TcpFront:
    """Before Redis. Passes bytes on to `target`, a port, which may change: connections that are
    open stay with the server that they have.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def hush(self) -> None:
        """Bytes are taken and kept, as by a network that has gone; no connection ends."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """All connections end."""
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.flow()
        self.cut()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = socket.create_connection((LOOPBACK, self.target))
        except OSError:
            client.close()
            return
        self._open |= {client, server}
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._flowing.wait()
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open -= {source, target}
        source.close()


class Asked:
    """One request to S3 or SQS, and what may be done about it."""

    def __init__(self, handler: BaseHTTPRequestHandler, target: int, written: list[str]) -> None:
        self._handler, self._target, self._written = handler, target, written
        self.method = handler.command
        path = unquote(urlsplit(handler.path).path).lstrip("/")
        self.bucket, _, self.key = path.partition("/")
        self.of_sqs = "AmazonSQS" in handler.headers.get("X-Amz-Target", "")
        length = int(handler.headers.get("Content-Length") or 0)
        self._body = handler.rfile.read(length)

    def answer(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Of the server behind: status, headers, body."""
        connection = http.client.HTTPConnection(LOOPBACK, self._target, timeout=60)
        try:
            headers = {k: v for k, v in self._handler.headers.items() if k.lower() != "expect"}
            connection.request(self.method, self._handler.path, self._body, headers)
            told = connection.getresponse()
            if self.method == "PUT" and told.status == http.HTTPStatus.OK:
                self._written.append(f"{self.bucket}/{self.key}")
            return told.status, told.getheaders(), told.read()
        finally:
            connection.close()

    def pass_on(self) -> None:
        self.reply(*self.answer())

    def refuse(self, status: int, code: str) -> None:
        """As S3 and SQS refuse; HEAD has no body."""
        if self.of_sqs:
            body = f'{{"__type": "{code}", "message": "{code}"}}'
        else:
            body = (
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
            )
        self.reply(status, [("Content-Type", "application/xml")], body.encode())

    def reply(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        told: int | None = None,
        pace: Callable[[], None] | None = None,
    ) -> None:
        """Args:
        told: the length that is announced, if it is not that of the body.
        pace: called before each piece of 64 bytes.
        """
        handler = self._handler
        handler.send_response_only(status)
        length = len(body) if told is None else told
        for name, value in headers:
            if name.lower() == "content-length" and self.method == "HEAD":
                length = int(value)
            elif name.lower() not in HOP_BY_HOP | {"content-length"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if self.method == "HEAD":
            return
        if pace is None:
            handler.wfile.write(body)
        else:
            for at in range(0, len(body), 64):
                pace()
                handler.wfile.write(body[at : at + 64])
        if length > len(body):
            self.drop()

    def drop(self) -> None:
        """The connection ends without a further byte."""
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)


Rule = Callable[[Asked], bool]
"""True: it has answered, or ended the connection."""


class HttpFront:
    """Before S3 and SQS. Each rule that is set is asked in turn; what none answers is passed on."""

    def __init__(self, target: int) -> None:
        self.rules: list[Rule] = []
        self.written: list[str] = []
        """Bucket and key of each object that the store took, as often as it took it."""
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                asked = Asked(self, target, front.written)
                if not any(rule(asked) for rule in list(front.rules)):
                    asked.pass_on()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        self._server = _Quiet((LOOPBACK, 0), Handler)
        self.port = int(self._server.server_port)
        threading.Thread(target=self._server.serve_forever, args=(LOOK_S,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client may hang up at any time."""


# Rules.


def refusing(status: int, code: str, wanted: Callable[[Asked], bool]) -> Rule:
    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        asked.refuse(status, code)
        return True

    return rule


def dropping(wanted: Callable[[Asked], bool]) -> Rule:
    """Nothing is done, nothing is answered."""

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        asked.drop()
        return True

    return rule


def losing_answers(wanted: Callable[[Asked], bool]) -> Rule:
    """It is done, and nobody hears of it."""

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        asked.answer()
        asked.drop()
        return True

    return rule


def silent(ended: threading.Event, wanted: Callable[[Asked], bool]) -> Rule:
    """No byte comes until it has ended; then the connection is closed."""

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        ended.wait()
        asked.drop()
        return True

    return rule


def page(wanted: Callable[[Asked], bool]) -> Rule:
    """What a login page of a network answers, whatever is asked."""
    body = b"<!DOCTYPE html><html><body><h1>Please sign in</h1></body></html>"

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        asked.reply(200, [("Content-Type", "text/html")], body)
        return True

    return rule


def cutting(wanted: Callable[[Asked], bool]) -> Rule:
    """Half of each body, and the connection ends."""

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        status, headers, body = asked.answer()
        asked.reply(status, headers, body[: len(body) // 2], told=len(body))
        return True

    return rule


def trickling(ended: threading.Event, wanted: Callable[[Asked], bool]) -> Rule:
    """A few bytes a second."""

    def rule(asked: Asked) -> bool:
        if not wanted(asked):
            return False
        status, headers, body = asked.answer()
        asked.reply(status, headers, body, pace=lambda: ended.wait(0.5))  # type: ignore[arg-type, return-value]
        return True

    return rule


def mangling(wanted: Callable[[Asked], bool]) -> Rule:
    """Every other body has a byte that is wrong."""
    dice = random.Random(2026)  # noqa: S311

    def rule(asked: Asked) -> bool:
        if not wanted(asked) or dice.random() < 0.5:
            return False
        status, headers, body = asked.answer()
        if status == http.HTTPStatus.OK and body:
            at = dice.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 0x80]) + body[at + 1 :]
        asked.reply(status, headers, body)
        return True

    return rule
