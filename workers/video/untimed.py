"""Frames without a timestamp of their own: some cameras pack several into one packet of MPEG-TS
(a PES packet), and others write a timestamp twice a second.

They are as far apart as those that have one say, divided by how many lie between.
"""

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from workers.video.clock import Ticks
from workers.video.container import VideoFile

REORDERED = 4
"""By so many frames may the number of packets between two differ from that of the frames that are
shown between them."""
ALIKE = 0.15
"""Counting is off by the frames that are shown in another order; what a packet says may be for a
field."""
PATIENCE = 48
"""Packets after one without a timestamp until the frame that it holds comes out."""


def filled(numbers: NDArray[np.intp], told: Ticks, count: int, step: float) -> Ticks:
    """When each of so many frames is shown, sorted.

    Args:
        numbers: (n,): of the packets that have a timestamp, in the order of decoding.
        told: (n,), ticks: theirs, no two the same.
        count: of all packets.
        step: ticks between two frames, as the packets say.
    """
    order = np.argsort(told)
    numbers, told = numbers[order], told[order]
    between, apart = np.diff(numbers), np.diff(told)
    forward = between > 0
    if forward.any():
        counted = float(np.median(apart[forward] / between[forward]))
        step = step if abs(counted / step - 1) < ALIKE else counted
    parts = [told[0] + step * np.arange(-int(numbers[0]), 0)]
    for begin, gap, packets in zip(told[:-1], apart, between, strict=True):
        frames = max(1, round(gap / step))
        if abs(frames - packets) > REORDERED and packets > 0:
            frames = packets
        parts.append(begin + gap / frames * np.arange(frames))
    there = sum(len(part) for part in parts)
    parts.append(told[-1] + step * np.arange(max(count - there, 1)))
    times: Ticks = np.unique(np.round(np.concatenate(parts)).astype(np.int64))
    return times


def untrue(numbers: NDArray[np.intp], told: Ticks) -> list[int]:
    """Of these packets those that have the time of another one: where one packet of the container
    ends in the midst of a picture, FFmpeg gives the next one's time to both."""
    order = np.argsort(told, kind="stable")
    same = np.flatnonzero(np.diff(told[order]) == 0)
    return [int(numbers[order[i]]) for i in {*same, *(same + 1)}]


def come_out(video: VideoFile, key: int, untold: int, tick: Callable[[], None]) -> bool:
    """Whether frames without a time come out of the decoder, or two with the same. If not, packets
    without one are second fields, whose frame has the time of the first.

    Args:
        key: number of the packet at which to begin.
        untold: number of the first packet without a timestamp.
    """
    seen: set[int | None] = {None}
    video.rewind()
    for number, packet in enumerate(video.packets()):
        tick()
        if number > untold + PATIENCE:
            break
        for frame in _frames(video, packet) if number >= key else ():
            if frame.pts in seen:
                return True
            seen.add(frame.pts)
    return False


def _frames(video: VideoFile, packet: Any) -> list[Any]:
    try:
        return list(video.frames(packet.decode))
    except av.FFmpegError:
        return []
