"""Frames shared out by content: each scene gets one, and what moves for long gets the others.

Knows nothing of files: of times and signatures only.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.video.signature import Signatures

STILL = 0.25
"""What a second of a picture that stands still counts for; of one that moves it is up to 1."""
LIVELY = 6.0
"""Mean difference of frames a second apart, in levels of 255: more than this counts as this."""
APART_S = 1.0


@dataclass(frozen=True)
class Scene:
    start: float
    """Ticks, as the end."""
    end: float
    weight: float


def scenes_of(
    changes: Sequence[float],
    blanks: Sequence[tuple[float, float]],
    signatures: Signatures,
    times: NDArray[np.int64],
    start: float,
    end: float,
    tick_s: float,
) -> list[Scene]:
    """In order, from start to end, without what is blank between two scenes or around them.

    Args:
        changes: when another scene begins.
        blanks: from when to when there is nothing to see.
        signatures: (frames, samples), of some frames.
        times: (frames,), when they begin, in ticks; each stays until the next one.
    """
    edges = [start, *(one for one in changes if start < one < end), end]
    found = []
    for first, last in _trimmed(edges, blanks) or [(start, end)]:
        on_screen = max(int(np.searchsorted(times, first, side="right")) - 1, 0)
        inside = slice(on_screen, int(np.searchsorted(times, last)))
        lively = min(_motion(signatures[inside], times[inside], tick_s) / LIVELY, 1.0)
        found.append(Scene(first, last, (last - first) * (STILL + (1 - STILL) * lively)))
    return found


def _trimmed(
    edges: Sequence[float], blanks: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    found = []
    for first, last in itertools.pairwise(edges):
        for begin, end in blanks:
            first = max(first, end) if begin <= first < end else first
            last = min(last, begin) if begin < last <= end else last
        if first < last:
            found.append((first, last))
    return found


def _motion(signatures: Signatures, times: NDArray[np.int64], tick_s: float) -> float:
    """Mean difference of frames about APART_S apart; 0 of a single one."""
    later = np.searchsorted(times, times + round(APART_S / tick_s))
    pairs = [(one, int(other)) for one, other in enumerate(later) if other < len(times)]
    if not pairs and len(times) > 1:
        pairs = [(0, len(times) - 1)]
    differences = [
        np.abs(signatures[one].astype(np.int16) - signatures[other]).mean() for one, other in pairs
    ]
    return float(np.mean(differences)) if differences else 0.0


def share_out(n: int, scenes: Sequence[Scene]) -> list[int]:
    """How many frames each scene gets: one at least, if there are enough, and then by weight.

    By the highest averages (D'Hondt). With fewer frames than scenes the weightiest get one each.
    """
    shares = [0] * len(scenes)
    heaviest = sorted(range(len(scenes)), key=lambda i: -scenes[i].weight)
    for i in heaviest[:n]:
        shares[i] = 1
    for _ in range(n - len(scenes)):
        next_one = max(range(len(scenes)), key=lambda i: scenes[i].weight / (shares[i] + 1))
        shares[next_one] += 1
    return shares


def moments(n: int, scenes: Sequence[Scene]) -> list[float]:
    """Ticks: the centres of equal parts of each scene."""
    return [
        scene.start + (number + 0.5) * (scene.end - scene.start) / share
        for scene, share in zip(scenes, share_out(n, scenes), strict=True)
        for number in range(share)
    ]
