"""How a decoded picture is meant to be seen: what of it, and how wide its points are.

The container may cut edges off (MP4 `clap`, Matroska `PixelCrop*`) and say how wide a point is (MP4
`pasp`, Matroska `DisplayWidth`, AVI `vprp`); else each picture says so itself, and may say another
thing than the one before. Both as FFmpeg understands them. Knows nothing of models and of colours.
"""

import re
from fractions import Fraction
from typing import Any

from workers.video.filters import filtered
from workers.video.printed import printed

CROPPING = ("mov", "matroska")
"""Beginnings of the demuxers' names."""
SIDES = re.compile(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", re.MULTILINE)
MOST = 8
"""Points so many times as wide as high, or the other way round, are nobody's: such a number is no
statement, like 0."""


class Geometry:
    """Of the pictures of one track. After opening and before the first is decoded."""

    def __init__(self, container: Any, stream: Any) -> None:
        said, inside = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
        self._first = _sane(said)
        self._fixed = None if inside is None and said is not None else said != inside
        """The container contradicts the stream, or speaks for it. None: the stream has not spoken
        yet."""
        self._changes = False
        """Its pictures do not all say the same."""
        self._sides = _sides(container, stream.index)

    def cropped(self, frame: Any) -> Any:
        """What of it is shown: the same points, not copied."""
        if self._sides is None:
            return frame
        left, right, top, bottom = self._sides
        width, height = frame.width - left - right, frame.height - top - bottom
        if width <= 0 or height <= 0:
            return frame
        return filtered(frame, "crop", f"{width}:{height}:{left}:{top}")

    def follow(self, context: Any) -> None:
        """The decoder, after each packet that goes in."""
        if self._fixed or self._changes:
            return
        now = context.sample_aspect_ratio
        differs = now is not None and _sane(now) != self._first
        if self._fixed is None and now is not None:
            self._fixed = differs
        self._changes = differs

    def width(self, frame: Any) -> int:
        """How wide it is shown if its height stays."""
        if self._fixed is not False or not self._changes:
            return max(1, round(int(frame.width) * self._first))
        # The decoder is ahead of the pictures that it gives, and may be back at the first width, so
        # each picture is asked: PyAV has no word for it, but the widths that FFmpeg's filters
        # compute do.
        wide = f"if(between(sar*{MOST},1,{MOST * MOST}),sar,1)*{frame.width}"
        corner = filtered(frame, "crop", "2:2:0:0")
        shown = filtered(
            corner, "scale", f"w=max(1,round({wide})):h=2:eval=frame:flags=fast_bilinear"
        )
        return int(shown.width)


def _sane(ratio: Fraction | None) -> Fraction:
    if not ratio or not Fraction(1, MOST) <= ratio <= MOST:
        return Fraction(1)
    return ratio


def _sides(container: Any, index: int) -> tuple[int, int, int, int] | None:
    """Left, right, top and bottom, in points that are not shown."""
    if not container.format.name.startswith(CROPPING):
        return None
    found = SIDES.search(printed(container, index))
    if found is None:
        return None
    left, right, top, bottom = map(int, found.groups())
    return left, right, top, bottom
