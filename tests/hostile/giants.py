"""Small files of large pictures, or of very many."""

import struct
import zlib

from tests.hostile.contents import good, image, no_index, spliced
from tests.hostile.expected import (
    NOT_A_VIDEO,
    OK,
    PARTIAL,
    SHOWN,
    TOO_LARGE,
    TOO_SLOW,
    UNREADABLE,
    Made,
)
from tests.hostile.files import (
    SIZE,
    Clip,
    clip,
    media_header,
    movie_header,
    mp4,
    numbers,
    png,
    remuxed,
    sample_entry,
    track_header,
)


def giants() -> Made:
    """Small files of large pictures, or of very many."""
    for width, height in ((16384, 8192), (8000, 8000)):
        still = Clip((png(width, height),), (0,), b"", (width, height))
        entry = sample_entry(still, b"png ", b"free")
        yield f"picture-{width}x{height}.mov", TOO_LARGE, mp4(still, stsd=entry)
    lying = Clip((png(8000, 8000),), (0,), b"", SIZE)
    entry = sample_entry(lying, b"png ", b"free")
    yield "picture-larger-than-said.mov", TOO_LARGE | NOT_A_VIDEO, mp4(lying, stsd=entry)
    large = clip(1, size=(8192, 8192), pixels="gray", options={"preset": "ultrafast"})
    yield "h264-8192x8192.mp4", TOO_LARGE, mp4(large)
    yield (
        "h264-8192x8192-said-small.mp4",
        TOO_LARGE,
        mp4(Clip(large.packets, large.keys, large.extradata, SIZE)),
    )
    said = mp4(good())
    grows = remuxed(said, "mpegts") + b"".join(
        remuxed(mp4(large), "mpegts", ticks=second * 90_000) for second in range(3, 9)
    )
    yield "grows-to-8192x8192.ts", PARTIAL | TOO_LARGE, grows
    most = clip(2, size=(4096, 2304), pixels="gray", options={"preset": "ultrafast"})
    yield "largest-allowed.mp4", OK, mp4(most)
    yield "canvas-65535.gif", UNREADABLE | TOO_LARGE, gif(65535, 65535)
    yield "canvas-zero.gif", UNREADABLE, gif(0, 0)
    yield "frame-beyond-canvas.gif", SHOWN | UNREADABLE, gif(8, 8, 65535)
    apng = no_index()["apng"]
    header = struct.pack(">4sIIBBBBB", b"IHDR", 65535, 65535, 8, 2, 0, 0, 0)
    huge = spliced(apng, 12, header + numbers(zlib.crc32(header)))
    yield "canvas-65535.apng", UNREADABLE | TOO_LARGE, huge
    control = struct.pack(">4sIIIII", b"fcTL", 0, 65535, 65535, 0, 0)
    at = apng.index(b"fcTL")
    yield "frame-beyond-canvas.apng", SHOWN | UNREADABLE, spliced(apng, at, control)
    flic = no_index()["flc"]
    yield "canvas-65535.flc", TOO_LARGE | UNREADABLE, spliced(flic, 8, b"\xff" * 4)
    yield "frame-size-2e32.flc", SHOWN | UNREADABLE, spliced(flic, 128, b"\xff\xff\xff\x7f")
    for name, size in (("65535", b"W65535 H65535"), ("2e31", b"W2147483647 H2147483647")):
        head = b"YUV4MPEG2 " + size + b" F25:1 Ip A1:1 C420jpeg\nFRAME\n"
        yield f"picture-{name}.y4m", TOO_LARGE | UNREADABLE, head + bytes(4096)
    ivf = no_index()["ivf"]
    yield "canvas-65535.ivf", SHOWN | TOO_LARGE | UNREADABLE, spliced(ivf, 12, b"\xff" * 4)
    yield "frame-size-2e32.ivf", SHOWN | UNREADABLE, spliced(ivf, 32, b"\xff" * 4)
    yield "pictures-2e32.ivf", SHOWN, spliced(ivf, 24, b"\xff" * 4)
    raw = no_index()["m2v"]
    wide = spliced(raw, raw.index(b"\0\0\1\xb3") + 4, b"\xff\xff\xff")
    yield "picture-4095x4095.m2v", TOO_LARGE | SHOWN | UNREADABLE, wide
    photo = image("mjpeg", "yuvj420p")
    at = photo.index(b"\xff\xc0") + 5
    wide = Clip((spliced(photo, at, b"\xfd\xe8\xfd\xe8"),), (0,), b"", SIZE)
    entry = sample_entry(wide, b"jpeg", b"free")
    yield "jpeg-65000x65000-said-small.mov", TOO_LARGE | UNREADABLE, mp4(wide, stsd=entry)
    yield "long-gop.mp4", OK | TOO_SLOW, long_gop(600_000)


def gif(width: int, height: int, side: int = 1) -> bytes:
    """One frame of one pixel, which may say that it has side x side."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02D\x01\0"
    return head + frame + b";"


def long_gop(frames: int) -> bytes:
    """One keyframe, then the same sixteen still frames over and over, each stored once.

    H.264 frame numbers wrap after sixteen, so that the stream is a valid one.
    """
    period = 16
    short = clip(period + 1, size=(16, 16), gop=250, options={"tune": "zerolatency"})
    sizes = [len(packet) for packet in short.packets]
    places = [sum(sizes[:i]) for i in range(period + 1)]
    turn = [0, *((i - 1) % period + 1 for i in range(1, frames))]

    def made(media_at: int) -> bytes:
        return mp4(
            short,
            stts=numbers(0, 1, frames, 1),
            stsc=numbers(0, 1, 1, 1, 1),
            stsz=numbers(0, 0, frames, *(sizes[i] for i in turn)),
            stco=numbers(0, frames, *(media_at + places[i] for i in turn)),
            mvhd=movie_header(frames),
            tkhd=track_header(frames),
            mdhd=media_header(frames),
        )

    return made(made(0).index(b"mdat") + 4)
