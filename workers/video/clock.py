"""When a frame that comes out of the decoder is shown, where its own timestamp does not say it.

Knows how times are told, and nothing of how they were found out; see `packet_times`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ticks = NDArray[np.int64]


@dataclass(frozen=True)
class Joint:
    """Where another recording begins, of several in one file."""

    packet: int
    """Its first one, counted from the beginning of the file."""
    shift: int
    """Ticks, from its own clock to the timeline."""
    time: int
    """Of its first frame, on the timeline."""
    key: int | None
    """Its first keyframe, likewise, where nothing of the recording before refers to what follows;
    FFmpeg may take that one's last packet for the first of this. None: it begins amidst a group."""

    @property
    def beside(self) -> range:
        """Packets that may be marked as damaged because a counter of the container jumps here, too;
        FFmpeg's parser passes the mark on to one before."""
        return range(self.packet - 2, self.packet + 1)


@dataclass(frozen=True)
class Clock:
    """Of one video."""

    times: Ticks
    """Of all frames, sorted."""
    joints: tuple[Joint, ...] = ()
    counts: bool = False
    """Some frames have no time of their own: each is the next one after the frame before it. So
    none may be left out, and decoding begins at the beginning."""
    untrue: frozenset[int] = frozenset()
    """Packets whose time is not theirs."""
    made_up: bool = False
    """No packet's is."""
    held_back: int | None = None
    """The packets tell when they are decoded, and so many ticks before that lies the frame that
    comes out then. None: they tell when their frames are shown."""

    def retimed(
        self, packets: Iterable[Any], between: Callable[[], Iterable[Any]]
    ) -> Iterator[Any]:
        """Packets from the first one of the file on, with the timeline's times.

        Args:
            between: what comes before the first keyframe of another recording.
        """
        shifts = {one.packet: one.shift for one in self.joints}
        keys = {one.key for one in self.joints}
        beside: set[int] = set().union(*(one.beside for one in self.joints))
        shift = 0
        for number, packet in enumerate(packets):
            if number in keys:
                yield from between()
            shift = shifts.get(number, shift)
            if number in beside:
                packet.is_corrupt = False
            if self.made_up or number in self.untrue:
                packet.pts = packet.dts = None
            if shift and packet.pts is not None:
                packet.pts += shift
            if shift and packet.dts is not None:
                packet.dts += shift
            yield packet

    def time_of(self, frame: Any, before: int | None) -> int | None:
        """Args:
        before: the time of the frame before, if there was one since the last seek.
        """
        told: int | None = frame.pts
        if self.held_back is not None:
            told = None if frame.dts is None else frame.dts - self.held_back
        if not (self.counts or self.held_back is not None):
            return told
        if told is not None and (before is None or told > before):
            return told
        place = 0 if before is None else int(np.searchsorted(self.times, before, side="right"))
        return int(self.times[place]) if place < len(self.times) else None
