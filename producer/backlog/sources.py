"""Where the videos of a backlog come from: a prefix, an S3 Inventory, a list of keys, or what
their captions are.

Each source yields entries in an order that it keeps, with a position after which a scan can go on.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from producer.backlog.captioned import BEGINNING, Captioned, Kind
from producer.backlog.inventory import inventory_rows
from producer.uploads.events import is_video_key
from shared.bucket.keys import is_output, parse_uri
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.errors import ConfigError, Forbidden, Missing, NoSuchBucket, UsageError
from shared.messages import Video
from shared.settings import Settings

HEADS_AT_ONCE = 16


@dataclass(frozen=True)
class Entry:
    position: str
    """Of the source; `entries(after=position)` goes on behind it."""
    video: Video | None
    """None: it is no work."""
    skipped: str = ""
    """Why, in a word."""


class Source(Protocol):
    def entries(self, after: str = "") -> Iterator[Entry]: ...


def open_source(text: str, store: ObjectStore, settings: Settings) -> Source:
    """`s3://bucket/prefix`, `s3://…/manifest.json` of an S3 Inventory, a file of keys, or `-`; and
    what `Kind` writes.

    Raises:
        ConfigError: it is none of these.
    """
    if text.startswith(BEGINNING):
        return Views(Kind.of(text), store, settings)
    if text.startswith("s3://"):
        bucket, key = parse_uri(text, "SOURCE")
        if key.endswith("/manifest.json"):
            return Inventory(bucket, key, store, settings)
        return Prefix(bucket, key, store, settings)
    if text == "-" or Path(text).is_file():
        return KeyList(text, store, settings)
    raise UsageError(
        f"SOURCE: {text!r} is no source of videos",
        cure="Name s3://bucket/prefix, the manifest.json of an S3 Inventory, a file with an "
        "s3://bucket/key in each line, or - for standard input.",
    )


class Prefix:
    """All that a bucket lists under a prefix. The position is a key."""

    def __init__(self, bucket: str, prefix: str, store: ObjectStore, settings: Settings) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._store, self._settings = store, settings

    def entries(self, after: str = "") -> Iterator[Entry]:
        for info in self._store.list(self._bucket, self._prefix, after):
            why = unwanted(self._settings, info.bucket, info.key)
            yield Entry(info.key, None if why else video_of(info), why)


class Inventory:
    """The report of an S3 Inventory. The position is the number of rows before."""

    def __init__(self, bucket: str, key: str, store: ObjectStore, settings: Settings) -> None:
        self._bucket, self._key = bucket, key
        self._store, self._settings = store, settings

    def entries(self, after: str = "") -> Iterator[Entry]:
        rows = inventory_rows(self._store, self._bucket, self._key, int(after or 0))
        yield from _completed(
            self._store,
            (
                (
                    row.number,
                    row.bucket,
                    row.key,
                    row.etag,
                    row.size_bytes,
                    row.skipped or unwanted(self._settings, row.bucket, row.key),
                )
                for row in rows
            ),
        )


class KeyList:
    """A text with an `s3://bucket/key` in each line. The position is the number of lines before."""

    def __init__(self, path: str, store: ObjectStore, settings: Settings) -> None:
        self._path, self._store, self._settings = path, store, settings

    def entries(self, after: str = "") -> Iterator[Entry]:
        if after and self._path == "-":
            raise UsageError(
                "standard input is gone: it cannot be scanned further",
                cure="Start a backlog of the same keys again; what is captioned is skipped.",
            )
        yield from _completed(self._store, self._lines(int(after or 0)))

    def _lines(self, after: int) -> Iterator["Row"]:
        with ExitStack() as stack:
            opened = sys.stdin
            if self._path != "-":
                opened = stack.enter_context(Path(self._path).open(encoding="utf-8"))
            for number, line in enumerate(opened, 1):
                text = line.rstrip("\r\n")
                if number == 1:
                    text = text.removeprefix("\ufeff")  # Windows writes it
                if number <= after or not text:
                    continue
                try:
                    bucket, key = parse_uri(text)
                except ConfigError as error:
                    raise UsageError(
                        f"line {number} of {self._path}: {error}", cure=error.cure
                    ) from error
                yield number, bucket, key, None, None, unwanted(self._settings, bucket, key)


class Views:
    """Videos whose caption is of a kind. The position is that of a view."""

    def __init__(self, kind: Kind, store: ObjectStore, settings: Settings) -> None:
        self._captioned = Captioned(kind, store, settings)

    def entries(self, after: str = "") -> Iterator[Entry]:
        for one in self._captioned.seen(after):
            if one.unread:
                yield Entry(one.position, None, one.unread.reason)
            elif one.caption:
                video = None if one.lacks else one.caption.video
                yield Entry(one.position, video, one.lacks)


Row = tuple[int, str, str, str | None, int | None, str]
"""Number, bucket, key, ETag, size, why it is no work."""


def unwanted(settings: Settings, bucket: str, key: str) -> str:
    """Why this key is no work; empty: it is."""
    if is_output(settings, bucket, key):
        return "own_output"
    return "" if is_video_key(key, settings.video_suffixes) else "not_a_video"


def _completed(store: ObjectStore, rows: Iterator[Row]) -> Iterator[Entry]:
    """With the ETag and size of what has none; asked for many at a time."""

    def complete(row: Row) -> Entry:
        number, bucket, key, etag, size, why = row
        if why:
            return Entry(str(number), None, why)
        if etag and size is not None:
            return Entry(str(number), Video(bucket=bucket, key=key, etag=etag, size_bytes=size))
        try:
            return Entry(str(number), video_of(store.head(bucket, key)))
        except (Missing, NoSuchBucket, Forbidden) as error:
            return Entry(str(number), None, error.reason)

    with ThreadPoolExecutor(HEADS_AT_ONCE, thread_name_prefix="heads") as pool:
        while some := list(islice(rows, HEADS_AT_ONCE * 8)):
            yield from pool.map(complete, some)
