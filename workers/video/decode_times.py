"""Containers that tell when a packet is decoded, and not when its frame is shown: AVI.

The decoder holds each frame back until the next ones have come that are shown before it; the one
that then comes out is shown in the turn of the packet that pushed it out. So pictures that are
stored in another order than they are shown in, several in one packet (packed bitstreams) or none,
come out as players show them.
"""

from collections.abc import Callable
from typing import Any

import av

from workers.video.container import VideoFile

DEMUXERS = frozenset({"avi"})


def are_told(stream: Any) -> bool:
    """Where pictures are stored as they are shown, both times are the same."""
    return stream.container.format.name in DEMUXERS and bool(stream.codec_context.has_b_frames)


def held_back(video: VideoFile, tick: Callable[[], None]) -> int:
    """Ticks between a frame's turn and the packet that pushes it out; 0 if only the end does."""
    video.rewind()
    first: int | None = None
    for packet in video.packets():
        tick()
        if first is None:
            first = packet.dts
        try:
            for frame in video.frames(packet.decode):
                return 0 if frame.dts is None or first is None else int(frame.dts - first)
        except av.FFmpegError:
            continue
    return 0
