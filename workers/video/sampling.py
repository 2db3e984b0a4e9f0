"""Uniform sampling: the frames on screen at the centres of n equal segments of a video.

Two passes over the file: packet times first (no decoding), then decoding up to the last target.
Knows nothing of where the file came from.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from shared.errors import EmptyFile, Missing, NotAVideo, NoVideoStream, TooLarge, TooSlow, Truncated
from workers.progress import Progress

Frames = NDArray[np.uint8]
"""(frames, height, width, 3), RGB."""


@dataclass(frozen=True)
class Limits:
    max_pixels: int = 4096 * 2304
    deadline_s: float = 120.0


@dataclass(frozen=True)
class Sample:
    frames: Frames
    timestamps_s: tuple[float, ...]
    """Presentation times of the frames, from the start of the picture."""
    duration_s: float
    requested: int
    distinct: int
    """How many different frames the request means; a short video has fewer than requested."""
    decode_errors: int
    """Packets that the decoder refused."""


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown."""

    times_s: NDArray[np.float64]
    """Sorted presentation times."""
    start_s: float

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last."""
        spread = float(self.times_s[-1] - self.times_s[0])
        steps = len(self.times_s) - 1
        return spread + (spread / steps if steps else 0.0)

    def targets(self, n: int) -> list[float]:
        """At most n times: of the frame on screen at each segment's centre, without repeats."""
        first = float(self.times_s[0])
        centres = first + (np.arange(n) + 0.5) * self.duration_s / n
        shown = np.searchsorted(self.times_s, centres + 1e-9, side="right") - 1
        return [float(self.times_s[i]) for i in np.unique(shown.clip(min=0))]


def sample_frames(
    path: str | Path, n: int, limits: Limits | None = None, progress: Progress | None = None
) -> Sample:
    """Up to n frames, upright, at the video's own size.

    Raises:
        Missing, EmptyFile, NotAVideo, NoVideoStream, Truncated, TooLarge, TooSlow.
    """
    limits, progress = limits or Limits(), progress or Progress()
    path = Path(path)
    if not path.exists():
        raise Missing(f"{path.name}: there is no such file")
    if path.stat().st_size == 0:
        raise EmptyFile(f"{path.name} has 0 bytes", size_bytes=0)
    deadline = time.monotonic() + limits.deadline_s
    timeline = read_timeline(path, limits, progress)
    targets = timeline.targets(n)
    images: list[Frames] = []
    times: list[float] = []
    errors = 0
    with _opened(path) as (container, stream):
        last: Any = None
        last_time = 0.0
        for frame in _decoded(container, stream):
            progress.tick("frames")
            if time.monotonic() > deadline:
                raise TooSlow(
                    f"{path.name}: no frames after {limits.deadline_s:.0f} s",
                    deadline_s=limits.deadline_s,
                    frames_found=len(images),
                )
            if frame is None:
                errors += 1
                continue
            if frame.pts is None:
                continue
            now = float(frame.pts * stream.time_base)
            # The frame on screen at a target is the last one that is not later than it.
            while last is not None and len(images) < len(targets) and now > targets[len(images)]:
                images.append(_rgb(last, images))
                times.append(last_time - timeline.start_s)
            if len(images) == len(targets):
                break
            last, last_time = frame, now
        if last is not None and len(images) < len(targets) and last_time >= targets[len(images)]:
            images.append(_rgb(last, images))
            times.append(last_time - timeline.start_s)
    if not images:
        raise NotAVideo(f"{path.name}: not one frame could be decoded", decode_errors=errors)
    return Sample(
        frames=np.stack(images),
        timestamps_s=tuple(round(moment, 6) for moment in times),
        duration_s=timeline.duration_s,
        requested=n,
        distinct=len(targets),
        decode_errors=errors,
    )


def read_timeline(path: Path, limits: Limits, progress: Progress) -> Timeline:
    """Presentation times of all frames, from the packets alone.

    Raises:
        NotAVideo, NoVideoStream, Truncated, TooLarge.
    """
    with _opened(path) as (container, stream):
        pixels = stream.codec_context.width * stream.codec_context.height
        if pixels > limits.max_pixels:
            raise TooLarge(
                f"{path.name} is {stream.codec_context.width}x{stream.codec_context.height}; "
                f"{limits.max_pixels} pixels are the most",
                pixels=pixels,
                max_pixels=limits.max_pixels,
            )
        _check_index(path, stream)
        declared_s = _declared_duration_s(stream)
        times = []
        try:
            for packet in container.demux(stream):
                progress.tick("frames")
                if packet.pts is not None and not packet.is_discard:
                    times.append(float(packet.pts * packet.time_base))
        except av.FFmpegError as error:
            raise NotAVideo(f"{path.name} cannot be read: {error}") from error
        if not times:
            raise NotAVideo(f"{path.name} holds a video stream without pictures")
        start = float((stream.start_time or 0) * stream.time_base)
    ordered = np.array(sorted(times))
    shown = ordered[ordered >= start - 1e-6]
    timeline = Timeline(shown if len(shown) else ordered, start)
    if declared_s and timeline.duration_s < 0.8 * declared_s and declared_s > 1:
        raise Truncated(
            f"{path.name} says it lasts {declared_s:.1f} s, but ends after "
            f"{timeline.duration_s:.1f} s",
            declared_s=round(declared_s, 3),
            found_s=round(timeline.duration_s, 3),
        )
    return timeline


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        # Titles in other encodings than UTF-8 are none of our business.
        container = av.open(str(path), timeout=(5, 5), metadata_errors="replace")
    except av.FFmpegError as error:
        raise _unreadable(path, str(error)) from error
    with container:
        if not len(container.streams):
            raise _unreadable(path, "it holds no streams")
        if not container.streams.video:
            raise NoVideoStream(f"{path.name} has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise NotAVideo(f"{path.name}: nothing here can decode its video stream")
        # One thread: many videos are decoded at once, and PyAV's frame threads may hang at exit.
        stream.thread_type = "NONE"
        yield container, stream


def _unreadable(path: Path, error: str) -> NotAVideo | Truncated:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return Truncated(f"{path.name} begins as an MP4 but its index is missing: {error}")
    return NotAVideo(f"{path.name} is no video: {error}", first_bytes=head.hex())


def _check_index(path: Path, stream: Any) -> None:
    """An MP4's index says where its samples lie: beyond the end of the file = cut."""
    entries = stream.index_entries
    size = path.stat().st_size
    if len(entries) and (end := max(entry.pos + entry.size for entry in entries)) > size:
        raise Truncated(
            f"{path.name} has {size} bytes, but its index needs {end}", size_bytes=size, needed=end
        )


def _declared_duration_s(stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Matroska writes one text tag a stream: "00:00:06.000000000".
    parts = stream.metadata.get("DURATION", "").split(":")
    if len(parts) != 3:
        return None
    hours, minutes, seconds = (float(part) for part in parts)
    return 3600 * hours + 60 * minutes + seconds


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in presentation order; None for a packet that the decoder refused."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            yield None


def _rgb(frame: Any, before: Sequence[Frames]) -> Frames:
    """Upright, and of the size of those before it: a stream may change its size on the way."""
    image: Frames = frame.to_ndarray(format="rgb24")
    if frame.rotation:
        # The file's display matrix; PyAV gives the angle and leaves the picture as it is.
        image = np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
    if before and before[0].shape != image.shape:
        height, width, _ = before[0].shape
        resized = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(width, height)
        image = resized.to_ndarray(format="rgb24")
    return image
