"""A web server of a test: it answers what the test wants it to."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Request = BaseHTTPRequestHandler
Answer = Callable[[Request], None]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """The client may hang up at any time."""


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its address, `http://127.0.0.1:port`; connections stay open from one request to the next."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with _Quiet(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        server.shutdown()


def reply(request: Request, status: int, body: bytes = b"", **headers: str | None) -> None:
    """`Content_Range="..."` is a header; None leaves it out."""
    request.send_response(status)
    given = {"Content_Length": str(len(body)), **headers}
    for name, value in given.items():
        if value is not None:
            request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def asked(request: Request) -> tuple[int, int]:
    """The range, its end not included."""
    first, last = request.headers["Range"].removeprefix("bytes=").split("-")
    return int(first), int(last) + 1


def send_range(request: Request, content: bytes, **headers: str | None) -> None:
    """As an honest server does."""
    start, end = asked(request)
    body = content[start:end]
    told = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
    reply(request, 206, body, **{"Content_Range": told, "ETag": '"one"', **headers})
