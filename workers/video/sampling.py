"""Which frames of a video stand for it, and those frames: the whole way from an opened file.

Knows nothing of where the file came from, nor in which process it is decoded.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import av
import numpy as np

from shared.errors import EmptyFile, Missing, NotAVideo, TooLarge, TooSlow, Truncated
from workers.progress import Progress
from workers.video import avi
from workers.video.adaptive import moments, scenes_of
from workers.video.byte_plan import Index, Range, read_index
from workers.video.colour import Colour
from workers.video.container import VideoFile
from workers.video.convert import Converter
from workers.video.decode import FrameReader, Tally
from workers.video.keyframe_scan import key_changes, some_keys
from workers.video.limits import Limits
from workers.video.packet_times import from_packets
from workers.video.scenes import AFTER_S, look
from workers.video.shape import Frames, Shape
from workers.video.timeline import Timeline, from_index
from workers.video.tracks import ONLY, Track
from workers.video.wholeness import cut_by, held_to_its_end, missing

__all__ = ["Frames", "Limits", "Request", "Sample", "Shape", "sample_frames"]

Strategy = Literal["uniform", "adaptive"]


MOST_CHANGES = 10_000
"""Scene changes that are told of a video: it is never cut into that many parts."""
LEAST_PIXELS = 10_000
"""What a frame counts for at least when all are looked at: the smallest one takes 35 us."""


@dataclass(frozen=True)
class Request:
    n: int
    """Frames, at most."""
    window_s: tuple[float, float] | None = None
    """Only of this part; None: of all of it."""
    shape: Shape | None = None
    """None: the video's own size."""
    strategy: Strategy = "uniform"


@dataclass(frozen=True)
class Sample:
    frames: Frames
    timestamps_s: tuple[float, ...]
    """When the frames begin, from the start of the picture."""
    targets_s: tuple[float, ...]
    """What was asked for: the frame on screen at these times."""
    exact: tuple[bool, ...]
    """It is the very frame; False: the nearest that could be decoded, or its time is a guess."""
    duration_s: float
    """Of the window, if there is one."""
    requested: int
    distinct: int
    """How many different frames the request means; a short video has fewer than requested."""
    decode_errors: int
    """Packets that are incomplete or that the decoder refused, and frames that it marked as
    damaged; also those between the returned frames."""
    frames_decoded: int
    groups_s: tuple[tuple[float, float], ...]
    """Where they were decoded: from a keyframe to the last frame that was wanted of its group."""
    frames_looked_at: int = 0
    """Decoded before that, to find the scenes."""
    strategy: Strategy = "uniform"
    """As it was done."""
    reason: str = ""
    """Why not as it was asked for."""
    damaged: str = ""
    """What is wrong with the file, if these are only the frames that could be had."""
    clock_jumps_s: tuple[float, ...] = ()
    """Where the file's clock starts again or jumps, and another recording follows, from the start
    of the picture; of a window, those in it."""
    colour: Colour | None = None
    """If it is not an ordinary one."""
    deinterlaced: int = 0
    """Frames."""
    track: Track = ONLY
    aspect: float | None = None
    """Width by height of the first frame as it is shown: not cut to a shape yet."""


class Deadline:
    """Args:
    limits: its two times count from now.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def extend(self, waited_s: float) -> None:
        """For what is nobody's fault: waiting for bytes."""
        self._wall += waited_s

    def check(self) -> None:
        """Raises TooSlow."""
        wall_s, cpu_s = time.monotonic() - self._wall, time.process_time() - self._cpu
        if wall_s > self._limits.deadline_s or cpu_s > self._limits.cpu_s:
            raise TooSlow(
                f"{self._name}: no frames after {wall_s:.0f} s, {cpu_s:.0f} s of them computing",
                deadline_s=self._limits.deadline_s,
                cpu_limit_s=self._limits.cpu_s,
                wall_s=round(wall_s, 1),
                cpu_s=round(cpu_s, 1),
            )


def sample_frames(
    path: str | Path,
    n: int,
    limits: Limits | None = None,
    progress: Progress | None = None,
    shape: Shape | None = None,
) -> Sample:
    """Up to n frames of a file here, in this process: for files that can be trusted.

    Raises:
        Missing, EmptyFile, NotAVideo, NoVideoStream, Truncated, TooLarge, TooSlow.
    """
    limits, progress = limits or Limits(), progress or Progress()
    path = Path(path)
    if not path.exists():
        raise Missing(f"{path.name}: there is no such file")
    if path.stat().st_size == 0:
        raise EmptyFile(f"{path.name} has 0 bytes", size_bytes=0)
    deadline = Deadline(path.name, limits)

    def tick() -> None:
        progress.tick("frames")
        deadline.check()

    head = partial(_head, path)
    with VideoFile(str(path), path.name, head, limits.max_pixels, limits.max_decoded) as video:
        sampler = Sampler(video, path.stat().st_size, limits, tick)
        return sampler.sample(Request(n, shape=shape))


class Sampler:
    """Answers requests for one opened video.

    Args:
        tick: called before each packet; may raise to end it.
        on_plan: told which bytes will be read next; None: any of them.

    Raises:
        NotAVideo, NoVideoStream, Truncated, TooLarge.
    """

    def __init__(
        self,
        video: VideoFile,
        size_bytes: int,
        limits: Limits,
        tick: Callable[[], None],
        on_plan: Callable[[Sequence[Range] | None], None] = lambda ranges: None,
    ) -> None:
        self.video, self._tick, self._on_plan = video, tick, on_plan
        self._limits, self._size_bytes = limits, size_bytes
        self._check_size(limits)
        self.timeline, self.exact, self.damaged = self._read_timeline(size_bytes, limits)

    def sample(self, request: Request) -> Sample:
        """Raises NotAVideo: not one frame can be decoded; TooLarge; and what `tick` raises."""
        self.video.count_anew()
        timeline = self.timeline
        if request.window_s is not None:
            timeline = timeline.window(*request.window_s)
        asked, strategy, reason = timeline.centres(request.n), request.strategy, ""
        if strategy == "adaptive":
            reason = self._too_much(timeline)
            if reason:
                strategy = "uniform"
            else:
                asked = self._by_content(request.n, timeline)
        looked_at = self.video.decoded
        targets = timeline.shown_at(asked)
        self._on_plan(self._plan(targets))
        reader = FrameReader(self.video, self.timeline, self._tick, self._go_back)
        convert = Converter(self.video, request.shape, self._limits.max_pixels)
        found: list[tuple[int, bool, Frames]] = []
        for one in reader.read(targets):
            if found and found[-1][0] == one.time:
                continue  # what was to come is damaged
            try:
                found.append((one.time, one.exact, convert(one.frame)))
            except av.FFmpegError:
                # FFmpeg can decode it, but not convert it.
                reader.tally.errors += 1
        tally, groups = reader.tally, self.timeline.groups(targets)
        errors = timeline.damaged + tally.errors + tally.corrupt
        if errors or not found:
            self.video.refuse_encrypted(key for key, _ in groups)
        if not found:
            raise self._undecodable(tally)
        first_s = self.timeline.seconds(int(timeline.times[0]))
        return Sample(
            frames=np.stack([picture for _, _, picture in found]),
            timestamps_s=tuple(round(self.timeline.seconds(time), 6) for time, _, _ in found),
            targets_s=tuple(
                round(first_s + moment * float(timeline.time_base), 6) for moment in asked
            ),
            exact=tuple(exact and self.exact for _, exact, _ in found),
            duration_s=timeline.duration_s,
            requested=request.n,
            strategy=strategy,
            reason=reason,
            distinct=len(targets),
            decode_errors=errors,
            frames_decoded=self.video.decoded - looked_at,
            frames_looked_at=looked_at,
            groups_s=tuple(
                (self.timeline.seconds(first), self.timeline.seconds(last))
                for first, last in groups
            ),
            track=self.video.track,
            aspect=None if convert.aspect is None else round(convert.aspect, 4),
            damaged=self.damaged or (f"{errors} packets or frames are damaged" if errors else ""),
            clock_jumps_s=tuple(round(self.timeline.seconds(time), 6) for time in timeline.joints),
            colour=convert.colour,
            deinterlaced=convert.deinterlaced,
        )

    def changes(self) -> tuple[list[float], str]:
        """Where the scene changes, in seconds, and how that was found."""
        self.video.count_anew()
        timeline = self.timeline
        too_much = self._too_much(timeline)
        if not too_much:
            self._on_plan(None)
            seen = look(self.video, timeline, self._tick)
            if len(seen.times) < 2:
                return [], "equal lengths: no scenes can be seen"
            found = _at_most(MOST_CHANGES, [one.time for one in seen.changes()])
            return [timeline.seconds(time) for time in found], "scene changes among all frames"
        keys = some_keys(timeline)
        self._on_plan(self._plan(keys))
        found = key_changes(self.video, timeline, keys, self._tick)
        found = _at_most(MOST_CHANGES, sorted({*found, *timeline.joints}))
        return (
            [timeline.seconds(time) for time in found],
            f"scene changes among {len(keys)} keyframes: {too_much}",
        )

    def _plan(self, times: Sequence[int]) -> list[Range] | None:
        """Which bytes hold these frames; None: any."""
        return None if self._index is None else self._index.plan(times)

    @cached_property
    def _index(self) -> Index | None:
        return read_index(self.video.stream, self.timeline, self._tick)

    def _times(self, start: int, end: int) -> list[int]:
        """Of all frames from the one moment to the other, in ticks."""
        times = self.timeline.times
        first, last = np.searchsorted(times, start), np.searchsorted(times, end, side="right")
        found: list[int] = times[first:last].tolist()
        return found

    def _go_back(self, key: int, target: int) -> None:
        """A target is decoded from an earlier keyframe than was planned."""
        if self._index is not None:
            self._on_plan(self._plan(self._times(key, target)))

    def _undecodable(self, tally: Tally) -> NotAVideo | TooLarge:
        """Of a picture that is refused for its size, the size may not be known."""
        name, most = self.video.name, self._limits.max_pixels
        self.video.look_closer()
        context = self.video.stream.codec_context
        pixels = context.width * context.height
        if pixels > most or (tally.invalid and not pixels):
            return TooLarge(f"{name}: its pictures have more than {most} pixels", max_pixels=most)
        return NotAVideo(f"{name}: not one frame could be decoded", decode_errors=tally.errors)

    def _too_much(self, timeline: Timeline) -> str:
        """Why not all frames can be looked at; empty if they can."""
        context = self.video.stream.codec_context
        frames = len(timeline.times)
        pixels = max(context.width * context.height, LEAST_PIXELS)
        if frames * pixels > self._limits.scan_pixels:
            return (
                f"{frames} frames of {context.width}x{context.height} count for more than "
                f"{self._limits.scan_pixels} pixels"
            )
        if self._size_bytes > self._limits.max_bytes:
            return f"{self._size_bytes} bytes are more than {self._limits.max_bytes}"
        # Once to look, and at most once more for what was chosen.
        if 2 * frames > self._limits.max_decoded:
            return f"{frames} frames are more than half of {self._limits.max_decoded}"
        return ""

    def _by_content(self, n: int, timeline: Timeline) -> list[float]:
        """Ticks since the first frame of this part."""
        first, last = int(timeline.times[0]), int(timeline.times[-1])
        end = first + math.ceil(timeline.ends)
        part = len(timeline.times) < len(self.timeline.times)
        seen_until = end + round(AFTER_S / timeline.time_base)
        self._on_plan(self._plan(self._times(first, seen_until)) if part else None)
        seen = look(self.video, timeline, self._tick, first, end)
        here = seen.times >= first
        scenes = scenes_of(
            [one.time - first for one in seen.changes() if one.time <= last],
            [(begin - first, end - first) for begin, end in seen.blanks()],
            seen.signatures[here],
            seen.times[here] - first,
            timeline.begin,
            timeline.ends,
            seen.tick_s,
        )
        return moments(n, scenes)

    def _check_size(self, limits: Limits) -> None:
        context = self.video.stream.codec_context
        pixels = context.width * context.height
        if pixels > limits.max_pixels:
            raise TooLarge(
                f"{self.video.name} is {context.width}x{context.height}; {limits.max_pixels} "
                "pixels are the most",
                pixels=pixels,
                max_pixels=limits.max_pixels,
            )

    def _read_timeline(self, size_bytes: int, limits: Limits) -> tuple[Timeline, bool, str]:
        """The timeline, whether its times can be trusted, and what is wrong with the file."""
        name = self.video.name
        # The index of an AVI is that of its first recording.
        joined = self.video.container.format.name == "avi" and (
            len(avi.recordings(self.video.read_at)) > 1
        )
        indexed = None if joined else from_index(self.video, size_bytes, self._tick)
        if indexed is not None:
            if indexed.lost and not len(indexed.times):
                raise Truncated(
                    f"{name} is cut: of all its pictures none is there", size_bytes=size_bytes
                )
            lacking_s = indexed.lost * indexed.step * float(indexed.time_base)
            lost = cut_by(lacking_s, indexed.duration_s + lacking_s) if indexed.lost else ""
            return indexed, True, lost
        if size_bytes > limits.max_bytes:
            guessed = from_index(self.video, size_bytes, self._tick, guess=True)
            if guessed is not None and len(guessed.times):
                return guessed, False, ""
        self._on_plan(None)
        timeline = from_packets(self.video, self._tick)
        if timeline is None:
            self.video.refuse_encrypted([])
            raise NotAVideo(f"{name} holds a video stream without pictures")
        damage = missing(self.video, timeline, size_bytes)
        exact = not timeline.mistrusted
        return timeline if damage else held_to_its_end(self.video, timeline), exact, damage


def _at_most(count: int, times: Sequence[int]) -> list[int]:
    """Of so many evenly picked."""
    return list(times[:: -(-len(times) // count) or 1])


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
