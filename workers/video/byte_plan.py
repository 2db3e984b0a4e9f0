"""Which bytes of a file hold the frames that are wanted: worked out from its index.

Without an index the answer is the whole file. Knows nothing of where the bytes are.
"""

from collections.abc import Sequence
from typing import Any

from workers.video.timeline import Timeline

Range = tuple[int, int]
"""Of bytes; the end is not part of it."""
AFTER = 6
"""Frames beyond a target that the decoder may want before it gives the target: reordering."""


def plan_bytes(stream: Any, timeline: Timeline, targets: Sequence[int]) -> list[Range] | None:
    """Sorted and apart: from the keyframe before each target to a few frames after it.

    None: the container has no index, so anything may be anywhere.
    """
    entries = stream.index_entries
    if len(entries) < len(timeline.times) or not len(entries):
        return None
    shift = (stream.start_time or 0) - entries[0].timestamp
    times = [entry.timestamp + shift for entry in entries]
    ranges: list[Range] = []
    first = at = 0  # the keyframe that decoding starts from, and where we are
    key = 0
    for target in targets:
        while at < len(times) and times[at] <= target:
            if entries[at].is_keyframe:
                key = at
            at += 1
        first = max(key, first)
        last = min(at + AFTER, len(entries))
        needed = [entries[i] for i in range(first, last)]
        first = max(first, last - AFTER - 1)
        if needed:
            ranges.append(
                (min(one.pos for one in needed), max(one.pos + one.size for one in needed))
            )
    return merged(ranges)


def merged(ranges: Sequence[Range]) -> list[Range]:
    """Sorted; those that touch or overlap become one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
