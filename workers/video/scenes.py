"""Where the scene changes: hard cuts, fades and dissolves, from one pass over the packets.

Frames that no other one refers to are not reconstructed, where the codec makes that exact, and of
each decoded frame a few hundred samples are looked at. Knows nothing of what is done with a change.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from workers.video.blanks import spans_of
from workers.video.changes import FLASH_S, Change, changes_of
from workers.video.container import VideoFile
from workers.video.decode import SKIPPING
from workers.video.signature import CHROMA_SIDE, LUMA_SIDE, SAMPLES, Signature, Signatures
from workers.video.timeline import Timeline

ROUGH = {"skip_loop_filter": "all"}
"""A decoder's option: edges of blocks stay visible, by a level or two of a mean."""
AFTER_S = 1.6
"""What comes so long after the end still tells what the last frames before it are."""
PLANAR = re.compile(r"yuvj?4\d\dp(?:(\d+)le)?")
SEMI_PLANAR = {"nv12": 8, "nv16": 8, "nv24": 8}
HIGH_SEMI_PLANAR = {"p010le", "p012le", "p016le", "p210le", "p216le", "p410le", "p416le"}
"""Their bits are the upper ones of 16."""
TINY = 48
"""The side of a frame whose format is another one."""


@dataclass(frozen=True)
class Look:
    """What was seen of a video, or a part of it."""

    times: NDArray[np.int64]
    """(frames,), ticks, rising: of the frames that were decoded."""
    signatures: Signatures
    tick_s: float
    end: float
    """Ticks: when the last of them leaves the screen; or of the part, if that ends before."""
    joints: Sequence[int]
    """Ticks, sorted: where another recording begins, whatever it shows."""

    def changes(self) -> list[Change]:
        """In order. A cut between frames that were not reconstructed is told up to a few frames
        late."""
        seen = changes_of(self.signatures, self.times, self.tick_s, self.end)
        near = FLASH_S / self.tick_s
        others = [one for one in seen if not self._is_joint(one.time, near)]
        joined = [Change(joint, "cut") for joint in self.joints]
        return sorted([*others, *joined], key=lambda one: one.time)

    def _is_joint(self, time: int, near: float) -> bool:
        first = bisect_left(self.joints, time - near)
        return first < len(self.joints) and self.joints[first] <= time + near

    def blanks(self) -> list[tuple[float, float]]:
        """In order: ticks, from when to when there is nothing to see."""
        return spans_of(self.signatures, self.times)


def look(
    video: VideoFile,
    timeline: Timeline,
    tick: Callable[[], None],
    start: int | None = None,
    end: int | None = None,
) -> Look:
    """Args:
    tick: called before each packet; may raise to end it.
    start: ticks; what is earlier is of no interest.
    end: ticks; nor is what comes from here on.
    """
    times: list[int] = []
    signatures: list[Signature] = []
    try:
        for time, frame in _decoded(video, timeline, tick, start):
            if end is not None and time > end + round(AFTER_S / timeline.time_base):
                break
            times.append(time)
            signatures.append(signature_of(frame))
    finally:
        # Whoever decodes next wants whole pictures.
        video.rewind()
    samples = np.stack(signatures) if signatures else np.empty((0, SAMPLES), np.uint8)
    ends = int(timeline.times[0]) + timeline.ends
    return Look(
        np.array(times, np.int64), samples, float(timeline.time_base), ends, timeline.joints
    )


def _decoded(
    video: VideoFile, timeline: Timeline, tick: Callable[[], None], start: int | None
) -> Iterator[tuple[int, Any]]:
    """The time of each frame, and the frame; what the decoder refuses is passed over."""
    video.rewind()
    context = video.stream.codec_context
    if context.name in SKIPPING:
        context.options = {**context.options, **ROUGH}
        if timeline.skippable:
            context.skip_frame = "NONREF"
    if start is not None and timeline.seekable:
        key = int(timeline.keys[timeline.key_before(start)])
        with suppress(av.FFmpegError):  # then from the beginning
            video.seek(key)
    for packet in readable(video):
        tick()
        for frame in decodable(video, packet.decode):
            if frame.pts is not None:
                yield frame.pts, frame


def readable(video: VideoFile) -> Iterator[Any]:
    """Packets, up to where the file cannot be read on."""
    with suppress(av.FFmpegError):
        yield from video.packets()


def decodable(video: VideoFile, decode: Callable[[], list[Any]]) -> Iterator[Any]:
    """The frames of a packet; none of one that the decoder refuses."""
    with suppress(av.FFmpegError):
        yield from video.frames(decode)


def signature_of(frame: Any) -> Signature:
    """Evenly spaced samples of the planes as they are; other formats are converted, small."""
    name = frame.format.name
    planar = PLANAR.fullmatch(name)
    if planar:
        bits, pairs = int(planar[1] or 8), False
    elif name in SEMI_PLANAR or name in HIGH_SEMI_PLANAR:
        bits, pairs = SEMI_PLANAR.get(name, 16), True
    else:
        frame = frame.reformat(TINY, TINY, "yuv420p", interpolation="AREA")
        bits, pairs = 8, False
    luma = _samples(frame.planes[0], LUMA_SIDE, bits, 1)
    if pairs:
        chroma = _samples(frame.planes[1], CHROMA_SIDE, bits, 2)
        return np.concatenate([luma.ravel(), chroma[..., 0].ravel(), chroma[..., 1].ravel()])
    planes = [_samples(plane, CHROMA_SIDE, bits, 1) for plane in frame.planes[1:3]]
    return np.concatenate([one.ravel() for one in (luma, *planes)])


def _samples(plane: Any, side: int, bits: int, channels: int) -> NDArray[np.uint8]:
    """(side, side, channels), of 8 bits."""
    kind: type[np.generic] = np.uint8 if bits == 8 else np.uint16
    rows = np.frombuffer(plane, kind).reshape(plane.height, -1)
    across = plane.width * channels
    picked = rows[_spread(plane.height, side), :across].reshape(side, plane.width, channels)
    picked = picked[:, _spread(plane.width, side)]
    return picked if bits == 8 else (picked >> (bits - 8)).astype(np.uint8)


@cache
def _spread(length: int, side: int) -> NDArray[np.intp]:
    """The middles of so many equal parts."""
    return ((np.arange(side) + 0.5) * length / side).astype(np.intp)
