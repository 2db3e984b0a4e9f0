"""A backlog as it lies in the bucket: what it is, its videos in shards, and how far it is fed.

    <output>backlogs/<name>/manifest.json           what was asked for, and how far it is scanned
    <output>backlogs/<name>/shards/00000.jsonl.gz   10,000 videos, one in each line
    <output>backlogs/<name>/cursor.json             running, paused or cancelled; how far it is fed

Shards are written once; where a scan left one behind that the manifest does not count, the next one
takes another name. Manifest and cursor move by compare-and-swap, so two processes at once do no
harm. Knows nothing of Redis.
"""

import gzip
import re
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from pydantic import Field

from producer.backlog.terms import SpentSoFar, Terms
from shared.bucket.neighbours import prove_reads
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import M, T, fetch
from shared.bucket.swaps import swaps
from shared.errors import (
    BadMessage,
    Conflict,
    DamagedObject,
    Missing,
    StoreUnavailable,
    UsageError,
)
from shared.messages import Count, Message, Recipe, Video, decode
from shared.settings import CardName, Settings

SHARD_LINES = 10_000
"""A multiple of 8, for the bitmaps of progress."""

MOST_SHARD_BYTES = 128 << 20
"""Unpacked. That of the longest keys has 80 MB."""
GZIP = 16 + zlib.MAX_WBITS
"""The format, as zlib calls it."""

State = Literal["running", "paused", "cancelled"]


class Manifest(Message):
    v: int = 2
    name: str
    source: str
    recipe: Recipe
    card: CardName
    """The least class that may do it."""
    lines: int = 0
    """Videos in the shards that are there."""
    size_bytes: int = 0
    """Of these videos."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Entries of the source that are no work, by reason."""
    position: str = ""
    """Of the source: what comes after it is not scanned yet."""
    scanned: bool = False
    """Nothing comes after it."""
    created_at: datetime
    names: dict[int, str] = Field(default_factory=dict)
    """Of the shards that are not named by their number alone. Since version 2."""

    def as_json(self) -> bytes:
        """Where no shard has another name as version 1: whoever knows of none finds them all."""
        if self.v > 2:
            return self.model_dump_json(indent=2).encode()
        version, unknown = (2, set()) if self.names else (1, {"names"})
        older = self.model_copy(update={"v": version})
        return older.model_dump_json(indent=2, exclude=unknown).encode()

    def shard_name(self, number: int) -> str:
        return self.names.get(number, _shard_name(number))

    @property
    def shards(self) -> int:
        return (self.lines + SHARD_LINES - 1) // SHARD_LINES


class Cursor(Message):
    v: int = 3
    state: State = "running"
    fed: int = 0
    """Lines before this one were enqueued; maybe some after it."""
    updated_at: datetime
    terms: Terms | None = None
    """Since version 2, as what follows."""
    spent: SpentSoFar | None = None
    """As far as a feeder has summed it up, which it does where there is a budget."""
    why: Literal["", "budget", "costs"] = ""
    """Nothing more of it is fed though nobody has paused it: its budget is used up, or what it
    costs cannot be read."""
    again: Count = 0
    """Jobs that were sent again after they had failed, while it had terms. Since version 3."""

    def as_json(self) -> bytes:
        """Without terms as version 1: whoever knows none may feed it. With them it may not; nor
        may who does not know that jobs were sent again, where some were."""
        if self.v > 3:
            return self.model_dump_json(indent=2).encode()
        version, unknown = (3, set()) if self.again else (2, {"again"})
        if self.terms is None:
            version, unknown = 1, {"again", "terms", "spent", "why"}
        older = self.model_copy(update={"v": version})
        return older.model_dump_json(indent=2, exclude=unknown).encode()

    def unpaid(self, fed: int) -> int:
        """Of so many lines that are fed, and of what was sent again: jobs that no page tells of."""
        jobs = fed + self.again
        return self.spent.unpaid(jobs) if self.spent else jobs


class Backlog:
    """The files of one backlog. Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings, name: str) -> None:
        self.name = name
        self.created_at: datetime | None = None
        """Set where this process created it: there may be another one of the name by now."""
        self._store, self._bucket = store, settings.output_bucket
        self._folder = f"{settings.output_prefix}backlogs/{name}/"

    def create(self, manifest: Manifest, terms: Terms | None = None) -> None:
        """Raises UsageError: the name is taken, or is none."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", self.name):
            raise UsageError(
                f"{self.name!r} is no name of a backlog",
                cure="Use at most 63 lower case letters, digits, dots and hyphens.",
            )
        try:
            self._put("manifest.json", manifest, None)
        except Conflict as error:
            raise UsageError(
                f"there is a backlog {self.name} already",
                cure="Take another name; `jamak backlog list` shows them.",
            ) from error
        self.created_at = manifest.created_at
        if terms:
            self.agree(terms)
        else:
            self.cursor()

    def manifest(self) -> tuple[Manifest, str]:
        """With its ETag. Raises UsageError: there is no such backlog."""
        try:
            return self._read(Manifest, "manifest.json")
        except Missing as error:
            raise no_backlog(self.name) from error

    def save(self, manifest: Manifest, etag: str) -> str:
        """Raises Conflict: somebody else scans it too."""
        return self._put("manifest.json", manifest, etag)

    def cursor(self) -> tuple[Cursor, str]:
        """With its ETag. A backlog that is just being created has none yet, and gets one.

        Raises:
            UsageError: there is no such backlog.
        """
        for _ in swaps(f"s3://{self._bucket}/{self._folder}cursor.json"):
            try:
                return self._read(Cursor, "cursor.json")
            except Missing:
                self.manifest()  # what was deleted gets none
                with suppress(Conflict):
                    self._put("cursor.json", Cursor(updated_at=datetime.now(UTC)), None)
        raise AssertionError("the last swap returns or raises")

    def move(self, change: Callable[[Cursor], Cursor]) -> Cursor:
        """Change the cursor, whoever else does so at the same time."""
        for _ in swaps(f"s3://{self._bucket}/{self._folder}cursor.json"):
            cursor, etag = self.cursor()
            changed = change(cursor)
            if changed == cursor:
                return cursor
            try:
                self._put("cursor.json", changed, etag)
            except Conflict:
                continue
            return changed
        raise AssertionError("the last swap returns or raises")

    def advance(self, fed: int, free: int = 0) -> Cursor:
        """It is fed so far, at least; on the way so many more lines had ended already."""

        def change(cursor: Cursor) -> Cursor:
            spent = cursor.spent
            if spent and free:
                spent = spent.model_copy(update={"free": spent.free + free})
            return _moved(cursor, fed=max(cursor.fed, fed), spent=spent)

        return self.move(change)

    def agree(self, terms: Terms) -> Cursor:
        """By when, and for how much."""
        return self.move(lambda cursor: _moved(cursor, terms=terms or None))

    def send_again(self, jobs: int) -> Cursor:
        """So many of its jobs had failed, and are to be paid for once more."""
        return self.move(
            lambda cursor: _moved(cursor, again=cursor.again + jobs) if cursor.terms else cursor
        )

    def spend(self, spent: SpentSoFar) -> Cursor:
        """So much was spent on it. Nothing is written where only the time has changed."""

        def change(cursor: Cursor) -> Cursor:
            before, why = cursor.spent, "" if cursor.why == "costs" else cursor.why
            now = spent
            if before:
                now = spent.model_copy(update={"free": before.free})
                now = before if now.model_copy(update={"at": before.at}) == before else now
            return _moved(cursor, spent=now, why=why)

        return self.move(change)

    def run_out(self, judged: Terms) -> Cursor:
        """Its budget is used up, unless somebody has changed it or stopped it meanwhile."""

        def change(cursor: Cursor) -> Cursor:
            if cursor.state != "running" or cursor.terms != judged:
                return cursor
            return _moved(cursor, state="paused", why="budget")

        return self.move(change)

    def go_blind(self) -> Cursor:
        """What it costs cannot be read."""

        def change(cursor: Cursor) -> Cursor:
            blind = cursor.state == "running" and cursor.terms
            return _moved(cursor, why="costs") if blind else cursor

        return self.move(change)

    def turn(self, state: State) -> Cursor:
        """Raises UsageError: it was cancelled."""

        def change(cursor: Cursor) -> Cursor:
            if cursor.state == "cancelled" != state:
                raise UsageError(
                    f"{self.name} was cancelled",
                    cure="Start another backlog of the same source: what is captioned is skipped.",
                )
            return _moved(cursor, state=state, why="")

        return self.move(change)

    def delete(self) -> int:
        """All its files, the manifest first: from then on nobody finds it. How many there were.

        The cursor goes last: whoever holds the backlog still sees that it was cancelled.
        """
        ranks = {f"{self._folder}manifest.json": 0, f"{self._folder}cursor.json": 2}
        files = [file.key for file in self._store.list(self._bucket, self._folder)]
        for key in sorted(files, key=lambda key: ranks.get(key, 1)):
            self._store.delete(self._bucket, key)
        return len(files)

    def write_shard(self, number: int, videos: Sequence[Video]) -> str:
        """Beside what another scan has written, which may be the one that counts. Its name."""
        lines = (video.model_dump_json(exclude_none=True) for video in videos)
        body = gzip.compress("\n".join(lines).encode(), compresslevel=1, mtime=0)
        name = _shard_name(number)
        try:
            self._put_shard(name, body)
        except Conflict:
            name = f"{name}-{uuid.uuid4().hex[:8]}"
            self._put_shard(name, body)
        return name

    def shard(self, name: str) -> list[Video]:
        return self._had(self._shard(name), _videos_in)[0]

    def _put_shard(self, name: str, body: bytes) -> None:
        self._store.put(
            self._bucket,
            self._shard(name),
            body,
            content_type="application/gzip",
            if_none_match=True,
        )

    def _shard(self, name: str) -> str:
        return f"{self._folder}shards/{name}.jsonl.gz"

    def _read(self, kind: type[M], name: str) -> tuple[M, str]:
        return self._had(f"{self._folder}{name}", partial(decode, kind))

    def _had(self, key: str, parse: Callable[[bytes], T]) -> tuple[T, str]:
        """Raises DamagedObject: also where the store fails at this object, and not at others."""
        try:
            return fetch(self._store, self._bucket, key, parse)
        except StoreUnavailable as error:
            prove_reads(self._store, self._bucket, key)
            raise DamagedObject(str(error)) from error

    def _put(self, name: str, value: Manifest | Cursor, etag: str | None) -> str:
        return self._store.put(
            self._bucket,
            f"{self._folder}{name}",
            value.as_json(),
            content_type="application/json",
            if_none_match=etag is None,
            if_match=etag,
        )


def _shard_name(number: int) -> str:
    return f"{number:05}"


def _videos_in(shard: bytes) -> list[Video]:
    try:
        inflating = zlib.decompressobj(GZIP)
        lines = inflating.decompress(shard, MOST_SHARD_BYTES).split(b"\n")
        if not inflating.eof or inflating.unused_data:
            raise BadMessage(
                f"it is no shard of a backlog: it is cut, or has more than {MOST_SHARD_BYTES} bytes"
            )
        return [Video.model_validate_json(line) for line in lines]
    except (ValueError, zlib.error) as error:
        told = str(error).partition("\n")[0]
        raise BadMessage(f"it is no shard of a backlog: {told}") from error


def no_backlog(name: str) -> UsageError:
    return UsageError(f"there is no backlog {name}", cure="`jamak backlog list` shows them.")


def backlog_names(store: ObjectStore, settings: Settings) -> Iterator[str]:
    return store.folders(settings.output_bucket, f"{settings.output_prefix}backlogs/")


def new_name(kind: str) -> str:
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"


def _moved(cursor: Cursor, **changes: object) -> Cursor:
    moved = cursor.model_copy(update=changes)
    same = moved == cursor
    return cursor if same else moved.model_copy(update={"updated_at": datetime.now(UTC)})
