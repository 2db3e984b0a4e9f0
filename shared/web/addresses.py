"""Videos that are in no bucket: behind an HTTPS address, presigned or public, or files here.

Read by ranges and pinned to one content, as objects of the store are. Knows nothing of captions.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.allowed import Allowed
from shared.bucket.keys import place_of
from shared.bucket.storage import ObjectInfo
from shared.errors import EmptyFile, Forbidden, Missing
from shared.web.connections import servers
from shared.web.ranged import Piece, ask, changed, mark_of


class Addresses:
    """Safe to share between threads.

    Args:
        allowed: as JAMAK_ADDRESSES.

    Raises:
        ConfigError: one of these is no address.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = Allowed(allowed)
        self._named, self._others = servers(public=False), servers(public=True)

    def head(self, address: str, *, etag: str | None = None) -> ObjectInfo:
        """What is there; with `etag`, that content or none. Its bucket and its key do not open it:
        messages and records do not repeat a presigned address.

        Raises:
            Missing, Forbidden, StoreUnavailable, EmptyFile, TooLarge.
            NoRanges: the server gives all or nothing.
            Overwritten: the content is not the one asked for.
        """
        found = self._read(address, 0, 1, etag)
        bucket, key = place_of(address)
        return ObjectInfo(bucket, key, found.mark, found.size_bytes, found.modified)

    def get_range(self, address: str, start: int, end: int, etag: str) -> bytes:
        """The bytes from `start` to `end`, which is not included. Raises as `head`."""
        return self._read(address, start, end, etag).body

    def _read(self, address: str, start: int, end: int, etag: str | None) -> Piece:
        plain, named = self._allowed.check(address)
        if not plain.startswith("file://"):
            return ask(self._named if named else self._others, address, plain, start, end, etag)
        piece = _piece(Path(plain.removeprefix("file://")), start, end)
        if etag is not None and piece.mark != etag:
            raise changed(plain)
        return piece


def _piece(path: Path, start: int, end: int) -> Piece:
    try:
        if not path.is_file():
            raise Missing(f"{path}: there is no such file")
        with path.open("rb") as file:
            body = os.pread(file.fileno(), end - start, start)
            stat = os.fstat(file.fileno())
    except PermissionError as error:
        raise Forbidden(f"{path} cannot be read", cure="Let the worker's user read it.") from error
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}") from error
    if stat.st_size == 0:
        raise EmptyFile(f"{path} has 0 bytes", size_bytes=0)
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return Piece(body, mark_of(stat.st_mtime_ns), stat.st_size, modified)
