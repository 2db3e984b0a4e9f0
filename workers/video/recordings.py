"""Where a file's clock starts again or jumps: several recordings in one file.

As `cat a.ts b.ts` leaves it, or a camera that was switched off and on, a title of a DVD, a stream
that was interrupted. Knows nothing of files: of numbers only.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workers.video.clock import Ticks

BACK_S = 0.1
"""Going back by less is a bad clock and no other one; FFmpeg's own limit."""
JUMP_S = 10.0
"""So far ahead is a jump in the formats whose clock may jump; FFmpeg's own limit."""
HELD_S = 1800.0
"""In the others a picture may be shown for so long."""
STEPS = 30
"""Nor is it a jump if frames are usually more than a thirtieth of that apart."""
JUMPING = frozenset({"mpegts", "mpeg"})
REORDERED = 32
"""Of the packets before one, no more are shown after it: 16 pictures, or their fields."""
MOST = 1000
"""Joints of one file. A clock that starts again or jumps more often tells nothing."""
PACKETS_A_TICK = 4096
SOON = 8
"""In files that call every packet a keyframe, one that is shown earlier is followed by a later one
so soon."""


def longest_s(demuxer: str) -> float:
    """Between two frames of one recording whose packets do not say how long they are shown."""
    return JUMP_S if JUMPING & set(demuxer.split(",")) else HELD_S


def starts(
    shown: Ticks,
    ends: Ticks,
    keys: NDArray[np.bool_],
    back: float,
    longest: float,
    tick: Callable[[], None] = lambda: None,
) -> list[int]:
    """Indices of the first packet of each recording; the first is 0. Where there are more than
    `MOST` joints, not all of them.

    A keyframe is shown after all that was decoded before it. If its time says otherwise, and those
    of the packets after it agree, or if any packet is earlier than more of those before it than are
    ever reordered, the clock has been set back.

    Args:
        shown: (packets,), ticks, in the order of decoding.
        ends: (packets,), when they say that their frames end.
        back: ticks that a clock may go back and is still the same one.
        longest: ticks between two frames.
        tick: called now and then; may raise to end it.
    """
    if len(shown) < 2:
        return [0]
    latest = np.maximum.accumulate(shown)
    longest = max(longest, STEPS * float(np.median(np.abs(np.diff(shown)))))
    earlier = shown[1:] < latest[:-1] - back
    far = shown[1:] - latest[:-1] > longest
    if not (far.any() or (earlier & keys[1:]).any() or _is_behind(shown, back)):
        return [0]
    found = [0]
    recent: deque[int] = deque([int(shown[0])], maxlen=REORDERED + 1)
    last, last_end = int(shown[0]), int(ends[0])
    for i in range(1, len(shown)):
        if not i % PACKETS_A_TICK:
            tick()
        time, end = int(shown[i]), int(ends[i])
        # What is shown between the two, and decoded after both, says that the clock went on.
        ahead = last_end < time - longest and shown[i : i + SOON].min() - last > longest
        behind = time < last - back and (
            _is_far_behind(time, recent, back)
            or (keys[i] and (time <= min(recent) or _stay_behind(shown[i : i + SOON], last)))
        )
        if ahead or behind:
            found.append(i)
            if len(found) > MOST + 1:
                break
            recent.clear()
        if ahead or behind or time > last:
            last, last_end = time, end
        recent.append(time)
    return found


def _is_far_behind(time: int, recent: deque[int], back: float) -> bool:
    return len(recent) > REORDERED and time < min(recent) - back


def _stay_behind(soon: Ticks, last: int) -> bool:
    return len(soon) == SOON and bool((soon <= last).all())


def _is_behind(shown: Ticks, back: float) -> bool:
    """Whether any packet is earlier than more before it than are ever reordered."""
    if len(shown) < REORDERED + 2:
        return False
    least = np.lib.stride_tricks.sliding_window_view(shown[:-1], REORDERED + 1).min(1)
    return bool((shown[REORDERED + 1 :] < least - back).any())
