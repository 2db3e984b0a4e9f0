"""The frames of a video at given times, with as little decoding as gives exactly those frames.

One seek for each group of pictures that has a target; groups without one are never touched. Between
targets, frames that no other one refers to are not reconstructed, where the codec makes that exact.
Every returned frame is checked against its target; from one that fails the check on, its group is
decoded again in full. Knows nothing of sizes, colours and files.
"""

import errno
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import av

from workers.video.container import VideoFile
from workers.video.timeline import Timeline

SKIPPING = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})
"""Codecs whose decoder leaves out non-reference frames and nothing else. On AV1 it gives wrong
frames without an error."""
NEAR = 5
"""Where groups of pictures are open, a target so few frames behind the next keyframe is reached by
going on: leading pictures need the group before."""
EARLIER = 3
"""How many keyframes further back a seek may have to begin."""


@dataclass(frozen=True)
class Found:
    """The frame on screen at a target."""

    target: int
    frame: Any
    time: int
    """When this frame begins. Another time than the target's: those between cannot be decoded."""

    @property
    def exact(self) -> bool:
        """It is the very frame that begins at the target."""
        return self.time == self.target


@dataclass
class Tally:
    """What it took."""

    errors: int = 0
    """Packets that the decoder refused, or that could not be read."""
    invalid: int = 0
    """Of those, the ones called an invalid argument, as pictures of too many pixels are."""
    corrupt: int = 0
    """Frames that the decoder itself marked."""
    groups: int = 0
    again: int = 0
    """Groups that were decoded a second time, in full."""


class FrameReader:
    """Args:
    tick: called before each packet; may raise to end it.
    on_going_back: told from which keyframe a target is decoded, if not from the last one before it.
    """

    def __init__(
        self,
        video: VideoFile,
        timeline: Timeline,
        tick: Callable[[], None],
        on_going_back: Callable[[int, int], None] = lambda key, target: None,
    ) -> None:
        self._video, self._timeline, self._tick = video, timeline, tick
        self._on_going_back = on_going_back
        codec = video.stream.codec_context.name
        self._can_skip = codec in SKIPPING and timeline.skippable
        self._came = False
        """Anything, since the last seek."""
        self.tally = Tally()

    def read(self, targets: Sequence[int]) -> Iterator[Found]:
        """In order; a target that nothing decodable answers is left out.

        Args:
            targets: sorted times of frames.
        """
        left, skip = list(targets), self._can_skip
        while left:
            # A group that answers nothing, not even its first target, must not stop the others.
            last, wrong = left[0], False
            for one in self._group(left, skip=skip):
                wrong = skip and not one.exact
                if wrong:
                    break
                yield one
                last = one.target
            if wrong:
                self.tally.again += 1
                left = [target for target in left if target >= one.target]
            else:
                left = [target for target in left if target > last]
            skip = self._can_skip and not wrong

    def _group(self, targets: Sequence[int], *, skip: bool) -> Iterator[Found]:
        """Those that one seek to the first of them answers."""
        if self._timeline.seekable:
            key = self._timeline.key_before(targets[0])
            for earlier in range(key, max(key - EARLIER, -1), -1):
                place = int(self._timeline.keys[earlier])
                if earlier < key:
                    self._on_going_back(place, targets[0])
                if (yield from self._from(place, targets, skip=skip)):
                    return
        yield from self._from(None, targets, skip=skip)

    def _from(
        self, place: int | None, targets: Sequence[int], *, skip: bool
    ) -> Generator[Found, None, bool]:
        """From a keyframe, or from the beginning. Each as it is decoded, so that the decoder can
        have its memory back.

        False: it cannot be sought, or what comes first is too late.
        """
        self.tally.groups += 1
        errors = self.tally.errors
        end = self._end_of_run(targets)
        wanted = [target for target in targets if target < end] or [targets[0]]
        if place is None:
            self._video.rewind()
        else:
            try:
                self._video.seek(place)
            except av.FFmpegError:
                return False
        before: tuple[int, Any] | None = None
        next_at = 0
        for frame in self._frames(wanted, skip=skip):
            time = frame.pts
            if time is None:
                continue
            if before is None and time > wanted[0] and place is not None:
                return False
            while next_at < len(wanted) and wanted[next_at] <= time:
                # Unless this is the one, the one before is still on screen.
                held = None if time == wanted[next_at] else before
                shown_at, shown = held or (time, frame)
                yield Found(wanted[next_at], shown, shown_at)
                next_at += 1
            if next_at == len(wanted):
                return True
            before = time, frame
        # Nothing comes after it: the last frame stays on screen.
        if before is not None:
            for target in wanted[next_at:]:
                yield Found(target, before[1], before[0])
        # A seek may end behind the only packet; and where a picture is refreshed bit by bit, the
        # first frames after one are held back, which is no error.
        return before is not None or place is None or (self._came and self.tally.errors > errors)

    def _frames(self, wanted: Sequence[int], *, skip: bool) -> Iterator[Any]:
        """From here on: all, or with `skip` those that others refer to, and those at the times that
        are wanted; then until the last of these has gone in."""
        context = self._video.stream.codec_context
        context.skip_frame = "DEFAULT"
        waiting, near = set(wanted), self._timeline.step
        before = float("-inf")
        for packet in self._packets():
            self._tick()
            if skip and packet.pts is not None:
                # The second field of an interlaced frame may have a packet and a time of its own.
                asked = packet.pts in waiting or 0 < packet.pts - before <= near
                if not asked and not waiting:
                    yield from self._decoded(context.decode)
                    return
                context.skip_frame = "DEFAULT" if asked else "NONREF"
                before = packet.pts if packet.pts in waiting else float("-inf")
                waiting.discard(packet.pts)
            elif skip:
                context.skip_frame = "DEFAULT"
            yield from self._decoded(packet.decode)

    def _end_of_run(self, targets: Sequence[int]) -> float:
        """Up to where it is cheaper to go on than to seek."""
        if not self._timeline.seekable:
            return float("inf")
        keys, key = self._timeline.keys, self._timeline.key_before(targets[0])
        end = float(keys[key + 1]) if key + 1 < len(keys) else float("inf")
        for target in targets:
            if target < end:
                continue
            if target >= end + NEAR * self._timeline.step or not self._is_open(int(end)):
                break
            key += 1
            end = float(keys[key + 1]) if key + 1 < len(keys) else float("inf")
        return end

    def _is_open(self, place: int) -> bool:
        """Whether what is decoded after the keyframe there is shown before it: leading pictures,
        which need the group before."""
        try:
            self._video.seek(place)
            times = [packet.pts for packet in islice(self._video.packets(), 2)]
        except av.FFmpegError:
            return True
        return times[:1] != [place] or any(time is not None and time < place for time in times)

    def _packets(self) -> Iterator[Any]:
        """Up to the end, or to what cannot be read."""
        self._came = False
        try:
            for packet in self._video.packets():
                self._came = self._came or packet.size > 0
                yield packet
        except av.FFmpegError:
            self.tally.errors += 1

    def _decoded(self, decode: Callable[[], list[Any]]) -> Iterator[Any]:
        try:
            for frame in self._video.frames(decode):
                self.tally.corrupt += frame.is_corrupt
                yield frame
        except av.FFmpegError as error:
            self.tally.errors += 1
            self.tally.invalid += error.errno == errno.EINVAL
