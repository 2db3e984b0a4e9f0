"""One picture of a frame that holds two, of which every other line was taken a moment later.

Goes by what the frame says of itself. Knows nothing of sizes and colours.
"""

from typing import Any

import av

from workers.video.filters import filtered

FIELDS_APART = frozenset({"hevc"})
"""Codecs of which FFmpeg calls a frame interlaced that is only one of the two."""
LEAST_LINES = 8
"""The filter looks at so many."""


def holds_two(frame: Any, codec: str) -> bool:
    return (
        bool(frame.interlaced_frame) and codec not in FIELDS_APART and frame.height >= LEAST_LINES
    )


def first_of(frame: Any) -> Any:
    """The earlier picture: its lines as they are, and between them what the filter makes of those.

    From this frame alone, so that no other one is decoded for it. Given a single frame, FFmpeg's
    `bwdif` gives it back as it is, and `yadif` leaves combs in it.
    """
    try:
        return filtered(frame, "w3fdif", "mode=frame")
    except av.FFmpegError:
        # Of the numbers of a palette nothing can be made.
        return called_one(frame)


def called_one(frame: Any) -> Any:
    """swscale scales the lines of a frame that is called interlaced in two halves, and mixes them
    again: the smaller picture would have a comb of its own."""
    return filtered(frame, "setfield", "mode=prog") if frame.interlaced_frame else frame
