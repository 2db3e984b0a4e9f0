"""What an MP4's table does not say: when the last frames are shown, if they are decoded in another
order, and that the colours of a palette come once."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from workers.video.sampling import sample_frames
from workers.video.timeline import from_index

TICK = Fraction(1, 10)
STEP = 12
"""Levels from picture to picture."""
SLIDES = (0, 30, 60, 90, 150, 180)
"""Whose times of decoding are evenly spaced: those of the encoder lag two frames behind."""


def film(path: Path, times: Sequence[int], ends: int, muxer: dict[str, str] | None = None) -> Path:
    """In ticks; with B frames, and the last one held until it ends."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICK
        stream.options = {"x264-params": "bframes=2:b-adapt=0:scenecut=0:weightp=0", "crf": "12"}
        packets = []
        for number, time in enumerate(times):
            grey = np.full((64, 96, 3), 20 + STEP * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time, TICK
            packets += stream.encode(frame)
        packets += stream.encode()
        shown = [packet.pts for packet in packets]
        assert shown[-1] < max(shown)  # or nothing is tried here
        last = packets[-1]
        last.duration = round(ends * TICK / last.time_base) - last.pts
        container.mux(packets)
    return path


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize(
    ("name", "times", "ends", "muxer"),
    [
        ("evenly.mp4", tuple(range(10)), 210, {}),
        ("evenly.mov", tuple(range(10)), 210, {}),
        ("fragmented.mp4", tuple(range(10)), 210, FRAGMENTED),
        ("slides.mp4", SLIDES, 250, {}),
    ],
)
def test_a_last_frame_that_is_not_decoded_last_is_held_to_the_end(
    tmp_path: Path, name: str, times: Sequence[int], ends: int, muxer: dict[str, str]
) -> None:
    sample = sample_frames(film(tmp_path / name, times, ends, muxer), 210)
    numbers = [round((float(picture.mean()) - 20) / STEP) for picture in sample.frames]
    assert numbers == list(range(len(times)))
    assert sample.timestamps_s == pytest.approx([time / 10 for time in times])
    assert sample.duration_s == pytest.approx(ends / 10)
    assert (all(sample.exact), sample.damaged) == (True, "")


def test_a_table_that_is_as_long_as_the_film_is_believed(tmp_path: Path) -> None:
    with av.open(str(film(tmp_path / "a.mp4", tuple(range(10)), 10))) as container:
        timeline = from_index(container.streams.video[0])
    assert timeline is not None
    assert len(timeline.times) == 10


def test_a_palette_is_there_wherever_a_film_is_sought(tmp_path: Path) -> None:
    path = tmp_path / "old.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "gray"
        stream.codec_context.gop_size = 4
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(
                np.full((64, 96), 60 + STEP * number, np.uint8), format="gray"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sample = sample_frames(path, 4)
    numbers = [round((float(picture.mean()) - 60) / STEP) for picture in sample.frames]
    assert numbers == [1, 4, 7, 10]
