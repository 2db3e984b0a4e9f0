"""What an AVI says beside its pictures: which recordings are in it, and for how long the last
picture of the first one stays.

FFmpeg reads on where another file was put behind the first, and does not say so; and it leaves out
the empty places of frames that were dropped. Only headers and indexes are read here.
"""

import struct
from collections.abc import Callable, Iterator

import numpy as np

from workers.video.told_size import ANYTHING, AVI

Read = Callable[[int, int], bytes]
"""`read(place, size)`: less at the end of the file."""
MANY = 4096
"""Chunks that are looked at: one file has a few, and one a gigabyte."""
CONTINUED = b"AVIX"
"""What a file of more than a gigabyte goes on with (OpenDML)."""
INDEX = np.dtype(
    [("stream", "S2"), ("kind", "S2"), ("flags", "<u4"), ("at", "<u4"), ("size", "<u4")]
)
ENTRIES = 1 << 16
"""Read at once."""
NO_FRAMES = (b"pc", b"ix")
"""Kinds of chunks of a stream: a palette, and an index."""
HEADERS = 1 << 20
"""Bytes, at most."""
SUPER_INDEX = struct.Struct("<4sIHBBI2s2s12x")
SUPER_ENTRY = struct.Struct("<QII")
INDEX_OF_INDEXES = 0


def recordings(read: Read) -> list[int]:
    """Where each begins, in bytes."""
    return [at for at, _, continues in _riffs(read) if not continues]


def told_end(read: Read) -> int | None:
    """Bytes of the file, as all that is in it says; None: it does not."""
    return max((end for _, end, _ in _riffs(read)), default=None)


def _riffs(read: Read) -> Iterator[tuple[int, int, bool]]:
    """Where each begins and says that it ends, and whether it goes on with the one before."""
    at = 0
    for _ in range(MANY):
        head = read(at, 12)
        if head[:4] != AVI or head[8:11] != b"AVI" or len(head) < 12:
            break
        (size,) = struct.unpack_from("<I", head, 4)
        if size in ANYTHING:
            break
        end = at + 8 + size
        yield at, end, head[8:12] == CONTINUED
        at = end + size % 2


def places(read: Read, stream: int) -> int:
    """Frames of the first recording that its index has, also the empty ones."""
    here = there = 0
    for name, at, size in _chunks(read):
        if name == b"LIST" and read(at, 4) == b"hdrl":
            there = _in_all(read(at, min(size, HEADERS)), b"%02d" % stream)
        elif name == b"idx1":
            here = _in_this(read, at, size, b"%02d" % stream)
    return max(here, there)


def _chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """Of the first RIFF: the name, and where and how large its content is."""
    at, end = 12, 8 + int.from_bytes(read(4, 4), "little")
    for _ in range(MANY):
        head = read(at, 8)
        if at >= end or len(head) < 8:
            break
        (size,) = struct.unpack_from("<I", head, 4)
        yield head[:4], at + 8, size
        at += 8 + size + size % 2


def _in_this(read: Read, at: int, size: int, stream: bytes) -> int:
    count, end = 0, at + size
    while at < end:
        body = read(at, min(end - at, ENTRIES * INDEX.itemsize))
        entries = np.frombuffer(body, INDEX, len(body) // INDEX.itemsize)
        if not len(entries):
            break
        count += int(((entries["stream"] == stream) & ~np.isin(entries["kind"], NO_FRAMES)).sum())
        at += len(body)
    return count


def _in_all(headers: bytes, stream: bytes) -> int:
    """By the list of indexes of a file of several RIFFs: each says how many frames are in it."""
    count, at = 0, headers.find(b"indx")
    while 0 <= at <= len(headers) - SUPER_INDEX.size:
        _, size, _, _, kind, entries, of, _ = SUPER_INDEX.unpack_from(headers, at)
        if kind == INDEX_OF_INDEXES and of == stream:
            body = headers[at + SUPER_INDEX.size : at + 8 + size]
            whole = body[: len(body) // SUPER_ENTRY.size * SUPER_ENTRY.size]
            count = sum(one[2] for one in list(SUPER_ENTRY.iter_unpack(whole))[:entries])
        at = headers.find(b"indx", at + 4)
    return count
