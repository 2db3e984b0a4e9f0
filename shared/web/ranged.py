"""One request for a range of a file, and what servers answer to it: no more is held than was asked
for, and nothing is believed that they say.

Knows nothing of which addresses are allowed.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3

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
from shared.web.connections import within

ANSWER_S, LEAST_BYTES_PER_S = 15.0, 64 << 10
"""An answer may take so long, and as long again as its bytes need at the least rate: 143 s for
8 MB. One byte has to come before a lease is lost."""
MAX_BYTES = 5 << 40
"""Of a video. A sparse file of this size fits any file system, and no video is larger."""
SAID_BYTES = 4096
"""That are read of what a server says about an error."""
_RANGE = re.compile(r"bytes ([0-9]{1,40})-([0-9]{1,40})/([0-9]{1,40})")


@dataclass(frozen=True)
class Piece:
    """A range of a file, and what is known of all of it."""

    body: bytes
    mark: str
    """Another content has another one."""
    size_bytes: int
    modified: datetime


def ask(
    servers: urllib3.PoolManager,
    address: str,
    name: str,
    start: int,
    end: int,
    mark: str | None = None,
) -> Piece:
    """The bytes from `start` to `end`, which is not included.

    Args:
        name: what messages call the address.
        mark: only of this content.

    Raises:
        Missing, Forbidden, EmptyFile, TooLarge.
        StoreUnavailable: it does not answer, or not in time.
        NoRanges: it gives all or nothing, or other bytes.
        Overwritten: the content has another mark.
    """
    try:
        with within(ANSWER_S + (end - start) / LEAST_BYTES_PER_S):
            answer = servers.request(
                "GET",
                address,
                headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                return _piece(name, answer, start, end, mark)
            finally:
                # What is left unread would be taken for the next answer.
                answer.close()
                answer.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise _unavailable(f"{name}: {type(error).__name__}") from error


def mark_of(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def changed(name: str) -> Overwritten:
    """What is in no bucket has no event for its newer content, and no job."""
    return Overwritten(
        f"{name} is no longer what it was",
        cure="Enqueue it again. If that does not help, its server gives one file several ETags: "
        "copy the video into a bucket.",
    )


def _piece(
    name: str, answer: urllib3.BaseHTTPResponse, start: int, end: int, mark: str | None
) -> Piece:
    if answer.status != 206:
        raise _refusal(name, answer, mark)
    encoding = answer.headers.get("Content-Encoding", "identity")
    told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if encoding != "identity" or told is None:
        raise NoRanges(f"{name}: the server does not say which bytes it sends, and of how many")
    first, last, size = (int(number) for number in told.groups())
    if size > MAX_BYTES:
        raise TooLarge(
            f"{name} has {size} bytes, says its server",
            cure=f"Look at the server: nothing above {MAX_BYTES} bytes is read.",
            size_bytes=size,
        )
    date = answer.headers.get("Last-Modified", "")
    etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
    found = etag or mark_of(date, told[3])
    if mark is not None and found != mark:
        raise changed(name)
    if (first, last) != (start, end - 1) or size < end:
        raise NoRanges(f"{name}: the server was asked for bytes {start}-{end - 1}, sends {told[0]}")
    body = answer.read(end - start + 1)
    if len(body) > end - start:
        raise NoRanges(
            f"{name}: the server sends more than the {end - start} bytes it was asked for"
        )
    if len(body) < end - start:
        raise _unavailable(f"{name}: {len(body)} bytes came of {end - start}")
    return Piece(body, found, size, _moment(date))


def _refusal(name: str, answer: urllib3.BaseHTTPResponse, mark: str | None) -> JamakError:
    status, headers = answer.status, answer.headers
    if status == 416 and mark is not None:
        return changed(name)
    ends_at_once = status == 416 and headers.get("Content-Range", "bytes */0") == "bytes */0"
    if ends_at_once or (status == 200 and headers.get("Content-Length") == "0"):
        return EmptyFile(f"{name} has 0 bytes", size_bytes=0)
    if status in (404, 410):
        return Missing(
            f"{name} does not exist ({status})",
            cure="Check the address, and that the video is still there.",
        )
    if status in (400, 401, 403) and b"xpired" in answer.read(SAID_BYTES):
        return Forbidden(
            f"{name}: the address has expired ({status})",
            cure="Presign it again, for longer, and enqueue the new address.",
        )
    if status in (401, 403):
        return Forbidden(
            f"{name}: access denied ({status})",
            cure="A presigned address may have expired: enqueue it again with a new one.",
        )
    if status in (408, 425, 429) or status >= 500:
        return _unavailable(f"{name}: {status}")
    if 300 <= status < 400:
        return Missing(f"{name} is somewhere else", cure="Give the address that it redirects to.")
    return NoRanges(f"{name}: the server answers a request for a range with {status}")


def _unavailable(message: str) -> StoreUnavailable:
    return StoreUnavailable(message, cure="Check that the server answers, and that it is not slow.")


def _moment(told: str) -> datetime:
    """Now, where a server tells no date that is one."""
    try:
        found = parsedate_to_datetime(told)
        # RFC 5322: -0000 is UTC, from a place that does not matter.
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return datetime.now(UTC)
