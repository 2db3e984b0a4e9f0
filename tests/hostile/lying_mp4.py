"""MP4 files whose tables, descriptions and boxes lie."""

import struct

from tests.hostile.contents import at_box, fragmented, good, noise, spliced
from tests.hostile.expected import (
    NO_VIDEO_STREAM,
    NOT_A_VIDEO,
    OK,
    PARTIAL,
    SHOWN,
    TOO_LARGE,
    TOO_SLOW,
    TRUNCATED,
    UNREADABLE,
    Made,
)
from tests.hostile.files import (
    SIZE,
    Clip,
    box,
    clip,
    media_header,
    movie_header,
    mp4,
    numbers,
    sample_entry,
    track_header,
)
from tests.hostile.odd import UNIT


def lying_mp4() -> Made:
    """Each with one wrong number in its index."""
    huge = 0x7FFFFFFF
    count = len(good().packets)
    tables: dict[str, tuple[frozenset[str], dict[str, bytes]]] = {
        "duration-huge": (
            OK,
            {
                "mvhd": movie_header(huge),
                "tkhd": track_header(huge),
                "mdhd": media_header(huge),
            },
        ),
        "duration-zero": (
            OK,
            {"mvhd": movie_header(0), "tkhd": track_header(0), "mdhd": media_header(0)},
        ),
        "movie-duration-huge": (OK, {"mvhd": movie_header(huge)}),
        "timescale-zero": (SHOWN | UNREADABLE, {"mdhd": media_header(48, 0)}),
        "timescale-huge": (SHOWN, {"mdhd": media_header(48, huge)}),
        "timescale-one": (OK, {"mdhd": media_header(48, 1)}),
        "times-equal": (SHOWN | NOT_A_VIDEO, {"stts": numbers(0, 1, count, 0)}),
        "times-huge": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, count, huge)}),
        "times-backwards": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, count, -1)}),
        "times-for-too-many": (SHOWN | TRUNCATED, {"stts": numbers(0, 1, 2**32 - 1, 1)}),
        "times-for-few": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, 3, 1)}),
        "times-missing": (SHOWN | UNREADABLE, {"stts": numbers(0, 0)}),
        "times-table-endless": (SHOWN | UNREADABLE, {"stts": numbers(0, 2**32 - 1, count, 1)}),
        "shown-far-later": (SHOWN, {"ctts": numbers(0, 2, 24, 0, 24, huge)}),
        "shown-before": (SHOWN, {"ctts": numbers(1 << 24, 1, count, -1000)}),
        "shown-in-disorder": (
            SHOWN,
            {"ctts": numbers(0, count, *(x for i in range(count) for x in (1, i * 7 % 48)))},
        ),
        "sizes-huge": (UNREADABLE, {"stsz": numbers(0, 0, count, *[huge] * count)}),
        "sizes-zero": (UNREADABLE, {"stsz": numbers(0, 0, count, *[0] * count)}),
        "samples-2e31": (UNREADABLE | SHOWN, {"stsz": numbers(0, 0, 2**31, 9, 9)}),
        "samples-2e31-alike": (UNREADABLE, {"stsz": numbers(0, 100, 2**31)}),
        "samples-many-alike": (UNREADABLE | TOO_SLOW | TOO_LARGE, many_samples(8_000_000)),
        "chunks-empty": (PARTIAL | UNREADABLE, {"stsc": numbers(0, 1, 1, 0, 1)}),
        "chunks-huge": (SHOWN, {"stsc": numbers(0, 1, 1, huge, 1)}),
        "chunks-from-zero": (SHOWN | UNREADABLE, {"stsc": numbers(0, 1, 0, count, 1)}),
        "chunks-other-description": (SHOWN | UNREADABLE, {"stsc": numbers(0, 1, 1, count, 9)}),
        "offset-beyond": (TRUNCATED, {"stco": numbers(0, 1, 2**31)}),
        "offset-zero": (UNREADABLE, {"stco": numbers(0, 1, 0)}),
        "keyframes-none": (SHOWN, {"stss": numbers(0, 0)}),
        "keyframes-all-lies": (SHOWN, {"stss": numbers(0, 3, 7, 20, 30)}),
        "keyframes-beyond": (SHOWN, {"stss": numbers(0, 2, 1, huge)}),
        "size-in-track": (OK, {"tkhd": track_header(48, (65535, 65535))}),
        "size-zero-in-track": (OK, {"tkhd": track_header(48, (0, 0))}),
        "edits-past-the-end": (SHOWN | UNREADABLE, {"elst": numbers(0, 1, 48, huge, UNIT)}),
        "edits-before-zero": (SHOWN | UNREADABLE, {"elst": numbers(0, 1, 48, -2, UNIT)}),
        "edits-endless": (SHOWN | UNREADABLE, {"elst": numbers(0, 2**32 - 1, 48, 0, UNIT)}),
        "edits-empty-huge": (SHOWN, {"elst": numbers(0, 2, huge, -1, UNIT, 48, 0, UNIT)}),
        "edits-again-and-again": (SHOWN, {"elst": numbers(0, 3, *[48, 0, UNIT] * 3)}),
        "track-of-nothing": (SHOWN | UNREADABLE, {"hdlr": numbers(0, 0) + b"XXXX" + bytes(13)}),
        "a-sound-track": (
            UNREADABLE | NO_VIDEO_STREAM,
            {"hdlr": numbers(0, 0) + b"soun" + bytes(13)},
        ),
    }
    for name, (expect, payloads) in tables.items():
        yield f"{name}.mp4", expect, mp4(good(), **payloads)
    for name, expect, entry in lying_descriptions():
        yield f"description-{name}.mp4", expect, mp4(good(), stsd=entry)
    times = fragmented()
    for name, moment in {"2e40": 2**40, "2e62": 2**62, "2e63": 2**63 - 1}.items():
        late = at_box(times, b"tfdt", 0, b"\1\0\0\0" + struct.pack(">Q", moment))
        yield f"first-fragment-at-{name}.mp4", SHOWN | UNREADABLE, late
    count_at = times.index(b"trun") + 8
    yield "fragment-endless.mp4", SHOWN | UNREADABLE, spliced(times, count_at, numbers(2**32 - 1))


def many_samples(count: int) -> dict[str, bytes]:
    """Of one byte, in chunks that lie in one place: little of a file for an index of gigabytes."""
    chunks = 1000
    return {
        "stsz": numbers(0, 1, count),
        "stsc": numbers(0, 1, 1, count // chunks, 1),
        "stco": numbers(0, chunks, *[700] * chunks),
        "stts": numbers(0, 1, count, 1),
        "mdhd": media_header(count),
    }


def lying_descriptions() -> Made:
    for kind in (b"hvc1", b"mp4v", b"av01", b"vp09", b"jpeg", b"png ", b"rle ", b"raw ", b"XXXX"):
        yield kind.decode().strip(), SHOWN | UNREADABLE, sample_entry(good(), kind)
    entry = sample_entry(good())
    # Width and height are 32 bytes into the entry.
    yield "65535", OK | TOO_LARGE, spliced(entry, 8 + 32, b"\xff\xff\xff\xff")
    yield "size-zero", OK, spliced(entry, 8 + 32, bytes(4))
    other = Clip((), (), noise(40, 9), SIZE)
    yield "noise", SHOWN | UNREADABLE, sample_entry(other)
    yield "without-config", SHOWN | UNREADABLE, sample_entry(other, config=b"free")
    larger = clip(1, size=(256, 192))
    yield "of-another-size", SHOWN | UNREADABLE, sample_entry(larger)
    yield "none", UNREADABLE, numbers(0, 0)


def lying_boxes() -> Made:
    """Each with one box of a wrong size, or far too many boxes."""
    whole = mp4(good())
    sizes = {"0": 0, "7": 7, "2e31": 2**31, "2e32": 2**32 - 1}
    for kind in (b"moov", b"trak", b"stsd", b"mdat"):
        for name, size in sizes.items():
            at = whole.index(kind) - 4
            expect = SHOWN | UNREADABLE
            yield f"{kind.decode()}-size-{name}.mp4", expect, spliced(whole, at, numbers(size))
    for name, size in {"2e63": 2**63, "2e64": 2**64 - 1, "9": 9}.items():
        large = struct.pack(">I4sQ", 1, b"moov", size)
        at = whole.index(b"moov") - 4
        yield f"moov-long-size-{name}.mp4", UNREADABLE, whole[:at] + large + whole[at + 8 :]
    head = box(b"ftyp", b"isom\0\0\2\0isom")
    yield "nested-boxes.mp4", UNREADABLE, head + nested(b"moov", 10_000)
    yield (
        "nested-tracks.mp4",
        UNREADABLE | NO_VIDEO_STREAM,
        head + box(b"moov", nested(b"trak", 5_000)),
    )
    yield "many-boxes.mp4", OK, mp4(good(), before=box(b"free") * 200_000)
    yield "thousand-tracks.mp4", SHOWN | UNREADABLE, mp4(good(), moov=track_of(whole) * 2_000)
    yield "two-indexes.mp4", SHOWN | UNREADABLE, whole + whole[: whole.index(b"mdat")]
    title = box(b"udta", box(b"\xa9nam", struct.pack(">HH", 65535, 0), bytes(65535)))
    yield "long-title.mp4", OK, mp4(good(), moov=title)


def nested(kind: bytes, depth: int) -> bytes:
    heads = [struct.pack(">I4s", 8 * (depth - level), kind) for level in range(depth)]
    return b"".join(heads)


def track_of(whole: bytes) -> bytes:
    """Its first track's box."""
    at = whole.index(b"trak") - 4
    return whole[at : at + struct.unpack_from(">I", whole, at)[0]]
