"""A scene becomes a film: jittered, drawn and encoded.

Everything that a scene leaves open (exact colour, size, place, speed, noise, when the cut comes)
is drawn from the clip's seed, so a (scene, clip) pair always gives the same pictures. Objects stay
inside the centre square, because that is all a model sees of a wide or a tall film.
"""

import colorsys
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from infra.demo.scenes import PATHS, PLACES, Figure, Scene

Frame = NDArray[np.uint8]
"""(height, width, 3), RGB."""

Rgb = tuple[float, float, float]
"""0 to 1 each."""

Point = tuple[float, float]
"""(x, y) in sides of the centre square, from its top left corner."""

Size = tuple[int, int]
"""(width, height) in pixels."""

Progress = TypeVar("Progress", float, NDArray[np.float64])

Codec = Literal["h264", "hevc", "vp9"]

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
TRIES = 200
"""To place two figures so that they never touch; where paths must cross, one passes before the
other."""
GRAINS = 4
"""Fields of noise that a film takes turns with."""

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


@dataclass(frozen=True)
class FigureLook:
    """All that a figure leaves open, decided."""

    colour: Rgb
    shape: str
    angle: float
    """Radians."""
    start: Point
    end: Point
    radii: tuple[float, float]
    """At the start and at the end, in sides of the centre square."""

    def at(self, progress: Progress) -> tuple[Progress, Progress, Progress]:
        """x, y and radius; `progress` runs from 0 to 1."""
        (x0, y0), (x1, y1), (r0, r1) = self.start, self.end, self.radii
        return (
            x0 + (x1 - x0) * progress,
            y0 + (y1 - y0) * progress,
            r0 + (r1 - r0) * progress,
        )


@dataclass(frozen=True)
class Look:
    """All that one part of a scene leaves open, decided."""

    background: Rgb
    noise: float
    """Standard deviation of the luma noise, in levels of 255."""
    figures: tuple[FigureLook, ...] = ()


@dataclass(frozen=True)
class Staging:
    """A scene's looks, and when each is on the screen."""

    looks: tuple[Look, ...]
    """One for each part of the scene."""
    cut: float
    """Where the second part begins, as a share of the film; 1 = there is none."""

    def at(self, time: float) -> tuple[int, float]:
        """Which part is on the screen, and how far along it is; `time` is a share of the film."""
        if time < self.cut:
            return 0, time / self.cut
        if len(self.looks) == 1:
            return 0, 1.0
        return 1, (time - self.cut) / (1.0 - self.cut)


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


def staged(scene: Scene, clip: Clip) -> Staging:
    """The same scene and clip are always filmed in the same way, whatever the background is."""
    rng = np.random.default_rng([clip.seed, 1])
    looks = tuple(_look(part, rng) for part in scene.parts)
    return Staging(looks, float(rng.uniform(0.36, 0.64)) if scene.then else 1.0)


def render(scene: Scene, clip: Clip) -> NDArray[np.uint8]:
    """The film, (frames, height, width, 3)."""
    staging = staged(scene, clip)
    rng = np.random.default_rng([clip.seed, 2])
    empty = [_grainy(look, clip, rng) for look in staging.looks]
    # Never the same field twice in a row, or the picture would stand still.
    grains = np.cumsum(rng.integers(1, GRAINS, clip.frame_count)) % GRAINS
    brush = Brush(min(clip.width, clip.height))
    frames = np.empty((clip.frame_count, clip.height, clip.width, 3), np.uint8)
    last = max(1, clip.frame_count - 1)
    for i in range(clip.frame_count):
        part, progress = staging.at(i / last)
        frames[i] = empty[part][grains[i]]
        _draw(frames[i], staging.looks[part], progress, brush)
    return frames


def write_film(path: Path, frames: NDArray[np.uint8], fps: int, codec: Codec = "h264") -> None:
    """(frames, height, width, 3) -> a video at `path`; its suffix names the container."""
    encoder, options = ENCODERS[codec]
    # Bit-exact: a WebM would carry a random id.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoder, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
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
    frame = _grainy(look, Clip(seed, side, side), np.random.default_rng(seed))[0]
    _draw(frame, look, progress, Brush(side))
    return frame


def any_colour(rng: np.random.Generator) -> Rgb:
    """Any vivid colour but those around purple, with a wide margin."""
    low, high = UNPAINTED_HUES
    hue = (high + rng.uniform(0, 360 - (high - low))) % 360
    return colorsys.hsv_to_rgb(
        hue / 360, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.55, 1.0))
    )


# What a seed decides.


def _look(scene: Scene, rng: np.random.Generator) -> Look:
    # Drawn first, and of one number each: figures do not depend on the background.
    shade = rng.uniform(-1, 1, 3)
    noise = float(rng.uniform(0.0, 4.0))
    tries = (
        tuple(_figure_look(figure, rng, len(scene.figures)) for figure in scene.figures)
        for _ in range(TRIES if len(scene.figures) > 1 else 1)
    )
    figures, touching = (), math.inf
    for drawn in tries:
        if (found := _touching(drawn)) < touching:
            figures, touching = drawn, found
        if not found:
            break
    return Look(_shaded(BACKGROUNDS[scene.background], shade), noise, figures)


def _touching(figures: tuple[FigureLook, ...]) -> float:
    """How long two figures touch, as a share of the time."""
    if len(figures) < 2:
        return 0.0
    times = np.linspace(0, 1, 17)
    (x0, y0, r0), (x1, y1, r1) = (figure.at(times) for figure in figures)
    return float(np.mean(np.hypot(x1 - x0, y1 - y0) < (r0 + r1) * 1.08))


def _figure_look(figure: Figure, rng: np.random.Generator, neighbours: int) -> FigureLook:
    shade = rng.uniform(-1, 1, 3)
    alone, grows = neighbours == 1, figure.motion in ("growing", "shrinking")
    # What stands still or moves may be as small as what is about to grow: size alone tells nothing.
    small, large = (0.20 if grows else 0.14, 0.27) if alone else (0.11, 0.14)
    radius = float(rng.uniform(small, large))
    radii = (radius, radius)
    if grows:
        ends = radius * float(rng.uniform(0.53, 0.63)), radius * 1.1
        radii = ends if figure.motion == "growing" else ends[::-1]
    start, end = _path(figure.motion, max(radii), rng, neighbours)
    return FigureLook(
        _shaded(COLOURS[figure.colour], shade),
        figure.shape,
        float(rng.uniform(-0.12, 0.12)),
        start,
        end,
        radii,
    )


def _path(
    motion: str, radius: float, rng: np.random.Generator, neighbours: int
) -> tuple[Point, Point]:
    """Start and end. What moves crosses most of the square, or half of it beside another."""
    near, far = radius + 0.02, 1.0 - radius - 0.02
    if motion not in PATHS:
        place = float(rng.uniform(near, far)), float(rng.uniform(near, far))
        return place, place
    goal = PLACES[PATHS[motion][1]]
    shortest = 0.8 if neighbours == 1 else 0.4
    start, end = [], []
    for direction in goal:
        if direction == 0:
            across = float(rng.uniform(near, far))
            start.append(across)
            end.append(float(np.clip(across + rng.uniform(-0.05, 0.05), near, far)))
        else:
            length = (far - near) * float(rng.uniform(shortest, 1.0))
            low = float(rng.uniform(near, far - length))
            ends = (low, low + length)
            start.append(ends[0 if direction > 0 else 1])
            end.append(ends[1 if direction > 0 else 0])
    return (start[0], start[1]), (end[0], end[1])


def _shaded(hsv: tuple[float, float, float], shade: NDArray[np.float64]) -> Rgb:
    """A little off; `shade` is three numbers from -1 to 1."""
    hue, saturation, value = hsv
    return colorsys.hsv_to_rgb(
        (hue + 7 * shade[0]) % 360 / 360,
        float(np.clip(saturation + 0.05 * shade[1] * (saturation > 0), 0, 1)),
        float(np.clip(value + 0.04 * shade[2], 0, 1)),
    )


# Drawing.


class Brush:
    """Stencils of figures on a square of `side` pixels, kept while they stay the same."""

    def __init__(self, side: int) -> None:
        self.side = side
        self._kept: dict[tuple[str, float, float], NDArray[np.uint8]] = {}

    def stencil(self, shape: str, angle: float, radius: float) -> NDArray[np.uint8]:
        """Coverage from 0 to 255, supersampled; (2h, 2h), h a little over the radius."""
        name = (shape, angle, radius)
        if name not in self._kept:
            self._kept[name] = self._cut(*name)
        return self._kept[name]

    def _cut(self, shape: str, angle: float, radius: float) -> NDArray[np.uint8]:
        pixels = radius * self.side * SUPERSAMPLING
        half = math.ceil(pixels * 1.1) + SUPERSAMPLING
        image = Image.new("L", (2 * half, 2 * half))
        draw = ImageDraw.Draw(image)
        for outline in _outlines(shape):
            cos, sin = math.cos(angle) * pixels, math.sin(angle) * pixels
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


def _grainy(look: Look, clip: Clip, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The background alone, with `GRAINS` fields of noise: (GRAINS, height, width, 3)."""
    noise = rng.normal(0.0, look.noise, (clip.height, clip.width, 1)).astype(np.float32)
    fields = [
        np.roll(noise, tuple(rng.integers(0, (clip.height, clip.width))), axis=(0, 1))
        for _ in range(GRAINS)
    ]
    paint = np.asarray(look.background, np.float32) * 255.0
    return np.clip(np.stack(fields) + paint, 0, 255).astype(np.uint8)


def _draw(frame: Frame, look: Look, progress: float, brush: Brush) -> None:
    """Paint the figures over the background; its grain shines through."""
    height, width = frame.shape[:2]
    background = np.asarray(look.background, np.float32) * 255.0
    for figure in look.figures:
        x, y, radius = figure.at(progress)
        x = x * brush.side + (width - brush.side) / 2
        y = y * brush.side + (height - brush.side) / 2
        cover, left, top = _placed(brush.stencil(figure.shape, figure.angle, radius), x, y)
        rows, columns = cover.shape
        # The outermost fringe may be over the edge of the picture.
        y0, y1 = max(0, top), min(height, top + rows)
        x0, x1 = max(0, left), min(width, left + columns)
        cover = cover[y0 - top : y1 - top, x0 - left : x1 - left, None]
        paint = np.asarray(figure.colour, np.float32) * 255.0
        painted = frame[y0:y1, x0:x1] + cover * (paint - background)
        frame[y0:y1, x0:x1] = np.clip(painted, 0, 255).astype(np.uint8)


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
