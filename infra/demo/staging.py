"""What a scene leaves open, decided by a seed: exact colours, sizes, places, when the cut comes.

Objects stay inside the centre square, because that is all a model sees of a wide or a tall film.
"""

import colorsys
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from infra.demo.scenes import PATHS, PLACES, Figure, Scene

Rgb = tuple[float, float, float]
"""0 to 1 each."""

Point = tuple[float, float]
"""(x, y) in sides of the centre square, from its top left corner."""

Progress = TypeVar("Progress", float, NDArray[np.float64])

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

TRIES = 200
"""To place two figures so that they never touch; where paths must cross, one passes before the
other."""


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


def staged(scene: Scene, seed: int) -> Staging:
    """The same scene and seed are always filmed in the same way, whatever the background is."""
    rng = np.random.default_rng([seed, 1])
    looks = tuple(_look(part, rng) for part in scene.parts)
    return Staging(looks, float(rng.uniform(0.36, 0.64)) if scene.then else 1.0)


def any_colour(rng: np.random.Generator) -> Rgb:
    """Any vivid colour but those around purple, with a wide margin."""
    low, high = UNPAINTED_HUES
    hue = (high + rng.uniform(0, 360 - (high - low))) % 360
    return colorsys.hsv_to_rgb(
        hue / 360, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.55, 1.0))
    )


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
