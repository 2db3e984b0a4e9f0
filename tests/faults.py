"""A store whose answers a test makes sick: the requests are real, and some are answered for it."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSResponse

from shared.bucket.storage import ObjectStore

Fault = Callable[[str, str, str], tuple[int, str] | None]
"""Method, bucket and key (empty: a listing) -> status and code, or None for the true answer."""


class RawBody:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


class SickStore(ObjectStore):
    def __init__(self) -> None:
        super().__init__(tries=1)
        self.client.checksums_work = True  # no other client is tried, past the faults
        self.fault: Fault = lambda method, bucket, key: None
        self.asked: list[tuple[str, str, str]] = []
        self.client.s3.meta.events.register("before-send.s3", self._answer)

    def _answer(self, request: Any, **_: Any) -> Any:
        bucket, _, key = unquote(urlsplit(request.url).path).lstrip("/").partition("/")
        self.asked.append((request.method, bucket, key))
        sick = self.fault(request.method, bucket, key)
        if sick is None:
            return None
        status, code = sick
        body = "" if request.method == "HEAD" else f"<Error><Code>{code}</Code></Error>"
        return AWSResponse(request.url, status, {}, RawBody(body.encode()))
