"""What a measure is: numbers of each caption that can be added up, and a figure of their sums.

So the figure of a set, of a slice, of one caption and of a thousand resampled sets is one formula.
The measures themselves are in files of their own.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.judged import Better
from workers.judge.items import Item

Numbers = NDArray[np.float64]


class Measure(Protocol):
    @property
    def name(self) -> str:
        """By which policies name it."""

    @property
    def title(self) -> str:
        """For people, with its unit."""

    @property
    def better(self) -> Better:
        """Which way is up."""

    @property
    def percent(self) -> bool:
        """It is a share, 0 to 1, and shown in percent."""

    def why_not(self, items: Sequence[Item]) -> str | None:
        """Why it says nothing of this set: too small, too short, a library is missing. None: it
        does."""

    def sums(self, items: Sequence[Item]) -> Numbers:
        """(items, numbers)."""

    def figure(self, sums: Numbers) -> Numbers:
        """(..., numbers), added up over a set -> (...); NaN where they say nothing."""


def ratio(over: Numbers, under: Numbers) -> Numbers:
    """NaN where nothing was counted."""
    made: Numbers = np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)
    return made


def counted(values: Sequence[float]) -> Numbers:
    """(items, 2): each value, and that it is one; their figure is the mean."""
    return np.array([[value, 1.0] for value in values], dtype=np.float64).reshape(-1, 2)


def mean(sums: Numbers) -> Numbers:
    return ratio(sums[..., 0], sums[..., 1])
