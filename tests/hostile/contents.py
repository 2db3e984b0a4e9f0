"""What hostile files are made from: good ones, noise, and bytes put into them."""

import functools
import random

import av

from tests.hostile.files import (
    FPS,
    SIZE,
    Clip,
    box,
    clip,
    encoded,
    numbers,
    picture,
)


def spliced(content: bytes, at: int, new: bytes) -> bytes:
    """With other bytes from `at` on; nothing moves."""
    return content[:at] + new + content[at + len(new) :]


def at_box(content: bytes, kind: bytes, offset: int, new: bytes) -> bytes:
    """With other bytes in the first box of this kind, `offset` bytes after its name."""
    return spliced(content, content.index(kind) + 4 + offset, new)


@functools.cache
def good() -> Clip:
    """Two seconds, a keyframe each half second."""
    return clip()


@functools.cache
def plain() -> bytes:
    """An MP4 with B frames and its index at the end."""
    return encoded("mp4")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def image(codec: str, pixels: str) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = *SIZE, pixels  # type: ignore[attr-defined]
    encoder.time_base = 1  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(picture(0, SIZE), format="rgb24").reformat(format=pixels)
    packets = [*encoder.encode(frame), *encoder.encode(None)]  # type: ignore[attr-defined]
    return b"".join(bytes(packet) for packet in packets)


def share(content: bytes, part: float) -> bytes:
    return content[: int(len(content) * part)]


def fragmented() -> bytes:
    return encoded("mp4", muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"})


def half_fragmented() -> bytes:
    """The index has the first group of pictures; the others are in fragments, of which a segment
    index (ISO/IEC 14496-12, `sidx`) tells where they are: nobody has to look for them."""
    content = encoded("mp4", muxer={"movflags": "frag_keyframe+default_base_moof+skip_trailer"})
    boxes, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        boxes.append((content[at + 4 : at + 8], at, size))
        at += size
    first = next(at for kind, at, _ in boxes if kind == b"moof")
    sizes = [size for _, at, size in boxes if at >= first]
    fragments = [moof + mdat for moof, mdat in zip(sizes[::2], sizes[1::2], strict=True)]
    told = [number for size in fragments for number in (size, 12, 0x90000000)]
    segments = box(b"sidx", numbers(0, 1, FPS, 12, 0, len(fragments), *told))
    return content[:first] + segments + content[first:]


@functools.cache
def no_index() -> dict[str, bytes]:
    """Files that can be read from their first byte on, by ending."""
    return {
        "ts": encoded("mpegts"),
        "webm": encoded("webm", "libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
        "avi": encoded("avi", "mpeg4"),
        "flv": encoded("flv", "flv"),
        "ogv": encoded("ogg", "libvpx", options={"cpu-used": "8", "deadline": "realtime"}),
        "gif": encoded("gif", "gif", 24, pixels="rgb8"),
        "asf": encoded("asf", "wmv2"),
        "mxf": encoded("mxf", "mpeg2video"),
        "mpg": encoded("mpeg", "mpeg1video"),
        "h264": encoded("h264"),
    }
