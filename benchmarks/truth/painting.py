"""Pictures that say which frame they are, and which way up: drawn here, read again after a decoder.

In each corner lies a colour of its own. Across the middle go bars: one black, the frame's number in
Gray code (from frame to frame one bar changes, which no detector takes for a cut), the number of
its ones, one white. All of it is told in parts of the picture's sides, so any size can be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(height, width, 3), RGB."""

NUMBERS = 1024
"""Then they begin again."""
BITS, ONES = 10, 2
BARS = 1 + BITS + ONES + 1
LEFT, RIGHT, TOP, BOTTOM = 0.08, 0.92, 0.40, 0.60
"""Where the bars are, in parts of the picture's sides."""
CORNER = 0.22
DARK, LIGHT = 40, 215
CORNERS = {
    "top left": (200, 30, 30),
    "top right": (30, 180, 30),
    "bottom left": (30, 30, 200),
    "bottom right": (220, 220, 220),
}
OUTSIDE = (230, 20, 230)
"""What is to be cropped: no other part of a picture has such a colour."""
GROUNDS = ((128, 128, 128), (60, 44, 16), (216, 190, 150), (16, 60, 92), (0, 0, 0))
"""Of each scene: its background."""
BLACK = 4
TURNS = ("upright", "90", "180", "270", "mirrored", "mirrored 90", "mirrored 180", "mirrored 270")
"""Left."""


@dataclass(frozen=True)
class Read:
    """What is told by a picture."""

    number: int | None
    """None: the bars make no sense."""
    turn: str
    """How it has been turned, counter-clockwise; mirrored first."""


def paint(number: int, size: tuple[int, int], scene: int = 0) -> Picture:
    """Args:
    size: (width, height)
    scene: which background; BLACK has nothing on it.
    """
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = GROUNDS[scene]
    if scene == BLACK:
        return picture
    down, across = round(height * CORNER), round(width * CORNER)
    places = (
        (slice(0, down), slice(height - down, None)),
        (slice(0, across), slice(-across, None)),
    )
    for name, colour in CORNERS.items():
        picture[places[0]["bottom" in name], places[1]["right" in name]] = colour
    edges = [round(width * (LEFT + (RIGHT - LEFT) * i / BARS)) for i in range(BARS + 1)]
    rows = slice(round(height * TOP), round(height * BOTTOM))
    for bar, bit in enumerate(_bits(number)):
        picture[rows, edges[bar] : edges[bar + 1]] = LIGHT if bit else DARK
    return picture


def with_stripe(picture: Picture, place: float) -> Picture:
    """Something that moves, above and below the bars.

    Args:
        place: from 0, left, to 1.
    """
    height, width = picture.shape[:2]
    left = round((0.1 + 0.7 * place) * width)
    for top, bottom in ((0.24, 0.36), (0.64, 0.76)):
        part = slice(round(top * height), round(bottom * height))
        picture[part, left : left + round(0.1 * width)] = LIGHT
    return picture


def framed(picture: Picture, left: int, top: int, right: int, bottom: int) -> Picture:
    """With so many pixels around it that are to be cropped."""
    height, width = picture.shape[:2]
    whole = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    whole[:] = OUTSIDE
    whole[top : top + height, left : left + width] = picture
    return whole


def read(picture: Picture) -> Read:
    best = max(range(len(TURNS)), key=lambda turn: _likeness(_turned_back(picture, turn)))
    upright = _turned_back(picture, best)
    grey = upright.astype(float).mean(axis=2)
    height, width = grey.shape
    rows = grey[round(height * 0.46) : max(round(height * 0.54), round(height * 0.46) + 1)]
    levels = []
    for bar in range(BARS):
        middle = width * (LEFT + (RIGHT - LEFT) * (bar + 0.5) / BARS)
        reach = width * (RIGHT - LEFT) / BARS * 0.25
        first = int(middle - reach)
        levels.append(float(rows[:, first : max(int(middle + reach), first + 1)].mean()))
    black, white = levels[0], levels[-1]
    if white - black < 40:
        return Read(None, TURNS[best])
    bits = [level > (black + white) / 2 for level in levels]
    gray, number = 0, 0
    for bit in bits[1 : 1 + BITS]:
        gray = gray << 1 | bit
    while gray:
        number ^= gray
        gray >>= 1
    return Read(number if bits == _bits(number) else None, TURNS[best])


def outside(picture: Picture) -> float:
    """Which share of it should have been cropped."""
    red, green, blue = (picture[..., i].astype(int) for i in range(3))
    return float(((red > 150) & (blue > 150) & (green < 110)).mean())


def corners(picture: Picture) -> dict[str, tuple[int, int, int]]:
    """The colours found in them."""
    height, width = picture.shape[:2]
    down, across = max(int(height * CORNER / 2), 1), max(int(width * CORNER / 2), 1)
    found: dict[str, tuple[int, int, int]] = {}
    for name in CORNERS:
        top = height - down - down // 2 - 1 if "bottom" in name else down // 2
        left = width - across - across // 2 - 1 if "right" in name else across // 2
        part = picture[top : top + down, left : left + across].reshape(-1, 3)
        red, green, blue = (round(float(value)) for value in part.mean(axis=0))
        found[name] = (red, green, blue)
    return found


def _bits(number: int) -> list[bool]:
    number %= NUMBERS
    gray = number ^ number >> 1
    bits = [bool(gray >> i & 1) for i in reversed(range(BITS))]
    ones = sum(bits) % 2**ONES
    return [False, *bits, *(bool(ones >> i & 1) for i in reversed(range(ONES))), True]


def _turned_back(picture: Picture, turn: int) -> Picture:
    mirrored, quarters = divmod(turn, 4)
    back: Picture = np.rot90(picture, -quarters)
    return back[:, ::-1] if mirrored else back


def _likeness(picture: Picture) -> float:
    """By their hue: brightness and contrast may have changed."""
    found = corners(picture)
    likeness = 0.0
    for name, wanted in CORNERS.items():
        likeness -= float(np.abs(_hue(found[name]) - _hue(wanted)).sum())
    return likeness


def _hue(colour: Sequence[int]) -> NDArray[np.float64]:
    levels: Any = np.array(colour, np.float64)
    return np.asarray(levels - levels.mean(), np.float64)
