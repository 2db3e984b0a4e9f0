"""Real video files for tests, good and bad ones."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def level(index: int) -> int:
    """The grey level that frame `index` is painted with; levels survive H.264 within ±3."""
    return 20 + (index * 8) % 200


def write_clip(
    path: Path,
    frames: int = 24,
    *,
    size: tuple[int, int] = (96, 64),
    fps: int | Fraction = 12,
    codec: str = "libx264",
    gop: int = 12,
    pts: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Frame i is plain grey `level(i)`. `size` is (width, height); `pts` counts 1/fps steps;
    `options` are the encoder's."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = gop
        stream.options = options or {}
        stream.codec_context.time_base = Fraction(1, fps)
        for index in range(frames):
            picture = np.full((height, width, 3), level(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """An MP4 without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for block in range(16):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, block * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path: Path, source: Path, share: float) -> Path:
    """The first `share` of a file's bytes, as a broken upload leaves it."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def faststart(path: Path, source: Path) -> Path:
    """The same packets with the index at the front, as web uploads have it."""
    with (
        av.open(str(source)) as origin,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(origin.streams.video[0])
        for packet in origin.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def rotate_quarter(path: Path, source: Path) -> Path:
    """Shown turned by 90° clockwise: a matrix in the track header, as phones write it.

    ISO/IEC 14496-12, 8.3.2: version 0 of `tkhd` has its matrix 48 bytes into the box.
    """
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") - 4 + 48
    one = 1 << 16
    content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
