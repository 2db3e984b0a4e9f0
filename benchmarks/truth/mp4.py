"""Boxes of an MP4, ISO/IEC 14496-12: puts one into a file whose `moov` comes last, so that nothing
which other boxes point at is moved."""

from collections.abc import Sequence

VISUAL, FULL = 78, 8
"""Bytes of a sample entry and of `stsd`, before the boxes in them."""
FIXED = {b"stsd": FULL, b"meta": 4}


def box(name: bytes, payload: bytes) -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + name + payload


def insert(file: bytes, path: Sequence[bytes], new: bytes) -> bytes:
    """At the end of the first box at `path`; `*` is a sample entry."""
    found = b""
    done = False
    at = 0
    while at < len(file):
        size = int.from_bytes(file[at : at + 4], "big") or len(file) - at
        name, whole = file[at + 4 : at + 8], file[at : at + size]
        if not done and path[0] in (name, b"*"):
            start = VISUAL if path[0] == b"*" else FIXED.get(name, 0)
            inner = whole[8:]
            rest = path[1:]
            grown = insert(inner[start:], rest, new) if rest else inner[start:] + new
            done = not rest or len(grown) != len(inner) - start
            whole = box(name, inner[:start] + grown)
        found += whole
        at += size
    return found
