"""Scene changes among keyframes alone: for videos that are too long to look at all frames.

Encoders put keyframes at cuts, so that most are found where they are; of the others the next
keyframe is told. Fades and dissolves are only seen if both sides have keyframes.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from workers.video.blanks import is_blank
from workers.video.clock import Ticks
from workers.video.container import VideoFile
from workers.video.scenes import decodable, readable, signature_of
from workers.video.timeline import Timeline

CUT = 18.0
"""Mean difference in levels of 255."""
MOST = 1500
"""Keyframes that are looked at, evenly over the video."""
PATIENCE = 64
"""Packets after a seek until a keyframe comes."""


def some_keys(timeline: Timeline) -> list[int]:
    keys = timeline.keys[timeline.keys >= timeline.times[0]]
    every = max(1, -(-len(keys) // MOST))
    return [int(key) for key in keys[::every]]


def key_changes(
    video: VideoFile, timeline: Timeline, keys: list[int], tick: Callable[[], None]
) -> list[int]:
    """Ticks: of the keyframes that show another scene than the one before.

    Args:
        tick: called before each packet; may raise to end it.
    """
    found: list[int] = []
    before: Any = None
    for time, frame in _pictures(video, timeline, keys, tick):
        seen = signature_of(frame)
        if is_blank(seen):
            continue  # no scene: what comes after it is compared with what was before
        signature = seen.astype(np.int16)
        if before is not None and np.abs(signature - before).mean() > CUT:
            found.append(time)
        before = signature
    return found


def _pictures(
    video: VideoFile, timeline: Timeline, keys: list[int], tick: Callable[[], None]
) -> Iterator[tuple[int, Any]]:
    context = video.stream.codec_context
    if not timeline.seekable:
        video.rewind()
        video.stream.codec_context.skip_frame = "NONKEY"
        times = None if timeline.skippable else timeline.times
        yield from (
            (frame.pts, frame) for frame in _frames(video, times, tick) if frame.pts is not None
        )
        return
    for key in keys:
        context.skip_frame = "NONKEY"
        try:
            video.seek(key)
        except av.FFmpegError:
            continue
        picture = _next_picture(video, tick)
        if picture is not None:
            # Without what follows it, a frame may not know when it is shown.
            told = timeline.skippable and picture.pts is not None
            yield picture.pts if told else key, picture


def _next_picture(video: VideoFile, tick: Callable[[], None]) -> Any:
    """Of the next keyframe. No later packet is read for it: a decoder that holds it back, for those
    that are shown before it, is told that there are none."""
    for packet in itertools.islice(readable(video), PATIENCE):
        tick()
        found = decodable(video, packet.decode)
        if packet.is_keyframe:
            found = itertools.chain(found, decodable(video, video.stream.codec_context.decode))
        for picture in found:
            return picture
    return None


def _frames(video: VideoFile, times: Ticks | None, tick: Callable[[], None]) -> Iterator[Any]:
    """Of all packets; what cannot be decoded is passed over.

    Args:
        times: of all frames, for keyframes without a time: they are shown in their turn.
    """
    for number, packet in enumerate(readable(video)):
        tick()
        if times is not None and packet.is_keyframe and packet.pts is None:
            packet.pts = int(times[min(number, len(times) - 1)])
        yield from decodable(video, packet.decode)
