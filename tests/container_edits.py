"""Small edits of real files, for what no muxer here writes: boxes of an MP4, elements of an MKV."""

import struct

ONE = 1 << 16
"""Of fixed-point numbers with 16 bits behind the point."""
TO_ENTRY = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"]
TO_VIDEO = [bytes.fromhex(one) for one in ("18538067", "1654ae6b", "ae", "e0")]
"""Segment, Tracks, TrackEntry, Video."""


def with_box(content: bytes, entry: bytes, box: bytes) -> bytes:
    """A box more in the sample entry of an MP4 whose index is at its end."""
    out = bytearray(content)

    def places(start: int, end: int, names: list[bytes]) -> list[int] | None:
        at = start
        while at < end:
            size, kind = struct.unpack(">I4s", out[at : at + 8])
            if names and kind == names[0]:
                inner = places(at + (16 if kind == b"stsd" else 8), at + size, names[1:])
                if inner:
                    return [at, *inner]
            elif not names and kind == entry:
                return [at]
            at += size
        return None

    found = places(0, len(out), TO_ENTRY)
    assert found
    place = found[-1] + int.from_bytes(out[found[-1] : found[-1] + 4], "big")
    for at in found:
        size = int.from_bytes(out[at : at + 4], "big") + len(box)
        out[at : at + 4] = size.to_bytes(4, "big")
    out[place:place] = box
    return bytes(out)


def clap(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """The clean aperture, and how far its centre is from the picture's. ISO/IEC 14496-12."""
    return struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 1, down, 1)


def pasp(across: int, down: int) -> bytes:
    """How wide a point is, and how high."""
    return struct.pack(">I4sII", 16, b"pasp", across, down)


def with_matrix(content: bytes, box: bytes, turn: tuple[int, int, int, int]) -> bytes:
    """Of the track (`tkhd`) or the whole film (`mvhd`), both of version 0."""
    out = bytearray(content)
    at = out.index(box) - 4 + {b"tkhd": 48, b"mvhd": 44}[box]
    a, b, c, d = (one * ONE for one in turn)
    out[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(out)


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Of EBML: its first byte says how long it is, by its leading zeros."""
    length = 9 - content[at].bit_length()
    return int.from_bytes(content[at : at + length], "big"), length


def with_elements(content: bytes, elements: bytes) -> bytes:
    """Elements more in the Video element of an MKV's first track."""
    out = bytearray(content)

    def places(start: int, end: int, names: list[bytes]) -> list[tuple[int, int, int]] | None:
        at = start
        while at < end:
            _, wide = _number(out, at)
            name, sized = bytes(out[at : at + wide]), at + wide
            marked, wide = _number(out, sized)
            size = marked & ((1 << 7 * wide) - 1)
            unknown = size == (1 << 7 * wide) - 1
            stop = end if unknown else sized + wide + size
            if name == names[0]:
                if len(names) == 1:
                    return [(sized, wide, stop)]
                inner = places(sized + wide, stop, names[1:])
                if inner:
                    return [(sized, 0 if unknown else wide, stop), *inner]
            at = stop
        return None

    found = places(0, len(out), TO_VIDEO)
    assert found
    for sized, wide, _ in found:
        if wide:
            size = int.from_bytes(out[sized : sized + wide], "big") + len(elements)
            out[sized : sized + wide] = size.to_bytes(wide, "big")
    place = found[-1][2]
    out[place:place] = elements
    return bytes(out)


def element(name: str, value: int | float | bytes) -> bytes:
    if isinstance(value, int):
        value = value.to_bytes(2, "big")
    elif isinstance(value, float):
        value = struct.pack(">d", value)
    return bytes.fromhex(name) + bytes([0x80 | len(value)]) + value


def pixel_crop(left: int, right: int, top: int, bottom: int) -> bytes:
    sides = zip(("54cc", "54dd", "54bb", "54aa"), (left, right, top, bottom), strict=True)
    return b"".join(element(name, side) for name, side in sides)


def roll(degrees: float) -> bytes:
    """Of a flat (rectangular) projection."""
    told = element("7671", 0) + element("7673", 0.0) + element("7674", 0.0)
    return element("7670", told + element("7675", degrees))
