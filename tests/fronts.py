"""Stores of other dialects: a proxy in front of the real S3 API, which lies in one way each.

What the lies say was seen at real servers: docs/stores.md.
"""

import http.client
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path)

    def told(self, name: str) -> str:
        """A parameter of a listing."""
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True).get(name, [""])[0]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Truth = Callable[[Asked], Answer]
Lie = Callable[[Asked, Truth], Answer | None]
"""None: it hangs up without an answer."""

_OF_CONNECTIONS = {"connection", "transfer-encoding", "content-length"}


@contextmanager
def front(endpoint: str, lie: Lie, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a store that lies."""
    port = urlsplit(endpoint).port

    def truth(asked: Asked) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request(asked.method, asked.path, asked.body, asked.headers)
            found = connection.getresponse()
            headers = {k: v for k, v in found.getheaders() if k.lower() not in _OF_CONNECTIONS}
            if asked.method == "HEAD":
                headers["Content-Length"] = found.getheader("Content-Length", "0")
            return Answer(found.status, headers, found.read())
        finally:
            connection.close()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            if self.headers.get("Expect") == "100-continue":
                del self.headers["Expect"]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = lie(Asked(self.command, self.path, dict(self.headers), body), truth)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """The client may hang up at any time."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        server.shutdown()


def no(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


def takes_etags_without_quotes(asked: Asked, truth: Truth) -> Answer:
    """Ceph RGW 16, at a PUT."""
    if asked.method == "PUT" and asked.headers.get("If-Match", "").startswith('"'):
        return no(412, "PreconditionFailed")
    if asked.method == "PUT" and "If-Match" in asked.headers:
        asked.headers["If-Match"] = f'"{asked.headers["If-Match"]}"'
    return truth(asked)


def refuses_trailers(asked: Asked, truth: Truth) -> Answer:
    """Ceph RGW 16, over TLS."""
    if "aws-chunked" in asked.headers.get("Content-Encoding", ""):
        return no(411, "MissingContentLength")
    return truth(asked)


def has_short_segments(asked: Asked, truth: Truth) -> Answer:
    """SeaweedFS, MinIO: names of files."""
    if asked.method == "PUT" and max(len(one.encode()) for one in asked.key.split("/")) > 255:
        return no(400, "KeyTooLongError")
    return truth(asked)


def lists_folder_by_folder(asked: Asked, truth: Truth) -> Answer:
    """SeaweedFS: `a/b` comes before `a-b`, also behind what a page starts after."""
    size, after = asked.told("max-keys"), asked.told("start-after")
    token = asked.told("continuation-token")
    if "list-type=2" not in asked.path or asked.told("delimiter"):
        return truth(asked)
    bucket = urlsplit(asked.path).path
    asked.path = f"{bucket}?list-type=2&prefix={quote(asked.told('prefix'))}"
    asked.path += "&encoding-type=url"
    answer = truth(asked)
    whole = answer.body.decode()

    def place(item: str) -> str:
        found = re.search("<Key>(.*?)</Key>", item)
        return unquote(found[1] if found else "").replace("/", "\0")

    items = sorted(re.findall("<Contents>.*?</Contents>", whole, re.DOTALL), key=place)
    behind = (unquote(token) or after).replace("/", "\0")
    page = [item for item in items if place(item) > behind]
    more = len(page) > int(size)
    page = page[: int(size)]
    body = re.sub("<Contents>.*</Contents>", "", whole, flags=re.DOTALL)
    body = re.sub("<IsTruncated>.*?</IsTruncated>", "", body)
    told = "".join(page) + f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    if more:
        last = quote(place(page[-1]).replace("\0", "/"))
        told += f"<NextContinuationToken>{last}</NextContinuationToken>"
    answer.body = body.replace("</ListBucketResult>", told + "</ListBucketResult>").encode()
    return answer


def skips_the_folder(asked: Asked, truth: Truth) -> Answer:
    """SeaweedFS: what starts after `a` lacks `a/b`. Here in the order of S3."""
    answer, after = truth(asked), asked.told("start-after")
    if after:
        inside = f"<Contents><Key>{re.escape(quote(after))}/[^<]*</Key>.*?</Contents>"
        answer.body = re.sub(inside, "", answer.body.decode(), flags=re.DOTALL).encode()
    return answer


def ignores(header: str, *methods: str) -> Lie:
    """rclone, LocalBucket, s3rver; Ceph RGW in a bucket that keeps versions."""

    def lie(asked: Asked, truth: Truth) -> Answer:
        if asked.method in methods:
            asked.headers.pop(header, None)
        return truth(asked)

    return lie


class LosesAnswers:
    """It does what it is told, and then hangs up; so often."""

    def __init__(self, times: int = 0) -> None:
        self.left = times
        self.then: Callable[[], None] = lambda: None
        """What happens before it is asked again."""

    def __call__(self, asked: Asked, truth: Truth) -> Answer | None:
        answer = truth(asked)
        if asked.method == "PUT" and self.left and answer.status == 200:
            self.left -= 1
            self.then()
            return None
        return answer
