"""What hostile files are made from: good ones, noise, and bytes put into them."""

import functools
import random
import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np

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
        "m1v": encoded("mpeg1video", "mpeg1video"),
        "m2v": encoded("mpeg2video", "mpeg2video", options={"bf": "2"}),
        "dv": digital_video(8),
        "apng": encoded("apng", "apng", 24, pixels="rgb24"),
        "flc": flic(24),
        "y4m": encoded("yuv4mpegpipe", "rawvideo", 24),
        "ivf": encoded("ivf", "libvpx", options={"cpu-used": "8", "deadline": "realtime"}),
        "obu": encoded("obu", "libsvtav1", 24, options={"preset": "12"}),
    }


def alternating(count: int) -> bytes:
    """One picture so many times, whose clock goes ahead by a second and back again."""
    film = encoded("flv", "flv", 1, size=(16, 16))
    at = 13
    while film[at] != 9:  # a tag of pictures
        at += 15 + int.from_bytes(film[at + 1 : at + 4], "big")
    tag = film[at : at + 15 + int.from_bytes(film[at + 1 : at + 4], "big")]
    tags = [spliced(tag, 4, number.to_bytes(3, "big")) for number in (0, 1000)]
    return film[:13] + b"".join(tags * (count // 2))


def digital_video(frames: int) -> bytes:
    """As a camera's tape has it (IEC 61834): pictures of one size, one after the other."""
    encoder: Any = av.CodecContext.create("dvvideo", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 720, 576, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    packets = []
    for number in range(frames):
        drawn = picture(number, SIZE).repeat(9, axis=0)[:576].repeat(6, axis=1)[:, :720]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
        packets += encoder.encode(frame.reformat(format="yuv420p"))
    return b"".join(bytes(packet) for packet in packets)


def flic(frames: int) -> bytes:
    """As Autodesk Animator writes it: a palette of greys, then pictures without compression."""
    width, height = SIZE
    greys = bytes(level for level in range(256) for _ in range(3))
    palette = struct.pack("<IHHBB", 6 + 4 + 768, 4, 1, 0, 0) + greys
    shown = []
    for number in range(frames):
        pixels = bytes(picture(number, SIZE)[:, :, 1])
        chunks = [struct.pack("<IH", 6 + len(pixels), 16) + pixels]
        if not number:
            chunks.insert(0, palette)
        body = b"".join(chunks)
        shown.append(struct.pack("<IHH8x", 16 + len(body), 0xF1FA, len(chunks)) + body)
    content = b"".join(shown)
    header = struct.pack(
        "<IHHHHHHI", 128 + len(content), 0xAF12, frames, width, height, 8, 3, 1000 // FPS
    )
    return header.ljust(128, b"\0") + content
