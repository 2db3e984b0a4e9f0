"""When each frame of a video is shown, and where decoding may begin: without decoding anything.

From the index where the container has one that can be trusted, else from the packets. All times
are in ticks of the stream's time base, as presentation timestamps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from workers.video.container import packets

Ticks = NDArray[np.int64]
UNSEEKABLE = frozenset({"mpegts", "mpeg", "h264", "hevc", "gif", "m4v"})
"""Demuxers without an index: a seek lands somewhere near, or nowhere."""
ROUNDED_S = 1e-6
"""Seconds are told with so many digits."""
SOME_STEPS, SOME_SHARE = 5, 0.05
"""So far apart the lengths of a file and of its table may be, whichever is more: the last frame is
held for so long, or a few are not shown. Beyond that, the packets are asked."""
ENTRIES_A_TICK = 4096
"""An index of millions of frames takes a small file, and seconds."""


@dataclass(frozen=True)
class Timeline:
    """Sorted, and never empty."""

    times: Ticks
    """When each shown frame begins."""
    keys: Ticks
    """Where decoding may begin; some may lie before the first shown frame."""
    time_base: Fraction
    """Seconds a tick."""
    seekable: bool = True
    """False: the container is searched by guessing, or not at all."""
    numbered: bool = False
    """The stream has no times: these are frame numbers, in the order of decoding."""
    end: float | None = None
    """Ticks from the first frame until the last one leaves the screen, which may be held for long.
    None: nobody says."""
    begin: float = 0.0
    """Ticks from the first frame until this part of a video begins: it is on screen by then."""
    damaged: int = 0
    """Packets of which bytes are missing."""
    lost: int = 0
    """Frames, at least, that the file should have and has not."""

    @property
    def step(self) -> float:
        """Mean ticks between two frames; of a single frame one tick."""
        steps = len(self.times) - 1
        return float(self.times[-1] - self.times[0]) / steps if steps else 1.0

    @property
    def ends(self) -> float:
        """Ticks from the first frame until the last one leaves the screen."""
        last = float(self._begins[-1])
        if self.end is not None and self.end > last:
            return self.end
        # Half of the steps are no longer: what is held in the middle says nothing of the last one.
        return last + (float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0)

    @property
    def duration(self) -> float:
        """Ticks for which there is a picture."""
        return self.ends - self.begin

    @property
    def duration_s(self) -> float:
        return self.duration * float(self.time_base)

    def seconds(self, time: float) -> float:
        """Since the first frame."""
        return float(time - int(self.times[0])) * float(self.time_base)

    def window(self, start_s: float, end_s: float) -> "Timeline":
        """The frames that are on screen from the one moment until the other, in seconds since the
        first; one that begins at the end is not among them. Never empty."""
        start, end = start_s / float(self.time_base), end_s / float(self.time_base)
        slack = ROUNDED_S / float(self.time_base)
        begins = self._begins
        first = int(np.searchsorted(begins, start + slack, side="right")) - 1
        first = min(max(first, 0), len(self.times) - 1)
        last = int(np.searchsorted(begins, end - slack, side="left"))
        begun = float(begins[first])
        begin = max(min(start, self.ends), begun)
        return replace(
            self,
            times=self.times[first : max(last, first + 1)],
            begin=begin - begun,
            end=max(min(end, self.ends), begin) - begun,
        )

    @property
    def _begins(self) -> Ticks:
        """Since the first frame: clocks that began long ago have more digits than a float."""
        begins: Ticks = self.times - self.times[0]
        return begins

    def centres(self, n: int) -> list[float]:
        """Ticks since the first frame: of n equal segments."""
        return list(self.begin + (np.arange(n) + 0.5) * self.duration / n)

    def shown_at(self, moments: Sequence[float]) -> list[int]:
        """The times of the frames that are on screen so many ticks after the first, without
        repeats."""
        shown = np.searchsorted(self._begins, np.array(moments) + 1e-6, side="right") - 1
        return [int(self.times[i]) for i in np.unique(shown.clip(min=0))]

    def targets(self, n: int) -> list[int]:
        """At most n times: of the frame on screen at each segment's centre, without repeats."""
        return self.shown_at(self.centres(n))

    def groups(self, targets: Sequence[int]) -> list[tuple[int, int]]:
        """From the keyframe before to the last target, of each group of pictures that has one."""
        found: list[tuple[int, int]] = []
        for target in targets:
            key = int(self.keys[self.key_before(target)])
            if found and found[-1][0] == key:
                found.pop()
            found.append((key, target))
        return found

    def key_before(self, time: int) -> int:
        """Index into `keys` of the last one that is not later; 0 if all are."""
        return max(0, int(np.searchsorted(self.keys, time, side="right")) - 1)


def from_index(
    stream: Any,
    size_bytes: int | None = None,
    tick: Callable[[], None] = lambda: None,
    *,
    guess: bool = False,
) -> Timeline | None:
    """From the sample table of an MP4. None: it has none, or one that does not tell these times.

    An index has decoding times. They are the presentation times, shifted, only where the frame rate
    is constant and no edit list hides frames. A file of another length than that of its table may
    go on in fragments.

    Args:
        size_bytes: of the file; frames beyond its end are `lost`, and then there may be none.
        guess: also where the times are only about right.
    """
    entries = stream.index_entries
    count = len(entries)
    # Matroska has an entry for a cue or two.
    if count < 2 or count != stream.frames:
        return None
    times = np.empty(count, np.int64)
    keys = []
    here = count
    for i, entry in enumerate(entries):
        if not i % ENTRIES_A_TICK:
            tick()
        if entry.is_discard and not guess:
            return None
        if size_bytes is not None and entry.pos + entry.size > size_bytes:
            here = min(here, i)
        times[i] = entry.timestamp
        if entry.is_keyframe:
            keys.append(i)
    steps = np.diff(times)
    if not keys or (steps <= 0).any() or ((steps != steps[0]).any() and not guess):
        return None
    told = times[-1] - times[0] + steps[0]
    off = abs((stream.duration or told) - told)
    if off > max(SOME_STEPS * steps[0], SOME_SHARE * told) and not guess:
        return None
    times += (stream.start_time or 0) - times[0]
    end = float(stream.duration) if stream.duration and here == count else None
    return Timeline(times[:here], times[keys], stream.time_base, end=end, lost=count - here)


def from_packets(
    container: Any, stream: Any, on_packet: Callable[[], None] = lambda: None
) -> Timeline | None:
    """From one pass over all packets, which leaves the container at its end. None: no picture.

    Ends where the file cannot be read on; then `lost` is 1.
    """
    times, keys = [], []
    last = (-math.inf, 0)
    untimed = damaged = lost = 0
    try:
        for packet in packets(container, stream):
            on_packet()
            damaged += packet.is_corrupt
            if packet.pts is None:
                untimed += packet.size > 0
                continue
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not packet.is_discard:
                times.append(packet.pts)
                last = max(last, (packet.pts, packet.duration or 0))
    except av.FFmpegError:
        lost = 1
    if not times:
        return _numbered(stream, untimed) if untimed else None
    start = stream.start_time or 0
    ordered = np.unique(np.array(times, np.int64))
    shown = ordered[ordered >= start]
    shown = shown if len(shown) else ordered
    return Timeline(
        shown,
        np.unique(np.array(keys or [int(ordered[0])], np.int64)),
        stream.time_base,
        seekable=not UNSEEKABLE & set(container.format.name.split(",")),
        end=float(sum(last) - int(shown[0])),
        damaged=damaged,
        lost=lost,
    )


def _numbered(stream: Any, frames: int) -> Timeline:
    """A raw stream: so many pictures, at the rate that it names."""
    rate = stream.average_rate or stream.guessed_rate or 25
    zero = np.zeros(1, np.int64)
    return Timeline(np.arange(frames), zero, 1 / Fraction(rate), seekable=False, numbered=True)
