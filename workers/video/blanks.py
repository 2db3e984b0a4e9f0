"""Pictures on which there is nothing to see: black or white all over, between scenes or around.

No such picture is a scene, and what leads into it and out of it, at once or slowly, is one change.
Knows nothing of decoding.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.video.signature import LUMA_SAMPLES, Signatures

DARK, BRIGHT = 34, 222
"""Luma on the average: black is 0 or 16, white 235 or 255."""
FLAT, NEUTRAL = 24, 12
"""Luma from the darkest to the brightest sample, which a title's letters exceed and grain does not;
chroma off grey."""
SHORTEST_S = 0.25
"""What is shorter may be a flash, which is told by what comes after it."""
SLOWEST_S = 2.2
"""Into a blank, or out of it."""
BRIGHTER = 1.02
"""A picture has so much more contrast than its neighbour that one fades into the other."""


@dataclass(frozen=True)
class Blank:
    """A run of blank pictures. Indices, of frames."""

    first: int
    end: int
    """The first frame behind it, or the number of frames."""
    before: int | None
    """The last frame that was shown in full; None: the video begins with this blank."""
    after: int | None
    """The first one that is shown in full; None: it ends with it."""


def blanks_of(
    signatures: Signatures, contrast: NDArray[np.float32], passed_s: NDArray[np.float64]
) -> list[Blank]:
    """In order: those that are no flash.

    Args:
        contrast: (frames,), of each picture.
        passed_s: (frames,), when it begins.
    """
    blank = is_blank(signatures)
    return [
        Blank(
            first,
            end,
            _full(contrast, passed_s, blank, first - 1, -1) if first else None,
            _full(contrast, passed_s, blank, end, 1) if end < len(blank) else None,
        )
        for first, end in _runs(blank)
        if passed_s[min(end, len(blank) - 1)] - passed_s[first] >= SHORTEST_S
    ]


def spans_of(signatures: Signatures, times: NDArray[np.int64]) -> list[tuple[float, float]]:
    """In order: from when to when; the last may go on for ever."""
    return [
        (float(times[first]), float(times[end]) if end < len(times) else math.inf)
        for first, end in _runs(is_blank(signatures))
    ]


def _runs(blank: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blank, [0]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def is_blank(signatures: Signatures) -> NDArray[np.bool_]:
    """(frames,)"""
    luma, chroma = signatures[..., :LUMA_SAMPLES], signatures[..., LUMA_SAMPLES:]
    mean = luma.mean(-1)
    flat = luma.max(-1).astype(np.int16) - luma.min(-1) <= FLAT
    grey = np.abs(chroma.mean(-1) - 128) <= NEUTRAL
    blank: NDArray[np.bool_] = flat & grey & ((mean <= DARK) | (mean >= BRIGHT))
    return blank


def _full(
    contrast: NDArray[np.float32],
    passed_s: NDArray[np.float64],
    blank: NDArray[np.bool_],
    beside: int,
    way: int,
) -> int:
    """From the frame beside a blank, the first whose neighbour has no more contrast."""
    at = beside
    while (
        0 <= at + way < len(contrast)
        and not blank[at + way]
        and contrast[at + way] > BRIGHTER * contrast[at]
        and abs(passed_s[at + way] - passed_s[beside]) < SLOWEST_S
    ):
        at += way
    return at
