"""How many bytes a file says that it has: in its first few.

A file that has fewer is cut, whatever else it says or leaves out. Knows nothing of what is in it.
"""

import struct

BEGINNING = 4096
"""Bytes that are enough to read it from."""
AVI, ANYTHING = b"RIFF", (0, 0xFFFFFFFF)
"""What an AVI says that was written without going back to its beginning."""
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_SIZE, ASF_FLAGS = 40, 88
"""Bytes into the object of that name (Advanced Systems Format, 3.2)."""
LIVE = 1
"""Of these flags: the size means nothing."""
MATROSKA, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def told_size(beginning: bytes) -> int | None:
    """None: it does not say, as a live recording; or in a way that is not known here."""
    if beginning[:4] == AVI and beginning[8:11] == b"AVI":
        (size,) = struct.unpack_from("<I", beginning, 4)
        return None if size in ANYTHING else 8 + int(size)
    if beginning.startswith(ASF):
        return _asf(beginning)
    if beginning.startswith(MATROSKA):
        return _matroska(beginning)
    return None


def _asf(beginning: bytes) -> int | None:
    at = beginning.find(ASF_PROPERTIES)
    if at < 0 or at + ASF_FLAGS + 4 > len(beginning):
        return None
    (size,) = struct.unpack_from("<Q", beginning, at + ASF_SIZE)
    (flags,) = struct.unpack_from("<I", beginning, at + ASF_FLAGS)
    return None if flags & LIVE or not size else int(size)


def _matroska(beginning: bytes) -> int | None:
    """Two elements in a row: a header, and a segment that holds the rest (RFC 8794 and 9559)."""
    segment = _end(beginning, len(MATROSKA))
    if segment is None or not beginning.startswith(SEGMENT, segment):
        return None
    return _end(beginning, segment + len(SEGMENT))


def _end(content: bytes, at: int) -> int | None:
    """Of an element whose size, of variable length, is here; None: that is not known."""
    length = 9 - content[at].bit_length() if content[at : at + 1] else 9
    if length > 8 or at + length > len(content):
        return None
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(content[at : at + length], "big") & unknown
    return None if size == unknown else at + length + size
