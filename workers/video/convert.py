"""Decoded frames to pixels: scaled while they are converted, so that no full picture is ever made.

Knows nothing of which frames are wanted.
"""

import math
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from workers.video.colour import UNSPECIFIED, Colour, peak_nits, to_bt709
from workers.video.container import VideoFile
from workers.video.deinterlace import called_one, first_of, holds_two
from workers.video.orientation import lies, turned
from workers.video.shape import Frames, Shape

SHRINK, ENLARGE, ONLY_COLOURS = "AREA", "BICUBIC", "BILINEAR"
"""What is made smaller is averaged, which does not alias; what is made larger needs a curve."""
FULL_CHROMA = 0x2000
"""libswscale's SWS_FULL_CHR_H_INT. Without it a picture of an even width is one or two of 255
darker, white among it, and one of an odd width is not."""


def flags(how: str, form: str) -> int:
    """What swscale is told, by the name of its algorithm and of the form that it makes. Sixteen
    bits it always makes with all the chroma; told to, it makes other colours."""
    return int(Interpolation[how]) | (FULL_CHROMA if form == "rgb24" else 0)


class Converter:
    """Frames of one video as they are meant to be seen, and all of one size, though a stream may
    change its own.

    One converter a video: each builds swscale's tables once.

    Args:
        shape: of every picture; None: the size of the first one, as it is shown. What has another
            aspect than the first is shown within it, between black bars.
        most: pixels of a picture that has no `shape`; a larger one is made smaller.
    """

    aspect: float | None = None
    """Width by height of the first picture, before it was cut to a shape."""

    colour: Colour | None = None
    """Of the last frame that has others than the ordinary ones."""
    deinterlaced: int = 0
    """Frames."""

    def __init__(self, video: VideoFile, shape: Shape | None, most: int) -> None:
        self._video, self._shape, self._most = video, shape, most
        self._size: tuple[int, int] | None = None
        """(height, width) of the first picture."""
        self._swscale = VideoReformatter()

    def __call__(self, frame: Any) -> Frames:
        """(height, width, 3)"""
        matrix = self._video.orientation.of(frame)
        if holds_two(frame, self._video.stream.codec_context.name):
            frame = first_of(frame)
            self.deinterlaced += 1
        frame = called_one(frame)
        on_its_side = matrix is not None and lies(matrix)
        shown = self._video.geometry.cropped(frame)
        width, height = self._video.geometry.width(shown), shown.height
        if self.aspect is None:
            self.aspect = height / width if on_its_side else width / height
        picture = self._scaled(shown, *self._target(width, height, on_its_side))
        if matrix is not None:
            picture = turned(picture, matrix)
        crop = None if self._shape is None else self._shape.crop
        if crop is None:
            return self._like_the_first(picture)
        top, left = ((length - crop) // 2 for length in picture.shape[:2])
        # A copy: a part would keep all of the picture in memory.
        return picture[top : top + crop, left : left + crop].copy()

    def _target(self, width: int, height: int, on_its_side: bool) -> tuple[int, int]:
        """Width and height, before it is turned."""
        if self._shape is not None:
            own = self._shape.scaled(width, height)
        else:
            by = min(1.0, math.sqrt(self._most / (width * height)))
            own = max(1, int(width * by)), max(1, int(height * by))
        if self._size is None or (self._shape is not None and self._shape.crop is not None):
            return own
        wide, high = self._size if on_its_side else self._size[::-1]
        if own == (wide, high):
            return own
        by = min(wide / width, high / height)
        return max(1, round(width * by)), max(1, round(height * by))

    def _like_the_first(self, picture: Frames) -> Frames:
        size = self._size = self._size or (picture.shape[0], picture.shape[1])
        if picture.shape[:2] == size:
            return picture
        canvas = np.zeros((*size, 3), np.uint8)
        top, left = ((size[side] - picture.shape[side]) // 2 for side in (0, 1))
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return canvas

    def _scaled(self, frame: Any, width: int, height: int) -> Frames:
        """In the colours of an ordinary screen."""
        tags = self._video.tags.of(frame)
        colour = tags.colour
        if not frame.format.is_rgb:
            frame.colorspace = tags.matrix
        self.colour = colour or self.colour
        if colour is None or not colour.mapped:
            return cast(Frames, self._converted(frame, width, height, "rgb24"))
        picture = self._converted(frame, width, height, "rgb48le")
        return to_bt709(picture, colour, peak_nits(frame, colour.transfer))

    def _converted(self, frame: Any, width: int, height: int, form: str) -> Any:
        before, after = frame.width * frame.height, width * height
        same = (width, height) == (frame.width, frame.height)
        how = ONLY_COLOURS if same else SHRINK if before >= after else ENLARGE
        into: Any = {
            "width": width,
            "height": height,
            "format": form,
            "interpolation": flags(how, form),
        }
        into["threads"] = 1
        try:
            small = self._swscale.reformat(frame, **into)
        except av.FFmpegError:
            # It cannot convert from the colours that the file names, mostly wrongly.
            frame.colorspace = UNSPECIFIED
            small = self._swscale.reformat(frame, **into)
        return small.to_ndarray()
