"""Films whose colours are known, and are not those of an ordinary screen."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

PATCH = 16
GREYS = [(64, 512, 512), (200, 512, 512), (377, 512, 512), (509, 512, 512), (573, 512, 512)]
GREYS += [(723, 512, 512), (940, 512, 512)]
COLOURS = [(400, 440, 640), (460, 400, 440), (300, 640, 470), (420, 500, 580), (650, 450, 530)]
"""Y, Cb, Cr in ten bits, of which 64 is black, 573 white in PQ, 723 1000 nits."""
PQ, HLG, BT709, BT2020, P3 = 16, 18, 1, 9, 12
SAID_NOTHING = (2, 2, 2)
X265 = "log-level=none:pools=none:frame-threads=1:bframes=0:lossless=1"
"""Without threads, which are there for a while after it."""
HDR10 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L({}0000,1)"


def frame_of(patches: Sequence[tuple[int, int, int]], tags: tuple[int, int, int]) -> Any:
    frame = av.VideoFrame(PATCH * len(patches), PATCH, "yuv444p10le")
    for plane, values in zip(frame.planes, np.array(patches).T, strict=True):
        row = np.zeros(plane.line_size // 2, np.uint16)
        row[: frame.width] = values.repeat(PATCH)
        plane.update(row.tobytes() * PATCH)
    tag(frame, tags)
    return frame


def tag(what: Any, tags: tuple[int, int, int]) -> None:
    what.color_trc, what.color_primaries, what.colorspace = tags
    what.color_range = 1


def colour_film(
    path: Path,
    patches: Sequence[tuple[int, int, int]],
    tags: tuple[int, int, int],
    codec: str = "ffv1",
    options: dict[str, str] | None = None,
    *,
    full: bool = False,
) -> Path:
    """One frame; the tags are transfer, primaries and matrix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        frame = frame_of(patches, tags)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv444p10le"
        tag(stream.codec_context, tags)
        frame.color_range = stream.codec_context.color_range = 2 if full else 1
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_dolby(path: Path, source: Path, profile: int, compatible: int) -> Path:
    """The same HEVC in an MP4 that says which profile of Dolby Vision it is, and what others may
    take it for (0: nothing). "Dolby Vision Streams within the ISO Base Media File Format", 2.3."""
    bits = profile << 25 | 6 << 19 | 1 << 18 | 1 << 16 | compatible << 12
    record = struct.pack(">BBI18x", 1, 0, bits)
    box = struct.pack(">I4s", 8 + len(record), b"dvcC") + record
    content = bytearray(source.read_bytes())
    entry = max(content.find(b"hev1", content.find(b"stsd")), content.find(b"hvc1"))
    for kind in (
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"stsd",
        bytes(content[entry : entry + 4]),
    ):
        at = content.rindex(kind, 0, entry + 4) - 4
        content[at : at + 4] = (int.from_bytes(content[at : at + 4]) + len(box)).to_bytes(4)
    end = entry - 4 + int.from_bytes(content[entry - 4 : entry]) - len(box)
    content[end:end] = box
    path.write_bytes(content)
    return path
