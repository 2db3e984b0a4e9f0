"""Builders of video files in which every number can be a lie.

Real encoders make the pictures; MP4 and Matroska around them are written here, byte by byte.
Formats: ISO/IEC 14496-12 (boxes), RFC 8794 and RFC 9559 (EBML, Matroska), RFC 2083 (PNG).
"""

import functools
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

from infra.local.scheduling import take_turns_again

FPS = 24
SIZE = (128, 64)
X264 = {"preset": "veryfast", "x264-params": "rc-lookahead=0"}
"""With its look-ahead, x264 does not always write the same bytes."""
UNITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The matrix that turns nothing."""


@functools.cache
def texture() -> Any:
    """(768, 768, 3): coarse noise, of which each frame shows another part."""
    noise = np.random.default_rng(5).integers(0, 255, (96, 96, 3), np.uint8)
    return noise.repeat(8, axis=0).repeat(8, axis=1)


def picture(number: int, size: tuple[int, int]) -> Any:
    """(height, width, 3); plain grey where the texture is too small."""
    width, height = size
    if max(size) > 640:
        return np.full((height, width, 3), 20 + number * 8 % 200, np.uint8)
    x, y = 3 * number % 128, 2 * number % 128
    return np.ascontiguousarray(texture()[y : y + height, x : x + width])


def encoded(
    container: str,
    codec: str = "libx264",
    frames: int = 48,
    *,
    size: tuple[int, int] = SIZE,
    pixels: str = "yuv420p",
    gop: int = 12,
    options: Mapping[str, str] | None = None,
    muxer: Mapping[str, str] | None = None,
    times: Sequence[int] | None = None,
    holds: int = 1,
) -> bytes:
    """A file by FFmpeg's encoder and muxer, the same at each call.

    Args:
        times: of the frames, in 1/FPS.
        holds: so many 1/FPS the last frame stays.
    """
    file = io.BytesIO()
    muxing = {"fflags": "+bitexact", **(muxer or {})}
    with av.open(file, "w", format=container, options=muxing) as out:
        stream: Any = out.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = gop
        stream.codec_context.flags |= Flags.bitexact | Flags.frame_duration
        stream.options = (X264 if codec == "libx264" else {}) | dict(options or {})
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, FPS)
            frame.duration = holds if number == frames - 1 else 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    take_turns_again()
    return file.getvalue()


def sound(container: str, codec: str) -> bytes:
    """One second of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(codec, rate=48000, layout="mono")
        form = stream.codec_context.format.name
        kind = {"flt": "f4", "fltp": "f4", "s16": "i2", "s16p": "i2"}[form]
        for block in range(50):
            samples = np.zeros((1, 960), kind)
            frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            frame.sample_rate, frame.pts = 48000, block * 960
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def remuxed(
    source: bytes, container: str, *, ticks: int = 0, kind: str = "video", **muxer: str
) -> bytes:
    """The same packets in another container, `ticks` later in its own time base."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(source)) as origin,
        av.open(file, "w", format=container, options={"fflags": "+bitexact", **muxer}) as out,
    ):
        stream = out.add_stream_from_template(origin.streams.get({kind: 0})[0])
        out.start_encoding()
        for packet in origin.demux({kind: 0}):
            if packet.dts is not None:
                shift = int(ticks * stream.time_base / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


@dataclass(frozen=True)
class Clip:
    """H.264 without B frames, as MP4 and Matroska hold it."""

    packets: tuple[bytes, ...]
    keys: tuple[int, ...]
    """Which packets are keyframes."""
    extradata: bytes
    size: tuple[int, int]


def clip(frames: int = 48, **changes: Any) -> Clip:
    options = {"bf": "0", **changes.pop("options", {})}
    source = encoded("mp4", frames=frames, options=options, **changes)
    with av.open(io.BytesIO(source)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        packets = [packet for packet in container.demux(stream) if packet.size]
        return Clip(
            tuple(bytes(packet) for packet in packets),
            tuple(i for i, packet in enumerate(packets) if packet.is_keyframe),
            bytes(context.extradata),
            (context.width, context.height),
        )


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def numbers(*values: int) -> bytes:
    """32 bits each; version and flags of a box are the first."""
    return struct.pack(f">{len(values)}I", *(value % 2**32 for value in values))


def sample_entry(clip: Clip, kind: bytes = b"avc1", config: bytes = b"avcC") -> bytes:
    """The payload of `stsd` with one description."""
    width, height = clip.size
    entry = box(
        kind,
        bytes(6) + b"\0\1" + bytes(16),
        struct.pack(">HHIIIH", width, height, 0x480000, 0x480000, 0, 1),
        bytes(32) + struct.pack(">Hh", 24, -1),
        box(config, clip.extradata),
    )
    return numbers(0, 1) + entry


def mp4(clip: Clip, **payloads: bytes) -> bytes:
    """An MP4 with its index first; any box's payload can be given.

    Args:
        payloads: by the name of the box; `moov` = more boxes in it, `before` = whole boxes before
            it.
    """
    count = len(clip.packets)
    default = {
        "ftyp": b"isom" + numbers(512) + b"isomavc1",
        "mvhd": movie_header(count),
        "tkhd": track_header(count, clip.size),
        "elst": b"",
        "mdhd": media_header(count),
        "hdlr": numbers(0, 0) + b"vide" + bytes(13),
        "vmhd": numbers(1, 0, 0),
        "dref": numbers(0, 1) + box(b"url ", numbers(1)),
        "stsd": sample_entry(clip),
        "stts": numbers(0, 1, count, 1),
        "ctts": b"",
        "stss": numbers(0, len(clip.keys), *(key + 1 for key in clip.keys)),
        "stsc": numbers(0, 1, 1, count, 1),
        "stsz": numbers(0, 0, count, *map(len, clip.packets)),
        "stco": b"",
        "moov": b"",
        "before": b"",
        "mdat": b"".join(clip.packets),
    }
    given = default | payloads
    head = box(b"ftyp", given["ftyp"]) + given["before"]
    index = _index(given, 0)
    return head + _index(given, len(head) + len(index) + 8) + box(b"mdat", given["mdat"])


def _index(given: Mapping[str, bytes], media_at: int) -> bytes:
    """The `moov` box; empty boxes are left out."""

    def part(kind: str) -> bytes:
        return box(kind.encode(), given[kind]) if given[kind] else b""

    offsets = box(b"stco", given["stco"] or numbers(0, 1, media_at))
    tables = b"".join(map(part, ("stsd", "stts", "ctts", "stss", "stsc", "stsz")))
    media = box(b"minf", part("vmhd"), box(b"dinf", part("dref")), box(b"stbl", tables, offsets))
    edits = box(b"edts", part("elst")) if given["elst"] else b""
    track = box(b"trak", part("tkhd"), edits, box(b"mdia", part("mdhd"), part("hdlr"), media))
    return box(b"moov", part("mvhd"), track, given["moov"])


def movie_header(duration: int, timescale: int = FPS) -> bytes:
    """The payload of `mvhd`."""
    numbers_first = numbers(0, 0, 0, timescale, duration, 1 << 16, 0x01000000, 0, 0)
    return numbers_first + UNITY + bytes(24) + numbers(2)


def track_header(duration: int, size: tuple[int, int] = SIZE, matrix: bytes = UNITY) -> bytes:
    """The payload of `tkhd`."""
    width, height = size
    return (
        numbers(7, 0, 0, 1, 0, duration, 0, 0, 0, 0) + matrix + numbers(width << 16, height << 16)
    )


def media_header(duration: int, timescale: int = FPS) -> bytes:
    """The payload of `mdhd`."""
    return numbers(0, 0, 0, timescale, duration, 0x55C40000)


def element(name: int, *parts: bytes, size: int | None = None) -> bytes:
    """An EBML element; `size` is what it says of itself, all ones = unknown."""
    content = b"".join(parts)
    length = len(content) if size is None else size
    return name.to_bytes((name.bit_length() + 7) // 8) + (1 << 56 | length).to_bytes(8) + content


UNKNOWN = 2**56 - 1


def unsigned(name: int, value: int) -> bytes:
    return element(name, value.to_bytes(8))


def mkv(
    clip: Clip,
    *,
    times: Sequence[int] | None = None,
    scale: int = 1_000_000,
    duration: float | None = 2000.0,
    size: tuple[int, int] | None = None,
    codec: bytes = b"V_MPEG4/ISO/AVC",
    frame_ns: int | None = None,
    segment_size: int | None = None,
    cluster_size: int | None = None,
    block_at: int = 0,
    track: int = 1,
    tag: bytes = b"",
    more: bytes = b"",
    of_track: bytes = b"",
) -> bytes:
    """A Matroska file with one cluster a frame.

    Args:
        times: of the clusters, in units of `scale` nanoseconds.
        block_at: each frame's time, from its cluster's.
        track: the number that the blocks carry.
        tag: text of a DURATION tag.
        more: elements after the tracks.
        of_track: elements of the track.
    """
    width, height = size or clip.size
    info = element(
        0x1549A966,
        unsigned(0x2AD7B1, scale),
        b"" if duration is None else element(0x4489, struct.pack(">d", duration)),
    )
    entry = element(
        0xAE,
        unsigned(0xD7, 1) + unsigned(0x73C5, 1) + unsigned(0x83, 1),
        b"" if frame_ns is None else unsigned(0x23E383, frame_ns),
        element(0x86, codec) + element(0x63A2, clip.extradata),
        element(0xE0, unsigned(0xB0, width), unsigned(0xBA, height)),
        of_track,
    )
    clusters = []
    for number, packet in enumerate(clip.packets):
        time = times[number] if times else round(number * 1000 / FPS)
        flags = 0x80 if number in clip.keys else 0
        block = element(0xA3, struct.pack(">BhB", 0x80 | track, block_at, flags), packet)
        clusters.append(element(0x1F43B675, unsigned(0xE7, time), block, size=cluster_size))
    names = element(0x67C8, element(0x45A3, b"DURATION"), element(0x4487, tag))
    tags = (
        element(0x1254C367, element(0x7373, element(0x63C0, unsigned(0x63C5, 1)), names))
        if tag
        else b""
    )
    head = element(0x1A45DFA3, element(0x4282, b"matroska"))
    body = (info, element(0x1654AE6B, entry), tags, more, *clusters)
    return head + element(0x18538067, *body, size=segment_size)


def png(width: int, height: int) -> bytes:
    """Black, with an alpha channel and 16 bits a channel: 8 bytes a pixel, packed to nothing."""
    mebi = 1 << 20
    total = height * (1 + 8 * width)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(mebi)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = rest.compress(bytes(total % mebi)) + rest.flush()
    # Adler-32 of zeros: the first sum stays 1, the second counts the bytes.
    checksum = struct.pack(">HH", total % 65521, 1)
    data = b"\x78\xda" + packed * (total // mebi) + last + checksum
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        numbers(len(body)) + kind + body + numbers(zlib.crc32(kind + body)) for kind, body in chunks
    )
