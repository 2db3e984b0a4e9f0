"""Films that are decoded in another order than they are shown in: when each frame of an MP4 is
shown, by its index alone. And that the colours of a palette come once."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from workers.video.container import VideoFile
from workers.video.sampling import sample_frames
from workers.video.timeline import Timeline, from_index

TICK = Fraction(1, 10)
STEP = 12
"""Levels from picture to picture."""
SLIDES = (0, 30, 60, 90, 150, 180)
"""Whose times of decoding are evenly spaced: those of the encoder lag two frames behind."""


def film(
    path: Path,
    times: Sequence[int],
    ends: int,
    muxer: dict[str, str] | None = None,
    codec: str = "libx264",
) -> Path:
    """In ticks; with B frames, and the last one held until it ends."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = TICK
        coding = "bframes=2:b-adapt=0:scenecut=0:weightp=0"
        stream.options = {
            "x264-params": coding,
            "x265-params": coding + ":log-level=none",
            "crf": "12",
        }
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


def indexed(path: Path) -> Timeline | None:
    with VideoFile(str(path), path.name, lambda size: path.read_bytes()[:size]) as video:
        return from_index(video, path.stat().st_size)


def shown_s(timeline: Timeline) -> list[float]:
    return [timeline.seconds(time) for time in timeline.times]


def trimmed(source: Path, packets: int) -> tuple[Path, list[float]]:
    """As a cut without encoding leaves it: so many packets, in the order of decoding; and when the
    frames in them are shown."""
    path = source.with_stem(f"{source.stem}-{packets}")
    times = []
    with av.open(str(source)) as origin, av.open(str(path), "w") as container:
        stream = origin.streams.video[0]
        target = container.add_stream_from_template(stream)
        for packet in islice(origin.demux(stream), packets):
            times.append(float(packet.pts * packet.time_base))
            packet.stream = target
            container.mux(packet)
    return path, sorted(times)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_film_that_is_cut_between_packets_has_its_last_frames(
    tmp_path: Path, codec: str, ending: str
) -> None:
    """Those are shown with gaps between them: what lay there was decoded later."""
    source = film(tmp_path / f"a.{ending}", range(13), 13, codec=codec)
    gaps = 0
    for packets in range(5, 13):
        path, times = trimmed(source, packets)
        timeline = indexed(path)
        assert timeline is not None
        assert shown_s(timeline) == pytest.approx(times)
        sample = sample_frames(path, 40)
        numbers = [round((float(picture.mean()) - 20) / STEP) for picture in sample.frames]
        assert numbers == [round(10 * time) for time in times]
        assert all(sample.exact)
        gaps += numbers != list(range(packets))
    assert gaps > 2  # or nothing is tried here


@pytest.mark.parametrize(
    ("times", "ends"),
    [(SLIDES, 210), ((0, 30, 60, 90, 120, 180), 210), ((0, 1, 5, 6, 14, 15, 17, 30, 31), 32)],
)
@pytest.mark.parametrize("muxer", [{}, {"movflags": "negative_cts_offsets"}])
def test_frames_at_any_distance_are_told_by_the_index_alone(
    tmp_path: Path, times: Sequence[int], ends: int, muxer: dict[str, str]
) -> None:
    timeline = indexed(film(tmp_path / "a.mp4", times, ends, muxer))
    assert timeline is not None
    assert shown_s(timeline) == pytest.approx([time / 10 for time in times])
    assert timeline.duration_s == pytest.approx(ends / 10)


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
