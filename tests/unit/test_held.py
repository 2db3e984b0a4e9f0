"""How long a picture stays on screen: the last one too, and one that a part begins with."""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.hostile.files import FPS, UNKNOWN, clip, encoded, mkv
from tests.hostile.odd import edited
from tests.videos import level
from workers.video.container import VideoFile
from workers.video.limits import Limits
from workers.video.recordings import starts
from workers.video.sampling import Request, Sample, Sampler, Strategy, sample_frames
from workers.video.timeline import Timeline, from_index
from workers.video.told_size import told_size


def written(folder: Path, content: bytes) -> Path:
    path = folder / "video"
    path.write_bytes(content)
    return path


def gif(delays_ms: Sequence[int]) -> bytes:
    pictures = [Image.new("RGB", (64, 64), (40 * number, 0, 0)) for number in range(len(delays_ms))]
    file = BytesIO()
    first, *others = pictures
    first.save(file, "gif", save_all=True, append_images=others, duration=list(delays_ms))
    return file.getvalue()


NO_B = {"bf": "0", "preset": "ultrafast"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def parts(
    path: Path, *windows_s: tuple[float, float], strategy: Strategy = "uniform"
) -> list[Sample]:
    head = path.read_bytes()
    with VideoFile(str(path), path.name, lambda size: head[:size]) as video:
        sampler = Sampler(video, len(head), Limits(), lambda: None)
        return [
            sampler.sample(Request(4, window_s=window, strategy=strategy)) for window in windows_s
        ]


@pytest.mark.parametrize(
    ("content", "lasts_s", "distinct"),
    [
        (encoded("mp4", frames=12, holds=480, options=NO_B), 11 / 24 + 20, 1),
        (encoded("mp4", frames=12, holds=3, options=NO_B), 14 / 24, 4),
        (encoded("mp4", frames=12, holds=480, options=NO_B, muxer=FRAGMENTED), 11 / 24 + 20, 1),
        (encoded("mov", frames=12, holds=480, options=NO_B), 11 / 24 + 20, 1),
        (encoded("matroska", frames=12, holds=480), 11 / 24 + 20, 1),
        (encoded("webm", "libvpx-vp9", 12, holds=480), 11 / 24 + 20, 1),
        (encoded("mp4", frames=1, holds=240), 10, 1),
        (encoded("mov", "png", 1, pixels="rgb24", holds=240), 10, 1),
        (encoded("matroska", frames=1, holds=240), 10, 1),
        (encoded("webm", "libvpx-vp9", 1, holds=240), 10, 1),
        (encoded("mpegts", frames=1), 1 / 24, 1),
        (gif([100] * 5 + [5000]), 5.5, 1),
        (gif([5000]), 5, 1),
    ],
    ids=[
        "mp4",
        "mp4-a-little",
        "mp4-fragments",
        "mov",
        "mkv",
        "webm",
        "one.mp4",
        "one.mov",
        "one.mkv",
        "one.webm",
        "one.ts",
        "gif",
        "one.gif",
    ],
)
def test_the_last_frame_counts_for_as_long_as_it_is_held(
    tmp_path: Path, content: bytes, lasts_s: float, distinct: int
) -> None:
    sample = sample_frames(written(tmp_path, content), 4)
    assert sample.duration_s == pytest.approx(lasts_s, abs=0.002)
    assert sample.targets_s == pytest.approx([(i + 0.5) * lasts_s / 4 for i in range(4)], abs=0.002)
    assert (sample.distinct, sample.damaged) == (distinct, "")


def test_a_last_frame_that_is_held_a_little_needs_no_packets(tmp_path: Path) -> None:
    path = written(tmp_path, encoded("mp4", frames=12, holds=4, options=NO_B))
    with VideoFile(str(path), path.name, lambda size: b"") as video:
        timeline = from_index(video, path.stat().st_size)
    assert timeline is not None
    assert timeline.duration_s == pytest.approx(15 / FPS)


def test_a_frame_in_the_middle_says_nothing_of_the_last_one() -> None:
    """Nor does the mean, if a screen stood still for minutes in between."""
    times = np.array([0, 1, 2, 300, 301, 302, 303])
    assert Timeline(times, times[:1], Fraction(1)).duration == 304


def test_an_end_before_the_last_frame_is_none() -> None:
    times = np.arange(5)
    assert Timeline(times, times[:1], Fraction(1), end=2.0).duration == 5


@pytest.mark.parametrize("strategy", ["uniform", "adaptive"])
def test_each_part_of_a_still_picture_is_sampled_within_itself(
    tmp_path: Path, strategy: Strategy
) -> None:
    path = written(tmp_path, encoded("mp4", frames=1, holds=240))
    for start, sample in zip(
        (0, 2.5), parts(path, (0, 2.5), (2.5, 10), strategy=strategy), strict=True
    ):
        length = 2.5 if start == 0 else 7.5
        assert sample.duration_s == pytest.approx(length)
        assert sample.targets_s == pytest.approx([start + (i + 0.5) * length / 4 for i in range(4)])
        assert (sample.timestamps_s, sample.distinct) == ((0.0,), 1)


@pytest.mark.parametrize("strategy", ["uniform", "adaptive"])
def test_a_part_begins_with_the_picture_that_is_on_screen(
    tmp_path: Path, strategy: Strategy
) -> None:
    """Pictures at 0, 1 and 9 s, the last of which stays for one."""
    content = encoded("mp4", frames=3, times=[0, 24, 216], holds=24, options=NO_B)
    before, middle, after = parts(
        written(tmp_path, content), (0, 4), (4, 8), (8, 10), strategy=strategy
    )
    assert middle.duration_s == pytest.approx(4)
    assert middle.timestamps_s == (1.0,)
    assert 4 < min(middle.targets_s) < max(middle.targets_s) < 8
    assert before.duration_s == pytest.approx(4)
    assert before.timestamps_s[-1] == 1.0
    assert after.duration_s == pytest.approx(2)
    assert after.timestamps_s == (1.0, 9.0)


def test_pictures_that_change_every_ten_seconds_are_cut_between_them() -> None:
    """A tick is ten seconds then, and no reason to look away for five of them."""
    times = np.arange(10)
    found = Timeline(times, times[:1], Fraction(10)).window(26, 34)
    assert found.times.tolist() == [2, 3]
    assert found.duration_s == pytest.approx(8)


def test_a_part_after_the_end_shows_the_last_picture() -> None:
    times = np.arange(4)
    timeline = Timeline(times, times[:1], Fraction(1)).window(7, 9)
    assert (timeline.times.tolist(), timeline.duration) == ([3], 0)
    assert timeline.targets(3) == [3]


def test_an_edit_list_says_how_long_the_picture_is(tmp_path: Path) -> None:
    sample = sample_frames(written(tmp_path, edited(24, 24)), 4)
    assert sample.duration_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("container", ["avi", "flv", "asf", "mpegts", "vob", "ogg", "mxf"])
def test_one_frame_is_a_video_in_any_container(tmp_path: Path, container: str) -> None:
    codec = {"avi": "mpeg4", "asf": "wmv2", "ogg": "libvpx"}.get(container, "mpeg2video")
    codec = "libx264" if container in ("flv", "mpegts") else codec
    sample = sample_frames(written(tmp_path, encoded(container, codec, 1)), 4)
    assert (sample.distinct, len(sample.frames), sample.damaged) == (1, 1, "")
    assert sample.duration_s == pytest.approx(1 / FPS, abs=0.001)


def without_duration(content: bytes) -> bytes:
    """A Matroska whose length in seconds nobody filled in, nor the streams' tags."""
    at = content.index(bytes.fromhex("448988"))  # Duration, of 8 bytes; it becomes a Void
    content = content[:at] + bytes.fromhex("ec89") + bytes(9) + content[at + 11 :]
    return content.replace(b"DURATION", b"NOTHING!")


WHOLE = {
    "mkv": encoded("matroska", "libx264", 96),
    "webm": encoded("webm", "libvpx-vp9", 96),
    "avi": encoded("avi", "mpeg4", 96),
    "wmv": encoded("asf", "wmv2", 96),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_file_that_is_shorter_than_it_says_is_cut(
    tmp_path: Path, name: str, share: float
) -> None:
    whole = WHOLE[name]
    if name in ("mkv", "webm"):
        whole = without_duration(whole)
    assert told_size(whole) == len(whole)
    assert sample_frames(written(tmp_path, whole), 4).damaged == ""
    sample = sample_frames(written(tmp_path, whole[: int(share * len(whole))]), 4)
    assert "cut" in sample.damaged
    assert len(sample.frames) == 4
    assert sample.duration_s < 4


def test_an_avi_that_has_lost_its_index_alone_has_all_its_frames(tmp_path: Path) -> None:
    whole = WHOLE["avi"]
    sample = sample_frames(written(tmp_path, whole[: whole.rindex(b"idx1")]), 4)
    assert (sample.damaged, sample.duration_s) == ("", pytest.approx(4))


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"RIFF",
        b"RIFF\0\0\0\0AVI LIST",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"RIFF\x10\0\0\0WAVE",
        WHOLE["mkv"][:4],
        WHOLE["mkv"][:40],
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + 7 * b"\xff",
        b"\x1a\x45\xdf\xa3\x00" + 60 * b"\xff",
        b"\x1a\x45\xdf\xa3\xff" + 60 * b"\xff",
        WHOLE["wmv"][:60],
    ],
)
def test_a_file_that_does_not_say_its_size_is_not_cut(beginning: bytes) -> None:
    assert told_size(beginning) is None


def test_a_recording_that_has_not_ended_is_not_cut(tmp_path: Path) -> None:
    live = mkv(clip(), duration=None, segment_size=UNKNOWN)
    assert sample_frames(written(tmp_path, live), 4).damaged == ""


def with_sound(container: str, codec: str, late_s: float, sound_s: float) -> bytes:
    """Two seconds of picture that begin so late, among sound of another length."""
    file = BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = out.add_stream("mp2", rate=48000, layout="mono")
        blocks = int(sound_s * 48000 / 1152)
        frames = [(late_s + number / FPS, "picture", number) for number in range(2 * FPS)]
        frames += [(number * 1152 / 48000, "sound", number) for number in range(blocks)]
        for _, kind, number in sorted(frames):
            if kind == "picture":
                picture = np.full((64, 96, 3), level(number), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number + round(late_s * FPS), Fraction(1, FPS)
                out.mux(stream.encode(frame))
            else:
                block = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1152), np.int16), format="s16", layout="mono"
                )
                block.sample_rate, block.pts = 48000, number * 1152
                out.mux(sound.encode(block))
        out.mux(stream.encode())
        out.mux(sound.encode())
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("asf", "wmv2"), ("mpegts", "mpeg2video"), ("matroska", "mpeg4"), ("mp4", "mpeg4")],
)
@pytest.mark.parametrize(("late_s", "sound_s"), [(0, 12), (9, 12), (9, 1)])
def test_the_length_is_the_pictures_and_not_the_sounds(
    tmp_path: Path, container: str, codec: str, late_s: float, sound_s: float
) -> None:
    content = with_sound(container, codec, late_s, sound_s)
    sample = sample_frames(written(tmp_path, content), 4)
    assert sample.duration_s == pytest.approx(2, abs=0.01)
    assert sample.damaged == ""


def test_frames_that_an_avi_left_out_stand_for_a_picture_that_stayed(tmp_path: Path) -> None:
    content = encoded("avi", "mpeg4", 24, holds=24, options={"bf": "0"})
    sample = sample_frames(written(tmp_path, content), 4)
    assert sample.duration_s == pytest.approx(47 / FPS, abs=0.01)
    assert sample.damaged == ""


def test_an_hour_between_two_pictures_is_no_other_recording() -> None:
    """Not even if the later one is decoded first."""
    decoded = np.array([*range(30), 6000, 32, 31, 900, 6100, 6101])
    keys = np.arange(len(decoded)) == 0
    assert starts(decoded, decoded + 1, keys, 0.1, 1800) == [0]
    onwards = np.array([*range(30), *range(6000, 6012)])
    keys = np.arange(len(onwards)) == 0
    assert starts(onwards, onwards + 1, keys, 0.1, 1800) == [0, 30]
