"""Frames out of real files: the right ones of good videos, a typed reason for bad ones."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    EmptyFile,
    JamakError,
    Missing,
    NotAVideo,
    NoVideoStream,
    TooLarge,
    TooSlow,
    Truncated,
)
from shared.language import in_korean
from tests.videos import cut, faststart, rotate_quarter, write_clip, write_sound
from workers.video.sampling import Limits, sample_frames
from workers.video.timeline import Timeline


def indices(frames: np.ndarray) -> list[int]:
    """Which frames of a test clip these are, by their grey level."""
    return [round((float(frame.mean()) - 20) / 8) for frame in frames]


@pytest.mark.parametrize(
    ("ticks", "time_base"),
    [
        (1001, Fraction(1, 30000)),
        (1001, Fraction(1, 24000)),
        (512, Fraction(1, 12800)),
        (3003, Fraction(1, 90000)),
        (1, Fraction(1, 25)),
        (33366667, Fraction(1, 10**9)),
    ],
)
def test_a_window_begins_and_ends_between_frames(ticks: int, time_base: Fraction) -> None:
    times = 7 + np.arange(300) * ticks
    timeline = Timeline(times, times[:1], time_base)
    cuts = [round(timeline.seconds(int(time)), 6) for time in times]
    for first in range(0, 290, 7):
        found = timeline.window(cuts[first], cuts[first + 9])
        assert found.times.tolist() == times[first : first + 9].tolist()
    # A moment within a frame belongs to it; the end of all is the end.
    within = timeline.seconds(int(times[40])) + 0.4 * ticks * float(time_base)
    assert timeline.window(within, timeline.duration_s).times.tolist() == times[40:].tolist()
    assert timeline.window(cuts[5], cuts[5]).times.tolist() == [times[5]]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mp4", "libx265")],
)
def test_frames_are_those_at_the_segments_centres(tmp_path: Path, name: str, codec: str) -> None:
    sample = sample_frames(write_clip(tmp_path / name, 24, codec=codec), 4)
    assert indices(sample.frames) == [3, 9, 15, 21]
    assert sample.timestamps_s == pytest.approx([3 / 12, 9 / 12, 15 / 12, 21 / 12], abs=1e-3)
    assert sample.duration_s == pytest.approx(2.0, abs=0.01)
    assert sample.frames.shape == (4, 64, 96, 3)
    assert (sample.requested, sample.distinct, sample.decode_errors) == (4, 4, 0)


@pytest.mark.parametrize(("frames", "asked", "got"), [(1, 4, [0]), (3, 8, [0, 1, 2])])
def test_a_short_video_is_not_padded_with_repeats(
    tmp_path: Path, frames: int, asked: int, got: list[int]
) -> None:
    sample = sample_frames(write_clip(tmp_path / "a.mp4", frames), asked)
    assert indices(sample.frames) == got
    assert (sample.requested, sample.distinct) == (asked, len(got))


def test_a_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    # One second of stillness between the first and the second half.
    pts = [*range(12), *range(24, 36)]
    sample = sample_frames(write_clip(tmp_path / "a.mp4", 24, pts=pts), 3)
    assert indices(sample.frames) == [6, 11, 18]


def test_a_phone_video_comes_out_upright(tmp_path: Path) -> None:
    upright = write_clip(tmp_path / "a.mp4", 4, size=(96, 64))
    sample = sample_frames(rotate_quarter(tmp_path / "b.mp4", upright), 2)
    assert sample.frames.shape == (2, 96, 64, 3)


@given(
    st.lists(st.integers(-1000, 10**7), min_size=1, max_size=50, unique=True), st.integers(1, 64)
)
def test_targets_are_frame_times_in_order_and_without_repeats(times: list[int], n: int) -> None:
    ticks = np.array(sorted(times))
    timeline = Timeline(ticks, ticks[:1], Fraction(1, 90_000))
    targets = timeline.targets(n)
    assert 1 <= len(targets) <= min(n, len(times))
    assert set(targets) <= set(times)
    assert targets == sorted(set(targets))


def html(folder: Path) -> Path:
    (folder / "page.mp4").write_text("<html>404</html>")
    return folder / "page.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def cut_before_index(folder: Path) -> Path:
    return cut(folder / "cut.mp4", write_clip(folder / "a.mp4", 48), 0.6)


def cut_after_index(folder: Path) -> Path:
    # As many threads on every machine: where its bytes lie depends on that.
    film = write_clip(folder / "a.mp4", 240, size=(320, 240), options={"threads": "2"})
    whole = faststart(folder / "fast.mp4", film)
    return cut(folder / "cut.mp4", whole, 0.6)


def cut_matroska(folder: Path) -> Path:
    return cut(folder / "cut.mkv", write_clip(folder / "a.mkv", 240, size=(320, 240)), 0.5)


def sound(folder: Path) -> Path:
    return write_sound(folder / "sound.mp4")


def nothing(folder: Path) -> Path:
    return folder / "nothing.mp4"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (nothing, Missing),
        (empty, EmptyFile),
        (html, NotAVideo),
        (sound, NoVideoStream),
        (cut_before_index, Truncated),
    ],
)
def test_a_bad_file_has_a_typed_reason_and_a_cure(
    tmp_path: Path, make: object, error: type[JamakError]
) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(error) as caught:
        sample_frames(path, 4)
    assert path.name in str(caught.value)
    assert caught.value.cure
    assert "\n" not in caught.value.cure


@pytest.mark.parametrize("make", [cut_after_index, cut_matroska])
def test_what_can_be_had_of_a_cut_file_is_had(tmp_path: Path, make: object) -> None:
    sample = sample_frames(make(tmp_path), 4)  # type: ignore[operator]
    assert len(sample.frames) == 4
    assert sample.damaged == "the file is cut: 10 of 20 seconds are missing"
    assert in_korean(sample.damaged) == "파일이 잘렸습니다. 20초 가운데 10초가 없습니다"
    assert sample.duration_s == pytest.approx(10, abs=0.3)


def test_the_last_picture_may_stay_for_long(tmp_path: Path) -> None:
    # Eleven frames in a second, and a last one that stays for nine.
    path = write_clip(tmp_path / "a.mkv", 13, pts=[*range(12), 120])
    assert sample_frames(path, 4).damaged == ""


def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 4, size=(640, 480))
    with pytest.raises(TooLarge, match="640x480"):
        sample_frames(clip, 4, Limits(max_pixels=320 * 240))


def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 24)
    with pytest.raises(TooSlow):
        sample_frames(clip, 4, Limits(deadline_s=1e-9))


def test_a_stream_that_changes_its_size_comes_out_in_one(tmp_path: Path) -> None:
    path = tmp_path / "sizes.ts"
    small = write_clip(tmp_path / "1.ts", 12)
    large = write_clip(tmp_path / "2.ts", 12, size=(128, 96), pts=list(range(12, 24)))
    path.write_bytes(small.read_bytes() + large.read_bytes())
    frames = sample_frames(path, 4).frames
    assert frames.shape == (4, 64, 96, 3)


def test_a_title_in_an_old_encoding_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "title.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXXXXXX"
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(12):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    body = path.read_bytes()
    assert b"XXXXXXXX" in body
    path.write_bytes(body.replace(b"XXXXXXXX", "자막자막".encode("cp949")))
    assert len(sample_frames(path, 2).frames) == 2
