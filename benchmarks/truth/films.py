"""What a film of the corpus is: how it is made, and what is true of it.

Knows no decoder. What is true is what was drawn, not what some program says of the file.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.truth.studio import Studio

SIZE = (160, 96)
"""Pixels; of pictures that need no other."""

NOTHING, ANY = -1, -2


@dataclass(frozen=True)
class Shown:
    """Which frames are on screen, and when."""

    times_s: tuple[float, ...]
    """Since the first; rising."""
    numbers: tuple[int, ...]
    """As they are painted; NOTHING where nothing is, ANY where it cannot be made out."""
    ends_s: float

    def at(self, moment_s: float) -> int:
        """Which of them (not its number) is on screen."""
        return max(bisect.bisect_right(self.times_s, moment_s) - 1, 0)


def evenly(frames: int, fps: float, *, first: int = 0, held_s: float = 0.0) -> Shown:
    """Args:
    held_s: how much longer than the others the last one stays.
    """
    numbers = tuple(range(first, first + frames))
    return Shown(tuple(i / fps for i in range(frames)), numbers, frames / fps + held_s)


def at_times(times_s: Sequence[float], ends_s: float) -> Shown:
    return Shown(tuple(times_s), tuple(range(len(times_s))), ends_s)


@dataclass(frozen=True)
class Film:
    kind: str
    name: str
    """Of the file."""
    make: Callable[["Studio", Path], None]
    shown: Shown
    aspect: float = SIZE[0] / SIZE[1]
    """Of the picture as it is to be shown, width by height."""
    cuts_s: tuple[float, ...] | None = None
    """Where the scene changes; None: nobody asks."""
    joined: bool = False
    """Of several recordings: the record may say so."""
    refused_as: str = ""
    """A pattern: it may also be refused, in these words. Empty: it may not."""
    is_film: bool = True
    """False: it must be refused."""
    slack_s: float = 0.0015
    """How finely the container tells times."""
    colours: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """In the corners, where these are to be right; not only recognisable."""
    colour_slack: int = 12
    no_black: bool = False
    """Scenes are asked for: none of them is the black between two."""
    open_s: float = 0.0
    """By so much its length may differ: the container does not tell how long the last one stays."""
    combed: bool = False
    """It was interlaced: fields must not be seen."""
