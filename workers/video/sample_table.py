"""What an MP4's or MOV's own index says of when each frame is decoded, and how much later shown.

FFmpeg reads it too, but PyAV tells only when frames are decoded. A file is a tree of boxes, each
with its size and a name of four letters before its content; the index is the box `moov`
(ISO/IEC 14496-12). Nothing in it is believed: sizes are checked, and no more is read than there are
frames for. Knows nothing of FFmpeg.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDEX = b"moov"
MOST_BOXES = 1024
"""In one box: tracks, mostly. Files have a dozen."""
HEADER, LONG_HEADER = 8, 16
TO_THE_END, LONG = 0, 1
"""Sizes that mean something else."""
RUN = np.dtype([("count", ">u4"), ("value", ">u4")])
MOST_TICKS = 1 << 28
"""Beyond that, FFmpeg does not believe by how much later a frame is shown."""
NO_MEDIA = -1
"""An edit in which nothing is shown yet."""

Box = tuple[bytes, int, int]
"""Its name, and where its content begins and ends, by its own word."""


@dataclass(frozen=True)
class SampleTable:
    """Arrays of (frames,), in the order of decoding, in ticks of the track."""

    durations: NDArray[np.int64]
    """From when one is decoded until the next one is."""
    offsets: NDArray[np.int64]
    """From when one is decoded until it is shown; of all, the same may be missing."""
    reorders: bool
    """It says how frames are shown in another order; else `offsets` is of zeros."""


def index_is_cut(file: Any) -> bool:
    """Whether the file ends within its index."""
    size = file.seek(0, SEEK_END)
    return any(end > size for name, _, end in _boxes(file, 0, size) if name == INDEX)


def read(file: Any, track: int, frames: int, tick: Callable[[], None]) -> SampleTable | None:
    """None: there is none, or not of so many frames; frames also come in fragments, which are not
    in it; or some are left out or shown twice, by edits.

    Args:
        track: its id.
        tick: called for each track; may raise.
    """
    size = file.seek(0, SEEK_END)
    index = _child(file, (b"", 0, size), INDEX)
    if index is None or index[2] > size or _child(file, index, b"mvex"):
        return None
    for box in _boxes(file, *index[1:]):
        tick()
        if box[0] == b"trak" and _track_id(file, box) == track:
            return None if _is_edited(file, box) else _read(file, box, frames)
    return None


def _read(file: Any, track: Box, frames: int) -> SampleTable | None:
    table = _child(file, track, b"mdia", b"minf", b"stbl")
    times = _child(file, table, b"stts") if table else None
    durations = _runs(file, times, frames) if times else None
    if table is None or durations is None:
        return None
    order = _child(file, table, b"ctts")
    if order is None:
        return SampleTable(durations, np.zeros(frames, np.int64), reorders=False)
    offsets = _runs(file, order, frames)
    if offsets is None:
        return None
    # Those of the first version are not negative, but are written so all the same.
    offsets = offsets.astype(np.uint32).view(np.int32).astype(np.int64)
    if (np.abs(offsets) > MOST_TICKS).any():
        return None
    return SampleTable(durations, offsets, reorders=True)


def _runs(file: Any, box: Box, frames: int) -> NDArray[np.int64] | None:
    """A value for each frame, from a table of how many frames in a row have the same one."""
    _, start, end = box
    count = struct.unpack(">4xI", head)[0] if (head := _bytes(file, start, 8)) else 0
    if not 0 < count <= frames or start + 8 + count * RUN.itemsize > end:
        return None
    content = _bytes(file, start + 8, count * RUN.itemsize)
    runs = np.frombuffer(content, RUN)
    counts = runs["count"].astype(np.int64)
    if len(runs) != count or counts.sum() != frames:
        return None
    return np.repeat(runs["value"].astype(np.int64), counts)


def _track_id(file: Any, track: Box) -> int | None:
    header = _child(file, track, b"tkhd")
    version = _bytes(file, header[1], 1) if header else b""
    # After two times, of 4 bytes each or of 8.
    content = _bytes(file, header[1] + (20 if version == b"\1" else 12), 4) if header else b""
    return int.from_bytes(content, "big") if content else None


def _is_edited(file: Any, track: Box) -> bool:
    """By more than where it begins."""
    edits = _child(file, track, b"edts", b"elst")
    if edits is None:
        return False
    head = _bytes(file, edits[1], 8)
    if not head:
        return True
    form = struct.Struct(">QqI" if head[0] == 1 else ">IiI")
    count = int.from_bytes(head[4:], "big")
    content = _bytes(file, edits[1] + 8, count * form.size) if count <= MOST_BOXES else b""
    media = [begin for _, begin, _ in form.iter_unpack(content)]
    return len(media) != count or sum(begin != NO_MEDIA for begin in media) > 1


def _child(file: Any, box: Box, *path: bytes) -> Box | None:
    """The first of such a name in it; of several names, one in the other."""
    for name in path:
        found = next((one for one in _boxes(file, *box[1:]) if one[0] == name), None)
        if found is None:
            return None
        box = found
    return box


def _boxes(file: Any, start: int, end: int) -> Iterator[Box]:
    return islice(_all_boxes(file, start, end), MOST_BOXES)


def _all_boxes(file: Any, start: int, end: int) -> Iterator[Box]:
    while start + HEADER <= end and (head := _bytes(file, start, HEADER)):
        size, name = struct.unpack(">I4s", head)
        header = HEADER
        if size == LONG:
            size, header = int.from_bytes(_bytes(file, start + HEADER, 8), "big"), LONG_HEADER
        elif size == TO_THE_END:
            size = end - start
        if size < header:
            return
        yield name, start + header, start + size
        start += size


def _bytes(file: Any, start: int, size: int) -> bytes:
    """Empty: they are not there."""
    file.seek(start)
    content = bytes(file.read(size))
    return content if len(content) == size else b""
