"""Captions as a data set: one file for each ten thousand videos, instead of ten million objects.

An export that was cut goes on where it ended: `_export.json` beside the parts says what is there. A
part that lacked captions then is made again.
"""

import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

from producer.backlog.manifest import SHARD_LINES, Backlog
from producer.bucket.captions import caption_in, views_under
from shared.bucket.keys import parse_uri
from shared.bucket.records import Records
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import JamakError, Missing
from shared.messages import Caption, CaptionJob
from shared.settings import Settings

Format = Literal["jsonl", "parquet"]

READS_AT_ONCE = 32
STATE = "_export.json"
EMPTY = {"id": "", "captions": 0}


class Target(Protocol):
    """A folder to write into."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, body: bytes) -> None: ...


@dataclass(frozen=True)
class LocalTarget:
    folder: Path

    def read(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def write(self, name: str, body: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{name}"
        part.write_bytes(body)
        part.rename(self.folder / name)


@dataclass(frozen=True)
class BucketTarget:
    store: ObjectStore
    bucket: str
    prefix: str

    def read(self, name: str) -> bytes | None:
        try:
            return self.store.get(self.bucket, self.prefix + name)
        except Missing:
            return None

    def write(self, name: str, body: bytes) -> None:
        self.store.put(self.bucket, self.prefix + name, body)


def target_of(text: str, store: ObjectStore) -> Target:
    """`s3://bucket/prefix/` or a local folder."""
    if not text.startswith("s3://"):
        return LocalTarget(Path(text))
    bucket, prefix = parse_uri(text, "--to")
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    return BucketTarget(store, bucket, prefix)


@dataclass
class Exported:
    parts: int = 0
    """Written now."""
    kept: int = 0
    """There already."""
    emptied: int = 0
    """Of an earlier export of more videos."""
    captions: int = 0
    """In all of them."""
    videos: int = 0
    unread: list[str] = field(default_factory=list)
    """What cannot be read, and why: the parts have the rest."""


@dataclass(frozen=True)
class Part:
    """The captions of some videos, and how to read them."""

    id: str
    """What they are: the same id means the same videos."""
    videos: int
    read: Callable[[], Iterator["Read"]]


Read = Caption | JamakError | None
"""A caption; why it cannot be read; or there is none."""


def export(
    parts: Iterator[Part],
    target: Target,
    form: Format,
    on_part: Callable[[Exported], None] = lambda told: None,
) -> Exported:
    """Write what is not there yet.

    Raises:
        ModuleNotFoundError: Parquet without pyarrow.
    """
    told = Exported()
    ending = {"jsonl": ".jsonl.gz", "parquet": ".parquet"}[form]
    names = set()
    state = json.loads(target.read(STATE) or b"{}")
    for number, part in enumerate(parts):
        name = f"part-{number:05}{ending}"
        names.add(name)
        captions = state.get(name, {}).get("captions")
        if state.get(name) == {"id": part.id, "captions": part.videos}:
            told.kept += 1
        else:
            found = list(part.read())
            told.unread += [str(one) for one in found if isinstance(one, JamakError)]
            found_captions = [one for one in found if isinstance(one, Caption)]
            captions = len(found_captions)
            target.write(name, _WRITERS[form](found_captions))
            state[name] = {"id": part.id, "captions": captions}
            target.write(STATE, json.dumps(state, indent=1).encode())
            told.parts += 1
        told.captions += captions
        told.videos += part.videos
        on_part(told)
    # There were more videos before: what these hold is in the parts before them, or was deleted.
    # Emptied and not deleted: who exports may write there, and no more.
    left = [
        name
        for name, there in state.items()
        if name.endswith(ending) and name not in names and there != EMPTY
    ]
    for name in left:
        target.write(name, _WRITERS[form]([]))
        state[name] = EMPTY
        target.write(STATE, json.dumps(state, indent=1).encode())
    told.emptied = len(left)
    return told


def backlog_parts(store: ObjectStore, settings: Settings, name: str) -> Iterator[Part]:
    """A part for each shard: the captions by the backlog's recipe."""
    backlog = Backlog(store, settings, name)
    manifest, _ = backlog.manifest()
    records = Records(store, settings)

    def read(number: int) -> Iterator[Read]:
        videos = backlog.shard(manifest.shard_name(number))
        jobs = [CaptionJob(video=video, recipe=manifest.recipe) for video in videos]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="export") as pool:
            yield from pool.map(lambda job: _or_why_not(lambda: records.find(job)), jobs)

    # Another backlog of the name has other captions.
    which = f"{name} {manifest.created_at.isoformat()} {manifest.recipe.id}"
    for number in range(manifest.shards):
        videos = min(SHARD_LINES, manifest.lines - number * SHARD_LINES)
        yield Part(f"{which}/{number}", videos, lambda number=number: read(number))  # type: ignore[misc]


def prefix_parts(
    store: ObjectStore, settings: Settings, bucket: str, prefix: str
) -> Iterator[Part]:
    """The newest caption of each video under a prefix, as its view shows it."""

    def read(views: Sequence[ObjectInfo]) -> Iterator[Read]:
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="export") as pool:
            yield from pool.map(one, views)

    def one(view: ObjectInfo) -> Read:
        return _or_why_not(lambda: caption_in(store, view))

    views = views_under(store, settings, bucket, prefix)
    while some := list(islice(views, SHARD_LINES)):
        newest = max(view.last_modified for view in some)
        what = f"{some[0].key} … {some[-1].key} {newest.isoformat()}"
        yield Part(what, len(some), lambda some=some: read(some))  # type: ignore[misc]


def _or_why_not(read: Callable[[], Caption | None]) -> Read:
    """One that cannot be read does not keep the others."""
    try:
        return read()
    except UNREADABLE as error:
        return error


def _jsonl(captions: list[Caption]) -> bytes:
    lines = (caption.model_dump_json() for caption in captions)
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def _parquet(captions: list[Caption]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float64()
    moment = pyarrow.timestamp("us", tz="UTC")
    schema = pyarrow.schema(
        [
            ("bucket", text),
            ("key", text),
            ("etag", text),
            ("size_bytes", pyarrow.int64()),
            ("last_modified", moment),
            ("text", text),
            ("status", text),
            ("flags", pyarrow.list_(text)),
            ("duration_s", number),
            ("timestamps_s", pyarrow.list_(number)),
            ("model", text),
            ("revision", text),
            ("adapter", text),
            ("card", text),
            ("recipe_id", text),
            ("created_at", moment),
        ]
    )
    rows = [
        {
            "bucket": caption.video.bucket,
            "key": caption.video.key,
            "etag": caption.video.etag,
            "size_bytes": caption.video.size_bytes,
            "last_modified": caption.last_modified,
            "text": caption.text,
            "status": caption.status,
            "flags": list(caption.flags),
            "duration_s": caption.duration_s,
            "timestamps_s": list(caption.frames.timestamps_s),
            "model": caption.model.id,
            "revision": caption.model.revision,
            "adapter": caption.adapter.version if caption.adapter else None,
            "card": caption.card.name,
            "recipe_id": caption.recipe_id,
            "created_at": caption.created_at,
        }
        for caption in captions
    ]
    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), written)
    return written.getvalue()


_WRITERS: dict[Format, Callable[[list[Caption]], bytes]] = {"jsonl": _jsonl, "parquet": _parquet}
