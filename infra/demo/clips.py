"""A scene becomes a film: jittered, drawn, encoded as H.264 in an MP4.

Everything that a scene leaves open (exact colour, size, place, speed, noise) is drawn from the
clip's seed, so a (scene, clip) pair always gives the same pictures. The object stays inside the
centre square, because that is all a model sees of a wide or a tall video.
"""

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from infra.demo.scenes import MOTIONS, PLACES, Scene

Frame = NDArray[np.uint8]
"""(height, width, 3), RGB."""

Rgb = tuple[float, float, float]
"""0 to 1 each."""

Point = tuple[float, float]
"""(x, y) in sides of the centre square, from its top left corner."""

# Hue, saturation, value. The hues leave a gap around 275°: purple is nobody's neighbour's jitter.
COLOURS = {
    "red": (358, 0.90, 0.88),
    "orange": (27, 0.95, 0.97),
    "yellow": (55, 0.92, 0.97),
    "green": (125, 0.80, 0.65),
    "blue": (217, 0.85, 0.95),
    "pink": (332, 0.48, 1.00),
    "purple": (276, 0.75, 0.75),
}
BACKGROUNDS = {
    "black": (0, 0.00, 0.04),
    "gray": (0, 0.00, 0.50),
    "white": (0, 0.00, 0.96),
    "navy": (232, 0.80, 0.30),
    "brown": (25, 0.55, 0.35),
}
UNPAINTED_HUES = (245.0, 310.0)
"""Degrees; `any_colour` leaves them out, so that purple stays unseen."""

SUPERSAMPLING = 4

SIZES = (
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
"""(width, height) of the films we train and judge on: landscape, portrait and square."""


@dataclass(frozen=True)
class Clip:
    """How a scene is filmed."""

    seed: int
    width: int = 160
    height: int = 96
    fps: int = 24
    duration_s: float = 2.0

    @property
    def frame_count(self) -> int:
        return round(self.fps * self.duration_s)

    @property
    def resolution(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Look:
    """All that a scene leaves open, decided."""

    background: Rgb
    noise: float
    """Standard deviation of the luma noise, in levels of 255."""
    colour: Rgb | None = None
    """None = there is no object."""
    shape: str = ""
    radius: float = 0.0
    """In sides of the centre square."""
    angle: float = 0.0
    """Radians."""
    start: Point = (0.5, 0.5)
    end: Point = (0.5, 0.5)

    def centre(self, progress: float) -> Point:
        """Of the object; `progress` runs from 0 to 1."""
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + (x1 - x0) * progress, y0 + (y1 - y0) * progress


def sample_clip(seed: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> Clip:
    """A film format; large pictures are fewer, which bounds the work per clip."""
    rng = np.random.default_rng(seed)
    width, height = sizes[rng.integers(len(sizes))]
    large = width * height > 100_000
    return Clip(
        seed=seed,
        width=width,
        height=height,
        fps=int(rng.choice((12, 15) if large else (12, 15, 24, 25, 30))),
        duration_s=round(float(rng.uniform(1.0, 2.0 if large else 4.0)), 2),
    )


def look_of(scene: Scene, clip: Clip) -> Look:
    rng = np.random.default_rng([clip.seed, 1])
    background = _jittered(BACKGROUNDS[scene.background], rng)
    noise = float(rng.uniform(0.0, 4.0))
    if scene.empty:
        return Look(background, noise)
    radius = float(rng.uniform(0.21, 0.28))
    start, end = _path(scene.motion, radius, rng)
    return Look(
        background,
        noise,
        colour=_jittered(COLOURS[scene.colour], rng),
        shape=scene.shape,
        radius=radius,
        angle=float(rng.uniform(-0.12, 0.12)),
        start=start,
        end=end,
    )


def render(scene: Scene, clip: Clip) -> NDArray[np.uint8]:
    """The film, (frames, height, width, 3)."""
    look = look_of(scene, clip)
    rng = np.random.default_rng([clip.seed, 2])
    noise = rng.normal(0.0, look.noise, (clip.height, clip.width, 1)).astype(np.float32)
    stencil = _stencil(look, min(clip.width, clip.height))
    last = max(1, clip.frame_count - 1)
    frames = np.empty((clip.frame_count, clip.height, clip.width, 3), np.uint8)
    for i in range(clip.frame_count):
        # One field of noise, displaced: as restless as a new one, and far cheaper.
        grain = np.roll(noise, tuple(rng.integers(0, (clip.height, clip.width))), axis=(0, 1))
        frames[i] = _draw(look, look.centre(i / last), stencil, clip, grain)
    return frames


def write_mp4(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    """(frames, height, width, 3) -> H.264 at `path`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Looking ahead, x264 decides by memory that it did not write: the file would be another
        # one each time.
        stream.options = {"preset": "veryfast", "crf": "20", "x264-params": "rc-lookahead=0"}
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            # By default each conversion starts a thread per core: slower than the work itself.
            container.mux(stream.encode(frame.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode())


def film(scene: Scene, clip: Clip, path: Path) -> Path:
    """Render and encode."""
    write_mp4(path, render(scene, clip), clip.fps)
    return path


def still_frame(look: Look, side: int, seed: int) -> Frame:
    """One square picture at the start of the path, without any encoding."""
    clip = Clip(seed, side, side)
    grain = np.random.default_rng(seed).normal(0.0, look.noise, (side, side, 1))
    return _draw(look, look.start, _stencil(look, side), clip, grain.astype(np.float32))


def any_colour(rng: np.random.Generator) -> Rgb:
    """Any vivid colour but those around purple, with a wide margin."""
    low, high = UNPAINTED_HUES
    hue = (high + rng.uniform(0, 360 - (high - low))) % 360
    return colorsys.hsv_to_rgb(
        hue / 360, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.55, 1.0))
    )


def _jittered(hsv: tuple[float, float, float], rng: np.random.Generator) -> Rgb:
    hue, saturation, value = hsv
    return colorsys.hsv_to_rgb(
        (hue + rng.uniform(-7, 7)) % 360 / 360,
        float(np.clip(saturation + rng.uniform(-0.05, 0.05) * (saturation > 0), 0, 1)),
        float(np.clip(value + rng.uniform(-0.04, 0.04), 0, 1)),
    )


def _path(motion: str, radius: float, rng: np.random.Generator) -> tuple[Point, Point]:
    """Start and end; a moving object crosses most of the square, a still one stays anywhere."""
    near, far = radius + 0.02, 1.0 - radius - 0.02
    way = MOTIONS[motion]
    if way is None:
        place = float(rng.uniform(near, far)), float(rng.uniform(near, far))
        return place, place
    slack = (far - near) * 0.2
    low, high = near + rng.uniform(0, slack), far - rng.uniform(0, slack)
    first, second = (low, high) if list(PLACES).index(way[0]) % 2 == 0 else (high, low)
    across = float(rng.uniform(near, far))
    drift = float(np.clip(across + rng.uniform(-0.05, 0.05), near, far))
    start, end = (float(first), across), (float(second), drift)
    return (start, end) if "left" in way else (start[::-1], end[::-1])


def _stencil(look: Look, side: int) -> NDArray[np.uint8]:
    """The object's coverage from 0 to 255, supersampled; (2h, 2h), h a little over its radius."""
    radius = look.radius * side * SUPERSAMPLING
    half = math.ceil(radius * 1.1) + SUPERSAMPLING
    if look.colour is None:
        return np.zeros((2, 2), np.uint8)
    image = Image.new("L", (2 * half, 2 * half))
    draw = ImageDraw.Draw(image)
    for outline in _outlines(look.shape):
        cos, sin = math.cos(look.angle) * radius, math.sin(look.angle) * radius
        points = [(half + x * cos - y * sin, half + x * sin + y * cos) for x, y in outline]
        draw.polygon(points, fill=255)
    return np.asarray(image)


def _outlines(shape: str) -> Iterator[list[Point]]:
    """Polygons, in radii around the centre; y points down."""
    if shape == "circle":
        yield _ring(64, 0.95)
    elif shape == "square":
        yield [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    elif shape == "triangle":
        yield [(0.0, -0.95), (0.97, 0.8), (-0.97, 0.8)]
    elif shape == "star":
        corners = _ring(10, 1.08)
        yield [(x * 0.42, y * 0.42) if i % 2 else (x, y) for i, (x, y) in enumerate(corners)]
    elif shape == "heart":
        # The classic x = 16 sin³ t curve (mathworld.wolfram.com/HeartCurve.html).
        angles = [2 * math.pi * i / 64 for i in range(64)]
        yield [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                / 16.0,
            )
            for t in angles
        ]
    elif shape == "cross":
        yield [(-0.28, -0.98), (0.28, -0.98), (0.28, 0.98), (-0.28, 0.98)]
        yield [(-0.98, -0.28), (0.98, -0.28), (0.98, 0.28), (-0.98, 0.28)]


def _ring(points: int, radius: float) -> list[Point]:
    """The first one is at the top."""
    angles = [2 * math.pi * i / points for i in range(points)]
    return [(radius * math.sin(t), -radius * math.cos(t)) for t in angles]


def _draw(
    look: Look, centre: Point, stencil: NDArray[np.uint8], clip: Clip, grain: NDArray[np.float32]
) -> Frame:
    """grain: (height, width, 1), in levels of 255."""
    canvas = np.empty((clip.height, clip.width, 3), np.float32)
    canvas[:] = np.asarray(look.background, np.float32) * 255.0
    if look.colour is not None:
        side = min(clip.width, clip.height)
        x = centre[0] * side + (clip.width - side) / 2
        y = centre[1] * side + (clip.height - side) / 2
        cover, left, top = _placed(stencil, x, y)
        rows, columns = cover.shape
        # A jittered size may put the outermost fringe over the edge of the picture.
        y0, y1 = max(0, top), min(clip.height, top + rows)
        x0, x1 = max(0, left), min(clip.width, left + columns)
        cover = cover[y0 - top : y1 - top, x0 - left : x1 - left, None]
        paint = np.asarray(look.colour, np.float32) * 255.0
        canvas[y0:y1, x0:x1] += cover * (paint - canvas[y0:y1, x0:x1])
    return np.clip(canvas + grain, 0, 255).astype(np.uint8)


def _placed(stencil: NDArray[np.uint8], x: float, y: float) -> tuple[NDArray[np.float32], int, int]:
    """Coverage per pixel of a stencil centred at (x, y) pixels, with its left and top pixel."""
    s, half = SUPERSAMPLING, stencil.shape[0] // 2
    left, top = round(x * s) - half, round(y * s) - half
    dx, dy = left % s, top % s
    rows = -(-(stencil.shape[0] + dy) // s)
    columns = -(-(stencil.shape[1] + dx) // s)
    fine = np.zeros((rows * s, columns * s), np.uint8)
    fine[dy : dy + stencil.shape[0], dx : dx + stencil.shape[1]] = stencil
    cover = np.asarray(Image.fromarray(fine).reduce(s), np.float32) / 255.0
    return cover, (left - dx) // s, (top - dy) // s
