"""Scene changes in a row of signatures: what changed for good, and neither moved nor flashed.

A cut: the frames just before and just after differ, each from each, and by more than neighbours do.
One frame of light, or a few, comes back to what was before and fails; a pan and a shaken camera
differ as much from one frame to the next as across. A gradual change: between two times that differ
much more than each from what lies further out, the picture halfway is the mean of both (a dissolve)
or has lost its contrast (a fade), and it got there without a jump. Around pictures on which there
is nothing to see, what was before is compared with what comes after. A picture that is held is as
good as several.

The thresholds were chosen on drawn videos, of the generator of benchmarks.scenes but with other
random shots and mostly other sizes, contrasts and encoder settings; not on the benchmark's own, and
not on real footage. Knows nothing of decoding.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.video.blanks import blanks_of
from workers.video.signature import CHROMA_SIDE, LUMA_SAMPLES, LUMA_SIDE, Signatures

POOL = 4
"""Samples each way that are averaged: what moves a little changes a sample, but hardly a mean."""
LUMA = (LUMA_SIDE // POOL) ** 2

# Distances are in levels of 255: the mean of the luma's differences plus that of the chroma's.
CUT, PER_MOTION = 17.5, 0.8
"""A cut is at least so far, and farther by so much of the least steps beside it."""
VIVID, FAINTEST = 16.0, 0.5
"""Pictures of less contrast are less far apart: at half of it, half as far is enough."""
SUDDEN = 0.7
"""The nearest frames across a cut are so much as far apart as those across usually are."""
FLASH_S = 0.25
"""What came back by then was no cut, and nothing shorter is a scene."""
MOST_BESIDE = 16
"""Frames on each side of a cut, of those within that time."""

HELD_S = 1.0
"""A picture that is shown for so long is a scene by itself, if those around it are others: a slide,
or a screen on which little happens."""

GRID_S = 1 / 15
"""Gradual changes are looked for at even times, so far apart or as far as the frames are."""
LAGS_S = (0.4, 0.67, 0.93, 1.2, 1.6, 2.13)
"""Between the two pictures of a gradual change."""
GRADUAL = 24.0
OUTSIDE, BEND, JUMP = 0.45, 0.26, 0.45
"""Of a dissolve, in shares of the distance of the two: how far either is from what lies half a lag
further out, how far the middle from their mean, and the greatest step on the way; at most."""
PALE, FADE_OUTSIDE, FADE_JUMP = 0.3, 0.8, 0.75
"""Of a fade: the contrast of the middle as a share of the lower one of the two; then as above, but
steps as a share of the way to the middle."""
LONGEST_GAP_S = 2.0
"""A longer one counts as so long."""

Features = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Change:
    time: int
    """Ticks: of the first frame that shows the new scene; of a gradual change the middle."""
    kind: Literal["cut", "gradual"]


def changes_of(
    signatures: Signatures,
    times: NDArray[np.int64],
    tick_s: float,
    end: float | None = None,
) -> list[Change]:
    """In order of time.

    Args:
        times: (frames,), ticks, rising; of all frames or, evenly, of a part of them.
        tick_s: seconds a tick.
        end: ticks; when the last one leaves the screen.
    """
    if not len(times):
        return []
    features = _pooled(signatures)
    shown_s = np.append(np.diff(times), (end or 0) - times[-1]) * tick_s
    passed_s = np.concatenate([[0.0], np.cumsum(shown_s[:-1].clip(0, LONGEST_GAP_S))])
    # A second look at what is held, just before it goes.
    held = np.repeat(np.arange(len(times)), 1 + (shown_s >= HELD_S))
    again = np.concatenate([[False], np.diff(held) == 0])
    looked_s = passed_s[held] + again * shown_s[held].clip(0, LONGEST_GAP_S)
    cuts: list[int] = []
    for i in held[_cuts(features[held], looked_s)].tolist():
        if not cuts or passed_s[i] - passed_s[cuts[-1]] >= FLASH_S:
            cuts.append(i)
    found = [Change(int(times[i]), "cut") for i in cuts]
    found += [Change(int(times[i]), "gradual") for i in _gradual(features, cuts, passed_s)]
    for blank in blanks_of(signatures, _contrast(features), passed_s):
        begins, ends = times[blank.before or 0], times[-1 if blank.after is None else blank.after]
        found = [one for one in found if not begins < one.time <= ends]
        if blank.before is not None and blank.after is not None:
            before, after = features[blank.before], features[blank.after]
            if _apart(before, after) > CUT * max(_vivid(before), _vivid(after)):
                middle = (int(times[blank.first]) + int(times[blank.end])) // 2
                found.append(Change(middle, "gradual"))
    return sorted(found, key=lambda one: one.time)


def _pooled(signatures: Signatures) -> Features:
    """(frames, 36 + 9 + 9), weighted so that a sum of differences is a distance."""
    luma = _means(signatures[:, :LUMA_SAMPLES].reshape(-1, LUMA_SIDE, LUMA_SIDE))
    chroma = _means(signatures[:, LUMA_SAMPLES:].reshape(-1, 2 * CHROMA_SIDE, CHROMA_SIDE))
    return np.hstack([luma / luma.shape[1], chroma / chroma.shape[1]])


def _means(planes: Signatures) -> Features:
    count, rows, columns = planes.shape
    blocks = planes.reshape(count, rows // POOL, POOL, columns // POOL, POOL)
    means: Features = blocks.mean((2, 4), dtype=np.float32).reshape(count, -1)
    return means


def _apart(one: Features, other: Features) -> Features:
    distance: Features = np.abs(one - other).sum(-1)
    return distance


def _cuts(features: Features, passed_s: NDArray[np.float64]) -> list[int]:
    """Indices of the first frames behind cuts."""
    if len(features) < 4:
        return []
    steps = _apart(features[1:], features[:-1])  # steps[i - 1]: from frame i - 1 to frame i
    vivid = _vivid(features)
    found: list[int] = []
    for i in np.flatnonzero(steps > FAINTEST * CUT) + 1:
        early = np.searchsorted(passed_s, passed_s[i - 1] - FLASH_S)
        late = np.searchsorted(passed_s, passed_s[i] + FLASH_S, side="right")
        begin, end = i - np.clip(i - early, 2, MOST_BESIDE), i + np.clip(late - i, 2, MOST_BESIDE)
        if begin < 0 or end > len(features):
            continue
        before, after = features[begin:i], features[i:end]
        across = _apart(before[:, None], after[None])
        # The least steps: a flash makes two great ones, but all are great in a pan.
        motion = (steps[begin : i - 1].min() + steps[i : end - 1].min()) / 2
        nearest = across.min()
        # The most vivid picture around: a flash is pale.
        least = CUT * float(vivid[begin:end].max()) + PER_MOTION * motion
        if nearest > least and nearest > SUDDEN * np.median(across):
            found.append(int(i))
    return found


def _gradual(features: Features, cuts: list[int], passed_s: NDArray[np.float64]) -> list[int]:
    """Indices of the frames halfway."""
    grid_s = max(GRID_S, float(passed_s[-1]) / len(passed_s))
    grid = np.arange(0, passed_s[-1] + grid_s / 2, grid_s)
    shown = np.searchsorted(passed_s, grid + 1e-6, side="right") - 1
    even = features[shown]
    cut_before = np.searchsorted(np.array(cuts, np.intp), shown, side="right")
    steps = np.concatenate([[0], _apart(even[1:], even[:-1])]).astype(np.float32)
    candidates: list[tuple[bool, float, int, int]] = []
    for lag_s in LAGS_S:
        half = max(2, round(lag_s / grid_s / 2))
        candidates += _halfway(even, steps, cut_before, half)
    taken: list[tuple[int, int]] = []
    # A fade is also a dissolve to one colour and another one from it: the whole comes first.
    for _, _, middle, half in sorted(candidates, reverse=True):
        if all(abs(middle - other) > half + wide for other, wide in taken):
            taken.append((middle, half))
    return [int(shown[middle]) for middle, _ in taken]


def _halfway(
    even: Features, steps: NDArray[np.float32], cut_before: Indices, half: int
) -> list[tuple[bool, float, int, int]]:
    """(fade, score, index into the grid, half) of each run of middles that passes, for one lag."""
    middles = np.arange(2 * half, len(even) - 2 * half)
    if not len(middles):
        return []
    first, second, middle = even[middles - half], even[middles + half], even[middles]
    span = _apart(first, second).clip(1e-3)
    outside = np.maximum(
        _apart(even[middles - 2 * half], first), _apart(second, even[middles + 2 * half])
    )
    bend = _apart(middle, (first + second) * np.float32(0.5))
    around = np.lib.stride_tricks.sliding_window_view(steps, 2 * half)
    jump = around[middles - half + 1].max(1)
    pale = _contrast(middle) < PALE * np.minimum(_contrast(first), _contrast(second))
    by_way = np.minimum(_apart(first, middle), _apart(middle, second))
    fade = pale & (outside < FADE_OUTSIDE * span) & (jump < FADE_JUMP * by_way)
    dissolve = (outside < OUTSIDE * span) & (bend < BEND * span) & (jump < JUMP * span)
    whole = cut_before[middles - half] == cut_before[middles + half]
    passes = (
        (fade | dissolve) & whole & (span > GRADUAL * np.maximum(_vivid(first), _vivid(second)))
    )
    scores = span - outside - np.where(fade, 0, bend)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], passes, [0]])))
    return [
        (
            bool(fade[begin:end].any()),
            float(scores[begin:end].max()),
            int(middles[(begin + end - 1) // 2]),
            half,
        )
        for begin, end in edges.reshape(-1, 2)
    ]


def _vivid(features: Features) -> Features:
    """What share of a distance is to be asked of such pictures."""
    return (_contrast(features) / VIVID).clip(FAINTEST, np.float32(1))


def _contrast(features: Features) -> Features:
    """Mean difference of the luma from its mean."""
    luma = features[..., :LUMA]
    contrast: Features = np.abs(luma - luma.mean(-1, keepdims=True)).sum(-1)
    return contrast
