"""A picture of how a video was sampled: its frames with their times, and a line of where they are.

Above the line: where frames were taken (exact ones filled) and where the scene changes. On it: what
was decoded; all else was skipped.
"""

import itertools
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from workers.video.process import VideoInfo
from workers.video.sampling import Sample

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
GAP, LABEL, LINE = 8, 18, 64
"""Pixels: between pictures, for a time, for the line."""
COLUMNS = 4
LEGEND = "decoded: blue   skipped: grey   frames: triangles   scene changes: red"
BESIDE = 80
"""Pixels on each side of the legend, for the times of the beginning and the end."""
INK, PALE, DECODED, CHANGE = "#1c2733", "#dfe5ea", "#3c7dd9", "#d64545"


def contact_sheet(
    name: str, info: VideoInfo, sample: Sample, changes_s: Sequence[float] = ()
) -> Image.Image:
    """As wide as COLUMNS pictures, or all of them if they are fewer, and as what is written."""
    height, width = sample.frames.shape[1:3]
    columns = min(COLUMNS, len(sample.frames))
    rows = math.ceil(len(sample.frames) / columns)
    font = ImageFont.load_default(13)
    labels = [
        f"{time:.2f} s{'' if exact else ' ~'}"
        for time, exact in zip(sample.timestamps_s, sample.exact, strict=True)
    ]
    cell = max(width, *(math.ceil(font.getlength(label)) for label in labels))
    across = max(columns * (cell + GAP) + GAP, math.ceil(font.getlength(LEGEND)) + 2 * BESIDE)
    head = _wrapped(_headline(name, info, sample), font, across - 2 * GAP)
    above = len(head) * LABEL + GAP
    sheet = Image.new(
        "RGB", (across, above + rows * (height + LABEL + GAP) + LINE + LABEL), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        draw.text((GAP, GAP // 2 + number * LABEL), line, INK, font)
    for number, picture in enumerate(sample.frames):
        row, column = divmod(number, columns)
        left, top = GAP + column * (cell + GAP), above + row * (height + LABEL + GAP)
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.text((left, top + height + 1), labels[number], INK, font)
    _line(draw, font, sheet.width, sheet.height - LINE - LABEL, info, sample, changes_s)
    return sheet


def _headline(name: str, info: VideoInfo, sample: Sample) -> str:
    return (
        f"{name}   {info.codec} {info.width}x{info.height}   {info.duration_s:.1f} s   "
        f"{len(sample.frames)} of {info.frames} frames, {sample.strategy}; for them "
        f"{sample.frames_decoded} were decoded   {sample.reason} {sample.damaged}"
    )


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """In lines of so many pixels; a word that is longer goes on in the next one."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
        while font.getlength(lines[-1]) > width:
            fits = next(n for n in itertools.count(1) if font.getlength(lines[-1][: n + 1]) > width)
            lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
    return lines


def _line(
    draw: ImageDraw.ImageDraw,
    font: Font,
    width: int,
    top: int,
    info: VideoInfo,
    sample: Sample,
    changes_s: Sequence[float],
) -> None:
    def at(seconds: float) -> float:
        return GAP + seconds / max(info.duration_s, 1e-9) * (width - 2 * GAP)

    bar = top + 28
    draw.rectangle((GAP, bar, width - GAP, bar + 12), PALE)
    for first, last in sample.groups_s:
        draw.rectangle((at(max(first, 0)), bar, at(last) + 1, bar + 12), DECODED)
    for change in changes_s:
        draw.line((at(change), bar - 20, at(change), bar + 18), CHANGE, 2)
    for moment, exact in zip(sample.timestamps_s, sample.exact, strict=True):
        here = at(moment)
        shape = [(here - 4, bar - 9), (here + 4, bar - 9), (here, bar - 2)]
        draw.polygon(shape, INK if exact else None, INK)
    draw.text((GAP, bar + 18), "0 s", INK, font)
    end = f"{info.duration_s:.1f} s"
    draw.text((width - GAP - draw.textlength(end, font), bar + 18), end, INK, font)
    draw.text((width / 2 - draw.textlength(LEGEND, font) / 2, bar + 18), LEGEND, INK, font)
