"""Which way up a picture is shown: turned and mirrored, each once.

FFmpeg makes one matrix of what an MP4 says for a track and for the film, and has it on every frame,
as Matroska's. H.264 and HEVC have a message for it, which counts until there is another one or the
next keyframe, but which only the frame that brings it has. So a frame is turned the same whatever
was decoded before its group of pictures. Knows nothing of sizes and colours.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

from workers.video.filters import filtered
from workers.video.shape import Frames
from workers.video.side_data import side_data

Matrix = Sequence[int]
"""(a, b, u, c, d, v, x, y, w): what lies at (p, q) is shown at (ap + cq, bp + dq). ISO/IEC
14496-12, "Track Header Box"."""
ALMOST = 0.01
"""An angle of half a degree is none."""
STRAIGHT = 1
"""Degrees: by so few nothing is turned."""


class Orientation:
    """Of the frames of one stream, in the order in which they are shown, since the last seek."""

    def __init__(self) -> None:
        self._last: Matrix | None = None

    def follow(self, frame: Any) -> None:
        """Each frame that is decoded, wanted or not. Most are asked for next to nothing: side data
        takes ten times as long to look up as an angle."""
        if frame.key_frame:
            self._last = _own(frame)
        elif frame.rotation:
            self._last = _own(frame) or self._last

    def of(self, frame: Any) -> Matrix | None:
        """Of the frame that was decoded last. None: it is shown as it is stored."""
        return _own(frame) or self._last


def _own(frame: Any) -> Matrix | None:
    told = side_data(frame, "DISPLAYMATRIX")
    return None if told is None else struct.unpack("9i", told)


def lies(matrix: Matrix) -> bool:
    """Whether it is turned by a quarter, this way or the other."""
    a, b, _, c, d = matrix[:5]
    return max(abs(a), abs(d)) < ALMOST * min(abs(b), abs(c))


def turned(picture: Frames, matrix: Matrix) -> Frames:
    """By quarter turns and mirrors; by another angle within its edges."""
    a, b, _, c, d = matrix[:5]
    if lies(matrix):
        picture = picture.swapaxes(0, 1)
        a, d = c, b
    elif max(abs(b), abs(c)) > ALMOST * min(abs(a), abs(d)):
        return _tilted(picture, matrix)
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _tilted(picture: Frames, matrix: Matrix) -> Frames:
    """As the ffmpeg program has it: what leaves the picture is not seen, what comes in is black."""
    a, b, _, c, d = matrix[:5]
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return picture
    degrees = round(math.degrees(math.atan2(b / down, a / across)))
    if abs(degrees) <= STRAIGHT:
        return picture
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    tilted: Frames = filtered(frame, "rotate", f"{degrees}*PI/180").to_ndarray()
    return tilted
