"""The media of a training set as a training would find them: each is opened, and the frames of each
part are decoded. What cannot be read is told, and does not hold up the others.

Knows nothing of texts and models, but the size of the pictures.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from shared.errors import BadData, Reject
from shared.rows import Row
from workers.data.folder import Found
from workers.progress import Progress
from workers.train.media import sample_of
from workers.video.pool import DecoderPool
from workers.video.shape import Shape
from workers.video.source import Source

READ_BYTES = 8 << 20
"""At once, of what is read as a whole."""


@dataclass(frozen=True)
class Seen:
    size_bytes: int
    seconds: float
    width: int
    height: int
    codec: str


@dataclass
class Media:
    seen: dict[str, Seen] = field(default_factory=dict)
    """By URI, as far as they can be opened."""
    unreadable: dict[str, Reject] = field(default_factory=dict)
    """By key: a video may be whole but for one part."""
    frames: dict[str, int] = field(default_factory=dict)
    """By key, as many as a training would get."""
    contents: dict[str, str] = field(default_factory=dict)
    """By URI, a name of the bytes. Two are compared where they have the same size."""


def look_at(
    rows: Sequence[Row],
    find: Callable[[str], Found],
    decoders: DecoderPool,
    *,
    frames: int,
    shape: Shape,
    on_look: Callable[[int, int], None] = lambda done, total: None,
) -> Media:
    """Args:
        find: a URI as the manifest has it -> where its bytes are; raises Reject.
        frames: of each medium, at most.
        on_look: called with (files done, files in all).

    Raises:
        StoreUnavailable, OutOfResources, ConfigError: that is no medium's fault.
    """
    media, found = Media(), {}
    files: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        files[row.media.uri].setdefault(row.media.key, row)

    def look(uri: str) -> None:
        try:
            found[uri] = find(uri)
            _check_digest(files[uri].values(), found[uri].source)
            _decode(files[uri], found[uri].source, decoders, media, frames, shape)
        except Reject as error:
            for key in files[uri]:
                media.unreadable.setdefault(key, error)

    with ThreadPoolExecutor(decoders.size) as pool:
        for done, _ in enumerate(pool.map(look, files), start=1):
            on_look(done, len(files))
    media.contents.update(_contents(found))
    return media


def _decode(
    rows: Mapping[str, Row],
    source: Source,
    decoders: DecoderPool,
    media: Media,
    frames: int,
    shape: Shape,
) -> None:
    """Args:
    rows: of one file, the first of each part.
    """
    first = next(iter(rows.values()))
    source = replace(source, still=bool(first.images))
    with decoders.open(source, Progress(), frames) as video:
        info = video.info
        media.seen[first.media.uri] = Seen(
            source.size_bytes, info.duration_s, info.width, info.height, info.codec
        )
        for key, row in rows.items():
            try:
                media.frames[key] = len(sample_of(row, video, frames, shape).frames)
            except Reject as error:
                media.unreadable[key] = error


def _check_digest(rows: Iterable[Row], source: Source) -> None:
    """Raises BadData: it is not the file that the manifest means."""
    wanted = next((row.media.sha256 for row in rows if row.media.sha256), None)
    if wanted and (found := digest(source)) != wanted:
        raise BadData(
            f"{source.name} is not the file that the manifest means: its SHA-256 is {found}",
            cure="Write the new SHA-256 into the manifest, or bring the old video back.",
        )


def digest(source: Source) -> str:
    """SHA-256 of all of it."""
    made = hashlib.sha256()
    for start in range(0, source.size_bytes, READ_BYTES):
        made.update(source.fetch(start, min(start + READ_BYTES, source.size_bytes)))
    return made.hexdigest()


def _contents(found: Mapping[str, Found]) -> dict[str, str]:
    """Only files of one size can be the same. Of these, one ETag tells that they are; two ETags
    tell nothing, for they depend on how a file was uploaded."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for uri, one in found.items():
        by_size[one.source.size_bytes].append(uri)
    contents: dict[str, str] = {}
    for size, uris in by_size.items():
        if len({found[uri].etag or uri for uri in uris}) == 1:
            contents.update(dict.fromkeys(uris, f"{size} {uris[0]}"))
            continue
        for uri in uris:
            contents[uri] = digest(found[uri].source)
    return contents
