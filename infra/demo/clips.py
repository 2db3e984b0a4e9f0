"""A scene becomes a film: staged, drawn and encoded.

Everything that a scene leaves open is drawn from the clip's seed, so a (scene, clip) pair always
gives the same pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from infra.demo.drawing import GRAINS, Brush, Frame, draw_figures, grainy
from infra.demo.scenes import Scene
from infra.demo.staging import Look, staged

Size = tuple[int, int]
"""(width, height) in pixels."""

Codec = Literal["h264", "hevc", "vp9"]

SIZES: tuple[Size, ...] = (
    (64, 64),
    (160, 96),
    (96, 160),
    (128, 128),
    (320, 240),
    (240, 320),
    (224, 224),
    (640, 360),
    (480, 640),
    (640, 480),
)
"""Of the films we train and judge on: landscape, portrait and square."""
FRAME_RATES = (12, 15, 24, 25, 30, 50, 60)
SHORTEST_S, LONGEST_S = 1.0, 12.0
CODECS: tuple[Codec, ...] = ("h264", "h264", "h264", "hevc", "vp9")
"""A draw of these."""
MOST_PIXELS = 20_000_000
"""Of all frames of a film: large pictures get shorter films, which bounds the work."""
ALWAYS_FRAMES = 24
"""So many a film may have, however large."""

# One thread and no lookahead: with it, x264 decides by memory that it did not write, and the file
# would be another one each time.
ENCODERS: dict[Codec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "20", "x264-params": "rc-lookahead=0"}),
    "hevc": (
        "libx265",
        {
            "preset": "ultrafast",
            "crf": "22",
            "x265-params": "log-level=none:pools=none:frame-threads=1:rc-lookahead=0:bframes=0",
        },
    ),
    "vp9": (
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "8", "crf": "28", "b": "0", "lag-in-frames": "0"},
    ),
}
"""Name of the encoder, and its options."""


SQUARE = Fraction(1)


@dataclass(frozen=True)
class Clip:
    """How a scene is filmed."""

    seed: int
    width: int = 160
    height: int = 96
    fps: int = 24
    duration_s: float = 2.0
    codec: Codec = "h264"

    @property
    def frame_count(self) -> int:
        return round(self.fps * self.duration_s)

    @property
    def resolution(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def suffix(self) -> str:
        return ".webm" if self.codec == "vp9" else ".mp4"


def sample_clip(
    seed: int, sizes: Sequence[Size] = SIZES, *, most_pixels: int = MOST_PIXELS
) -> Clip:
    """A film format."""
    rng = np.random.default_rng(seed)
    width, height = sizes[rng.integers(len(sizes))]
    codec = CODECS[rng.integers(len(CODECS))]
    most_frames = max(most_pixels // (width * height), ALWAYS_FRAMES)
    while True:
        fps = int(rng.choice(FRAME_RATES))
        # Short films are as frequent as long ones on a logarithmic scale.
        duration = round(SHORTEST_S * (LONGEST_S / SHORTEST_S) ** float(rng.random()), 2)
        clip = Clip(seed, width, height, fps, duration, codec)
        if clip.frame_count <= most_frames:
            return clip


def render(scene: Scene, clip: Clip) -> NDArray[np.uint8]:
    """The film, (frames, height, width, 3)."""
    staging = staged(scene, clip.seed)
    rng = np.random.default_rng([clip.seed, 2])
    empty = [grainy(look, clip.width, clip.height, rng) for look in staging.looks]
    # Never the same field twice in a row, or the picture would stand still.
    grains = np.cumsum(rng.integers(1, GRAINS, clip.frame_count)) % GRAINS
    brush = Brush(min(clip.width, clip.height))
    frames = np.empty((clip.frame_count, clip.height, clip.width, 3), np.uint8)
    last = max(1, clip.frame_count - 1)
    for i in range(clip.frame_count):
        part, progress = staging.at(i / last)
        frames[i] = empty[part][grains[i]]
        draw_figures(frames[i], staging.looks[part], progress, brush)
    return frames


def squeezed(pictures: NDArray[np.uint8], across: int, down: int) -> NDArray[np.uint8]:
    """(frames, height, width, 3), of so many times fewer columns and rows: to be written with
    points of `across` to `down`."""
    n, height, width, _ = pictures.shape
    cells = pictures.reshape(n, height // down, down, width // across, across, 3)
    return cells.mean(axis=(2, 4)).round().astype(np.uint8)


def write_film(
    path: Path,
    frames: NDArray[np.uint8],
    fps: int,
    codec: Codec = "h264",
    points: Fraction = SQUARE,
) -> None:
    """(frames, height, width, 3) -> a video at `path`; its suffix names the container.

    Args:
        points: how wide one is for its height.
    """
    encoder, options = ENCODERS[codec]
    # Bit-exact: a WebM would carry a random id.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if points != SQUARE:
            stream.codec_context.sample_aspect_ratio = points
        stream.options = options
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            # By default each conversion starts a thread per core: slower than the work itself.
            container.mux(stream.encode(frame.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode())


def film(scene: Scene, clip: Clip, path: Path) -> Path:
    """Render and encode, at `path` with the suffix of the clip's codec."""
    path = path.with_suffix(clip.suffix)
    write_film(path, render(scene, clip), clip.fps, clip.codec)
    return path


def still(look: Look, side: int, seed: int, progress: float) -> Frame:
    """One square picture, without any encoding."""
    frame = grainy(look, side, side, np.random.default_rng(seed))[0]
    draw_figures(frame, look, progress, Brush(side))
    return frame
