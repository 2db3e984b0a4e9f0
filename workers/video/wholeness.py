"""What a file says that it has and has not, and how long its last picture stays by its own word.

Like is compared with like: bytes with bytes, and the length of the picture with what is told of
this very stream, never with that of the sound or of the container. Reads nothing.
"""

import re
from dataclasses import replace

import av

from workers.video.container import VideoFile
from workers.video.recordings import MOST
from workers.video.timeline import Timeline
from workers.video.told_size import told_size

TELLING = ("mov", "avi", "mxf")
"""Demuxers whose streams tell a length of their own, from a header. To others FFmpeg gives that of
the container, or what it has measured of the bytes that are there."""
SILENT = frozenset({"asf", "flv", "mpegts", "mpeg"})
"""Demuxers of containers that do not tell how long a frame is shown: FFmpeg makes it up of a rate,
which may be none."""
ENOUGH, LEAST_S = 0.8, 1.0
"""Of the told length, if that is longer than this: it may have been rounded."""


def missing(video: VideoFile, timeline: Timeline, size_bytes: int) -> str:
    """In words; empty if the file is whole."""
    stream = video.stream
    if timeline.lost:
        return "the file cannot be read to its end"
    if timeline.mistrusted:
        return f"the file's clock jumps more than {MOST} times: its frames are counted"
    beyond = sum(entry.pos + entry.size > size_bytes for entry in stream.index_entries)
    if beyond:
        lasts_s = max(float((stream.duration or 0) * stream.time_base), timeline.duration_s)
        return cut_by(lasts_s * beyond / len(stream.index_entries), lasts_s)
    size = told_size(video.beginning)
    lasts = _lasts(video, timeline, size)
    cut = size is not None and size > size_bytes
    if lasts is not None:
        # Frames that an AVI left out stand for a picture that stayed; and behind the last frame of
        # one that is cut may have been its index alone.
        cut = cut and timeline.ends + timeline.step / 2 < lasts
    # With every frame in its index none is missing, whatever the file says of its length. And where
    # a clock jumps that is from the beginning of the one to the end of the other.
    elif told_s := (
        None
        if timeline.joints or 0 < stream.frames == len(stream.index_entries)
        else _told_s(video)
    ):
        found_s = timeline.duration_s
        # Some count from the first picture, and some from the beginning of the clock.
        ends_s = found_s + float(int(timeline.times[0]) * timeline.time_base)
        if told_s > LEAST_S and max(found_s, ends_s) < ENOUGH * told_s:
            return cut_by(told_s - found_s, told_s)
    if size is not None and cut:
        return f"the file is cut: {size - size_bytes} of {size} bytes are missing"
    return ""


def cut_by(lacking_s: float, told_s: float) -> str:
    return f"the file is cut: {_short(lacking_s)} of {_short(told_s)} seconds are missing"


def _short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def held_to_its_end(video: VideoFile, timeline: Timeline) -> Timeline:
    """With the end that the file tells, which may be another than that of its last packet."""
    if video.container.format.name in SILENT and len(timeline.times) > 1:
        timeline = replace(timeline, end=None)
    lasts = _lasts(video, timeline, told_size(video.beginning))
    return replace(timeline, end=max(timeline.ends, lasts)) if lasts else timeline


def _lasts(video: VideoFile, timeline: Timeline, size: int | None) -> float | None:
    """Ticks: of the picture alone, by the header of a file that tells its size."""
    container, stream = video.container, video.stream
    if timeline.joints:
        return None  # from one clock to another one
    if size is not None and container.format.name == "avi":
        return float(stream.duration or 0)
    # Of a WMV, FFmpeg tells it only if the size is right.
    if container.format.name == "asf" and len(container.streams) == 1 and container.duration:
        ends = container.duration / (av.time_base * stream.time_base)
        return float(ends - int(timeline.times[0]))
    return None


def _told_s(video: VideoFile) -> float | None:
    stream = video.stream
    if video.container.format.name.split(",")[0] in TELLING:
        return float(stream.duration * stream.time_base) if stream.duration else None
    # Matroska writes one text tag a stream: "00:00:06.000000000".
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""), re.ASCII)
    if tag is None:
        return None
    hours, minutes, seconds = (float(part) for part in tag.groups())
    return 3600 * hours + 60 * minutes + seconds
