"""The videos of benchmarks.frames: drawn, so that nobody has to download anything.

Textures with the spectrum of natural pictures, moving at different speeds, with film grain, and a
few hard cuts: codecs find as much to do in them as in real footage, or a little more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from infra.local.scheduling import take_turns_again

Picture = NDArray[np.uint8]
GRAIN = 1


Drawing = Callable[[tuple[int, int], int], Iterable[Picture]]
"""A size and a number of frames; planar YUV 4:2:0, as encoders want it."""


def pictures(size: tuple[int, int], frames: int) -> Any:
    """Planar YUV 4:2:0, as encoders want it."""
    width, height = size
    dice = np.random.default_rng(2026)
    scenes = [texture(dice, (height * 3 // 2, width * 3 // 2)) for _ in range(4)]
    grain = dice.integers(-GRAIN, GRAIN + 1, (8, height, width), np.int16)
    for number in range(frames):
        scene = number // 97 % len(scenes)
        speed = scene + 1
        x, y = number * speed % (width // 2), number * speed // 2 % (height // 2)
        luma = scenes[scene][y : y + height, x : x + width].astype(np.int16) + grain[number % 8]
        side = height // 6
        left = number * 5 % (width - side)
        luma[side : 2 * side, left : left + side] = 230
        half = np.s_[y // 2 : y // 2 + height // 2, x // 2 : x // 2 + width // 2]
        chroma = [scenes[(scene + other) % 4][half] // 2 + 64 for other in (1, 2)]
        packed = np.empty((height * 3 // 2, width), np.uint8)
        packed[:height] = luma.clip(16, 235)
        packed[height:] = np.concatenate([plane.ravel() for plane in chroma]).reshape(-1, width)
        yield packed


def texture(dice: np.random.Generator, shape: tuple[int, int]) -> Picture:
    """Noise whose power falls with the square of the frequency, as in pictures of the world."""
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = 1.0
    noise = np.fft.rfft2(dice.standard_normal(shape))
    field = np.fft.irfft2(noise / frequency, shape)
    low, high = np.percentile(field, [1, 99])
    return ((field - low) / (high - low) * 219 + 16).clip(16, 235).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    name: str
    codec: str
    """As the reports call it."""
    encoder: str
    size: tuple[int, int]
    seconds: float
    options: dict[str, str] = field(default_factory=dict)
    ending: str = ".mp4"
    fps: int = 30
    uneven: bool = False
    corpus: str = "drawn"
    """Or "real": encoded as in the world."""
    draw: Drawing = pictures

    @property
    def once(self) -> bool:
        """Programs that decode from the beginning take too long for several rounds."""
        pixels = self.seconds * self.fps * self.size[0] * self.size[1]
        return self.corpus == "real" or pixels > 4e9


X264 = {"preset": "veryfast", "crf": "21"}
OPEN_GOP = "open-gop=1:scenecut=0:keyint=60"
HD, FULL_HD, UHD = (1280, 720), (1920, 1080), (3840, 2160)
CASES = [
    Case("1080p-10s-gop250", "h264", "libx264", FULL_HD, 10, {**X264, "g": "250"}),
    Case("1080p-10s-gop30", "h264", "libx264", FULL_HD, 10, {**X264, "g": "30"}),
    Case("1080p-60s", "h264", "libx264", FULL_HD, 60, X264),
    Case("720p-10min", "h264", "libx264", HD, 600, X264),
    Case("4k-20s", "h264", "libx264", UHD, 20, {"preset": "superfast", "crf": "20"}),
    Case("hevc", "hevc", "libx265", HD, 7, {"preset": "ultrafast", "x265-params": "log-level=0"}),
    Case("vp9", "vp9", "libvpx-vp9", HD, 7, {"deadline": "realtime", "cpu-used": "8"}, ".webm"),
    Case("av1", "av1", "libsvtav1", HD, 7, {"preset": "12"}),
    Case("vfr", "h264", "libx264", HD, 6, X264, uneven=True),
    Case("open-gop", "h264", "libx264", HD, 6, {**X264, "x264-params": OPEN_GOP}),
]
QUICK = [Case("small", "h264", "libx264", (640, 360), 4, {**X264, "g": "60"})]


def make(case: Case, folder: Path, on_frame: Callable[[], None] = lambda: None) -> Path:
    """Write it, unless it is there."""
    path = folder / f"{case.name}{case.ending}"
    if path.exists():
        return path
    part = folder / f".{case.name}{case.ending}"
    width, height = case.size
    frames = round(case.seconds * case.fps)
    with av.open(str(part), "w") as container:
        stream: Any = container.add_stream(case.encoder, rate=case.fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, case.fps)
        stream.options = case.options
        for number, picture in enumerate(case.draw(case.size, frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = number + number // 4 * 2 if case.uneven else number
            frame.time_base = Fraction(1, case.fps)
            container.mux(stream.encode(frame))
            on_frame()
        container.mux(stream.encode())
    take_turns_again()
    part.rename(path)
    return path
