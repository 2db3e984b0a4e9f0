"""When each frame of a video is shown, and where decoding may begin: without decoding anything.

From the index where the container has one that can be trusted; else from the packets, see
`packet_times`. All times are in ticks of the stream's time base, as presentation timestamps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from workers.video.clock import Clock, Ticks
from workers.video.container import VideoFile

UNSEEKABLE = frozenset(
    {"mpegts", "mpeg", "h264", "hevc", "vvc", "gif", "apng", "m4v", "mpegvideo", "obu", "flic"}
)
"""Demuxers without an index: a seek lands somewhere near, or nowhere."""
COUNTED = frozenset({"mpegvideo"})
"""Demuxers of streams without times, for which FFmpeg makes some up: the first is often wrong."""
ROUNDED_S = 1e-6
"""Seconds are told with so many digits."""
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
    clock: Clock | None = None
    """For frames that do not say when they are shown. None: all do."""
    end: float | None = None
    """Ticks from the first frame until the last one leaves the screen, which may be held for long.
    None: nobody says."""
    begin: float = 0.0
    """Ticks from the first frame until this part of a video begins: it is on screen by then."""
    mistrusted: bool = False
    """The file's clock jumps so often that its frames are counted instead."""
    damaged: int = 0
    """Packets of which bytes are missing."""
    lost: int = 0
    """Frames, at least, that the file should have and has not."""

    @property
    def skippable(self) -> bool:
        """Frames may be left out, and the others still have their times."""
        clock = self.clock
        return clock is None or not (clock.counts or clock.held_back is not None)

    @property
    def joints(self) -> list[int]:
        """When another recording begins: the file's own clock starts again there, or jumps."""
        found = [one.time for one in self.clock.joints] if self.clock else []
        return [time for time in found if self.times[0] <= time <= self.times[-1]]

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
    video: VideoFile,
    size_bytes: int | None = None,
    tick: Callable[[], None] = lambda: None,
    *,
    guess: bool = False,
) -> Timeline | None:
    """From the sample table of an MP4. None: it has none, or one that does not tell these times.

    FFmpeg's index has the times of decoding. An MP4's own says by how much later each frame is
    shown. Without that, as in an AVI, these are the times of presentation, shifted, only where the
    frame rate is constant and frames are shown in the order in which they are decoded.

    Args:
        size_bytes: of the file; frames beyond its end are `lost`, and then there may be none.
        guess: also where the times are only about right.
    """
    stream = video.stream
    entries = stream.index_entries
    count = len(entries)
    # Matroska has an entry for a cue or two.
    if count < 2 or count != stream.frames:
        return None
    decoded = np.empty(count, np.int64)
    keys = []
    here = count
    for i, entry in enumerate(entries):
        if not i % ENTRIES_A_TICK:
            tick()
        if entry.is_discard and not guess:
            return None
        if size_bytes is not None and entry.pos + entry.size > size_bytes:
            here = min(here, i)
        decoded[i] = entry.timestamp
        if entry.is_keyframe:
            keys.append(i)
    if not keys:
        return None
    shown = _shown(video, decoded, tick, guess=guess)
    if shown is None:
        return None
    times, end = shown
    return Timeline(
        np.sort(times[:here]),
        np.sort(times[keys]),
        stream.time_base,
        end=end if here == count else None,
        lost=count - here,
    )


def _shown(
    video: VideoFile, decoded: Ticks, tick: Callable[[], None], *, guess: bool
) -> tuple[Ticks, float | None] | None:
    """When each frame is shown, in the order of decoding, and the timeline's end."""
    stream = video.stream
    begin = stream.start_time or 0
    steps = np.diff(decoded)
    table = video.sample_table(tick)
    reordered = bool(stream.codec_context.has_b_frames)
    if (
        table is not None
        and (table.reorders or not reordered)
        and (table.durations[:-1] == steps).all()
    ):
        times = decoded + table.offsets
        # The first one is nowhere told, but for the one that is decoded first.
        if times.argmin() == 0 and (np.diff(np.sort(times)) > 0).all():
            times += begin - times[0]
            ends = times + table.durations
            # It tells how long it takes until the next frame is decoded, not until it is shown;
            # only what is decoded last lasts until the end of all.
            end = max(ends[-1], times.max())
            end = end if end > times.max() else ends[times.argmax()]
            return times, float(end - begin)
    constant = bool((steps == steps[0]).all()) and not reordered and not video.has_sample_table
    if (steps <= 0).any() or not (constant or guess):
        return None
    return decoded + (begin - decoded[0]), float(stream.duration) if stream.duration else None
