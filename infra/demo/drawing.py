"""Figures painted over a grainy background."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from infra.demo.staging import Look, Point

Frame = NDArray[np.uint8]
"""(height, width, 3), RGB."""

SUPERSAMPLING = 4
GRAINS = 4
"""Fields of noise that a film takes turns with."""


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


def grainy(look: Look, width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The background alone, with `GRAINS` fields of noise: (GRAINS, height, width, 3)."""
    noise = rng.normal(0.0, look.noise, (height, width, 1)).astype(np.float32)
    fields = [
        np.roll(noise, tuple(rng.integers(0, (height, width))), axis=(0, 1)) for _ in range(GRAINS)
    ]
    paint = np.asarray(look.background, np.float32) * 255.0
    return np.clip(np.stack(fields) + paint, 0, 255).astype(np.uint8)


def draw_figures(frame: Frame, look: Look, progress: float, brush: Brush) -> None:
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
