"""A webhook that says what a test wants, and keeps what it was sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Sent = tuple[dict[str, str], bytes]
"""Headers, by their names in small letters, and the body."""


class Hook:
    """Args:
    answer: the status of each request, by what was sent.
    """

    def __init__(self, answer: Callable[[Sent], int]) -> None:
        self.got: list[Sent] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # as http.server calls it
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = {name.lower(): value for name, value in self.headers.items()}, body
                hook.got.append(sent)
                self.send_response(hook.answer(sent))
                self.send_header("Location", hook.address)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/hook?token=secret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def hook(answer: Callable[[Sent], int] = lambda sent: 204) -> Iterator[Hook]:
    made = Hook(answer)
    yield made
    made.close()
