"""Frames that have no time of their own, in containers that may leave it out."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.truth.corpus.codecs import Q2, X264, X265
from benchmarks.truth.films import Film, evenly
from benchmarks.truth.studio import Studio
from benchmarks.truth.transport import H264, HEVC, access_units, packed

KEYS = ("-g", "15")
PACKET, VIDEO = 188, 0x100
PACK, PICTURES = b"\x00\x00\x01\xba", b"\x00\x00\x01\xe0"


def untimed(name: str, *codec: object, kept: Callable[[int], bool], frames: int = 100) -> Film:
    """Args:
    kept: whether the frame of this number (in the order of the file) keeps its time.
    """

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(name)
        studio.ffmpeg(*studio.pictures(frames), *codec, *KEYS, whole)
        strip = without_times if path.suffix == ".ts" else without_times_in_program_stream
        path.write_bytes(strip(whole.read_bytes(), kept))

    return Film("missing times", name, make, evenly(frames, 25), slack_s=0.002)


def without_times(stream: bytes, kept: Callable[[int], bool]) -> bytes:
    """A transport stream, ISO/IEC 13818-1: stuffing in place of PTS and DTS."""
    data, number = bytearray(stream), 0
    for at in range(0, len(data), PACKET):
        begins = data[at + 1] & 0x40
        if ((data[at + 1] & 0x1F) << 8 | data[at + 2]) != VIDEO or not begins:
            continue
        adaptation = data[at + 4] + 1 if data[at + 3] & 0x20 else 0
        if not kept(number):
            _blank(data, at + 4 + adaptation)
        number += 1
    return bytes(data)


def without_times_in_program_stream(stream: bytes, kept: Callable[[int], bool]) -> bytes:
    """As `without_times`, of packets of pictures that have times."""
    data, number = bytearray(stream), 0
    at = data.find(PICTURES)
    while at >= 0:
        if data[at + 7] & 0x80:
            if not kept(number):
                _blank(data, at)
            number += 1
        at = data.find(PICTURES, at + 4)
    return bytes(data)


def _blank(data: bytearray, at: int) -> None:
    """Of the PES packet that begins there."""
    size = data[at + 8]
    if data[at + 7] & 0x80:
        data[at + 7] &= 0x3F
        data[at + 9 : at + 9 + size] = b"\xff" * size


def in_one_packet(name: str, each: int, raw: str, *codec: object) -> Film:
    """Args:
    each: frames in each packet of the stream.
    raw: the stream's own format.
    """

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(f"{name}.{raw}")
        studio.ffmpeg(*studio.pictures(60), *codec, "-bf", 0, "-f", raw, whole)
        h264 = raw == "h264"
        units = access_units(whole.read_bytes(), H264_BEGINS if h264 else HEVC_BEGINS)
        path.write_bytes(packed(units, 25, each, H264 if h264 else HEVC))

    return Film("several in a packet", name, make, evenly(60, 25), slack_s=0.002)


def every(step: int) -> Callable[[int], bool]:
    return lambda number: number % step == 0


H264_BEGINS, HEVC_BEGINS = b"\0\0\0\1\x09", b"\0\0\0\1\x46\x01"
AUD = (*X264, "-x264-params", "aud=1:keyint=20")
HEVC_AUD = (*X265, "-x265-params", "log-level=0:aud=1:keyint=20:bframes=0")
FILMS = [
    in_one_packet("two-in-one.ts", 2, "h264", *AUD),
    in_one_packet("five-in-one.ts", 5, "h264", *AUD),
    in_one_packet("gop-in-one.ts", 20, "h264", *AUD),
    in_one_packet("five-in-one-hevc.ts", 5, "hevc", *HEVC_AUD),
    untimed("every-15th.ts", *X264, "-bf", 0, kept=every(15)),
    untimed("every-15th-b.ts", *X264, "-bf", 2, kept=every(15)),
    untimed("every-5th.ts", *X264, kept=every(5)),
    untimed("every-2nd.ts", *X264, "-bf", 0, kept=every(2)),
    untimed("every-15th-hevc.ts", *X265, kept=every(15)),
    untimed("every-15th-mpeg2.ts", "-c:v", "mpeg2video", *Q2, kept=every(15)),
    untimed("every-15th-mpeg2-b.ts", "-c:v", "mpeg2video", "-bf", 2, *Q2, kept=every(15)),
    untimed("every-15th-mpeg4.ts", "-c:v", "mpeg4", *Q2, kept=every(15)),
    untimed("every-15th.mpg", "-c:v", "mpeg2video", *Q2, "-f", "vob", kept=every(15)),
    untimed("every-15th-b.mpg", "-c:v", "mpeg2video", "-bf", 2, *Q2, "-f", "vob", kept=every(15)),
    untimed("every-15th-mpeg1.mpg", "-c:v", "mpeg1video", *Q2, kept=every(15)),
]
