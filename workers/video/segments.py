"""Where a long video is parted: at scene changes, as near as they are to where it suits.

Knows nothing of how the changes were found.
"""

import itertools
from collections.abc import Sequence

SHORTEST_S, LONGEST_S = 10.0, 60.0
"""Of a segment that nobody gave a length."""
LEAST_S = 0.1
"""Of any segment."""
MOST = 300
"""Segments of one video; those of very long ones are longer instead."""
NEAR = 0.25
"""Of a segment's length: so far from its place a cut may be."""


def part(duration_s: float, wanted: str, changes_s: Sequence[float]) -> list[tuple[float, float]]:
    """Start and end of each segment, without gaps; at least one.

    Args:
        wanted: `auto`, how many (`8`), or how long (`30s`).
        changes_s: sorted.
    """
    if wanted == "auto":
        cuts = _by_scenes(duration_s, changes_s)
    elif wanted.endswith("s"):
        cuts = _evenly(duration_s, duration_s / max(float(wanted[:-1]), LEAST_S), changes_s)
    else:
        cuts = _evenly(duration_s, int(wanted), changes_s)
    edges = [0.0, *(round(cut, 6) for cut in cuts), duration_s]
    return list(itertools.pairwise(edges))


def _evenly(duration_s: float, wanted: float, changes_s: Sequence[float]) -> list[float]:
    count = max(round(min(wanted, MOST, duration_s // LEAST_S)), 1)
    length = duration_s / count
    cuts: list[float] = []
    for number in range(1, count):
        place = number * length
        near = [change for change in changes_s if abs(change - place) <= NEAR * length]
        cuts.append(min(near, key=lambda change: abs(change - place), default=place))
    return cuts


def _by_scenes(duration_s: float, changes_s: Sequence[float]) -> list[float]:
    """As few as the longest allows, each as long as it may be."""
    shortest = max(SHORTEST_S, duration_s / (MOST - 1))
    longest = max(LONGEST_S, 2 * shortest)
    cuts: list[float] = []
    start = 0.0
    while duration_s - start > longest:
        # What is left after the cut must not be too short either.
        latest = min(start + longest, duration_s - shortest)
        fit = [change for change in changes_s if start + shortest <= change <= latest]
        start = fit[-1] if fit else latest
        cuts.append(start)
    return cuts
