"""Which bytes of a file hold the frames that are wanted: worked out from its index.

Knows nothing of where the bytes are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.video.timeline import ENTRIES_A_TICK, Timeline

Range = tuple[int, int]
"""Of bytes; the end is not part of it."""
AFTER = 6
"""Frames beyond a target that the decoder may want before it gives the target: reordering."""


@dataclass(frozen=True)
class Index:
    """Of all frames, in the order of decoding."""

    times: NDArray[np.int64]
    """Ticks, shifted as the timeline's, and never falling."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Bytes."""
    keys: NDArray[np.int64]
    """Which of them are keyframes."""
    keys_shown: NDArray[np.int64]
    """(keyframes,): when they are shown, in ticks. Frames that are shown before one may be decoded
    after it, but not from it."""

    def plan(self, targets: Sequence[int]) -> list[Range]:
        """Sorted and apart: from the keyframe before each target to a few frames after it.

        Args:
            targets: sorted times of frames.
        """
        ranges: list[Range] = []
        first = 0
        wanted = np.array(targets, np.int64)
        afters = np.searchsorted(self.times, wanted, side="right")
        before = np.searchsorted(self.keys_shown, wanted, side="right") - 1
        for after, key in zip(afters, before, strict=True):
            first = max(first, int(self.keys[key]) if key >= 0 else 0)
            last = min(int(after) + AFTER, len(self.times))
            if first < last:
                needed = slice(first, last)
                ranges.append((int(self.starts[needed].min()), int(self.ends[needed].max())))
            first = max(first, last - AFTER - 1)
        return merged(ranges)


def read_index(
    stream: Any, timeline: Timeline, tick: Callable[[], None] = lambda: None
) -> Index | None:
    """None: the container has none of so many frames, so anything may be anywhere."""
    entries = stream.index_entries
    count = len(entries)
    if not count or count < len(timeline.times):
        return None
    rows = np.empty((count, 3), np.int64)
    keys = []
    for i, entry in enumerate(entries):
        if not i % ENTRIES_A_TICK:
            tick()
        rows[i] = entry.timestamp, entry.pos, entry.pos + entry.size
        if entry.is_keyframe:
            keys.append(i)
    times = np.maximum.accumulate(rows[:, 0]) + ((stream.start_time or 0) - rows[0, 0])
    shown = timeline.keys if len(timeline.keys) == len(keys) else times[keys]
    return Index(times, rows[:, 1], rows[:, 2], np.array(keys, np.int64), shown)


def merged(ranges: Sequence[Range]) -> list[Range]:
    """Sorted; those that touch or overlap become one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
