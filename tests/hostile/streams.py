"""Streams that become another one on the way, and clocks that do odd things."""

import random
import struct

from tests.hostile.contents import alternating, at_box, good, no_index, spliced
from tests.hostile.expected import ANY, OK, PARTIAL, SHOWN, TOO_LARGE, TRUNCATED, UNREADABLE, Made
from tests.hostile.files import (
    clip,
    encoded,
    mp4,
    remuxed,
    sound,
)


def streams() -> Made:
    """Streams that become another one on the way, and clocks that do odd things."""
    said = mp4(good())
    first = remuxed(said, "mpegts")
    second = 2 * 90_000
    larger = remuxed(mp4(clip(size=(256, 192))), "mpegts", ticks=second)
    yield "becomes-larger.ts", SHOWN, first + larger
    yield "becomes-mpeg2.ts", SHOWN, first + encoded("mpegts", "mpeg2video")
    hevc = encoded(
        "mpegts",
        "libx265",
        options={"preset": "ultrafast", "x265-params": "log-level=0:pools=1:frame-threads=1"},
    )
    yield "becomes-hevc.ts", SHOWN, first + hevc
    yield "becomes-larger.h264", SHOWN, encoded("h264") + encoded("h264", size=(256, 192))
    song = remuxed(sound("mpegts", "aac"), "mpegts", kind="audio", mpegts_start_pid="512")
    yield "sound-begins-on-the-way.ts", SHOWN, first + song
    yield "clock-starts-again.ts", SHOWN | TRUNCATED, first + first
    wrap = 2**33 - 90_000 - 126_000
    yield "clock-wraps.ts", OK, remuxed(said, "mpegts", ticks=wrap)
    yield "clock-leaps.ts", SHOWN, first + remuxed(said, "mpegts", ticks=2**32)
    yield "shuffled-packets.ts", ANY, shuffled(first)
    yield "packets-lost.ts", SHOWN, thinned(first)
    avi = no_index()["avi"]
    for name, scale, rate in (("zero", 1, 0), ("of-zero", 0, 25), ("million", 1, 10**6)):
        # Scale and rate are 20 bytes into the stream header.
        changed = at_box(avi, b"strh", 4 + 20, struct.pack("<II", scale, rate))
        yield f"rate-{name}.avi", SHOWN | UNREADABLE, changed
    yield "frames-2e32.avi", SHOWN, at_box(avi, b"avih", 4 + 16, b"\xff" * 4)
    yield "size-2e31.avi", OK | TOO_LARGE, at_box(avi, b"avih", 4 + 32, b"\xff\xff\xff\x7f" * 2)
    flv = no_index()["flv"]
    yield "tag-size-huge.flv", SHOWN | UNREADABLE, spliced(flv, 14, b"\xff\xff\xff")
    yield "times-huge.flv", SHOWN, spliced(flv, 17, b"\xff\xff\xff\x7f")
    yield "clock-alternates.flv", PARTIAL, alternating(4000)


PACKET = 188
"""Bytes of a transport stream's packet."""


def shuffled(stream: bytes) -> bytes:
    packets = [stream[i : i + PACKET] for i in range(0, len(stream), PACKET)]
    random.Random(11).shuffle(packets)
    return b"".join(packets)


def thinned(stream: bytes) -> bytes:
    """One packet in twenty never arrived."""
    packets = [stream[i : i + PACKET] for i in range(0, len(stream), PACKET)]
    return b"".join(packet for i, packet in enumerate(packets) if i % 20 != 19)
