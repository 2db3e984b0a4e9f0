"""Scene changes are found where they are, and nowhere else, in videos that were really encoded."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from workers.video import scenes
from workers.video.changes import Change, changes_of
from workers.video.container import VideoFile
from workers.video.decode import FrameReader
from workers.video.packet_times import from_packets
from workers.video.scenes import look, signature_of
from workers.video.signature import SAMPLES
from workers.video.timeline import Timeline, from_index

Picture = NDArray[np.float32]
WIDTH, HEIGHT, FPS = 192, 112, 30
FIXED = {"preset": "veryfast", "g": "60", "x264-params": "scenecut=0"}
ENCODERS = {
    ".mp4": ("libx264", {"preset": "veryfast"}),
    ".ts": ("libx264", {"preset": "veryfast"}),
    ".h264": ("libx264", {"preset": "veryfast"}),
    ".avi": ("mpeg4", {}),
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


@cache
def patches(number: int) -> Picture:
    """(2 * HEIGHT, 2 * WIDTH, 3): patches of colour of many sizes, endless in both directions."""
    dice = np.random.default_rng(number)
    picture = np.full((HEIGHT, WIDTH, 3), dice.uniform(90, 160, 3), np.float32)
    for side in (16, 32, 56):
        small = dice.normal(0, 26, (HEIGHT // side + 1, WIDTH // side + 1, 3))
        picture += small.repeat(side, axis=0).repeat(side, axis=1)[:HEIGHT, :WIDTH]
    return np.tile(picture.clip(0, 255), (2, 2, 1))


def shot(number: int, frame: int, speed: float = 1.0) -> Picture:
    """(HEIGHT, WIDTH, 3): it moves; each number is another shot."""
    x, y = round(speed * frame) % WIDTH, round(speed * frame / 2) % HEIGHT
    return patches(number)[y : y + HEIGHT, x : x + WIDTH]


def cuts(at: tuple[int, ...], frames: int, speed: float = 1.0) -> Iterator[Picture]:
    for frame in range(frames):
        yield shot(sum(frame >= one for one in at), frame, speed)


def write(
    path: Path,
    pictures: Iterable[Picture],
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
) -> Path:
    codec, usual = ENCODERS[path.suffix]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = options or usual
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def opened(path: Path) -> tuple[VideoFile, Timeline]:
    video = VideoFile(str(path), path.name, lambda size: path.read_bytes()[:size])
    timeline = from_index(video) or from_packets(video)
    assert timeline
    return video, timeline


def found_in(path: Path) -> list[tuple[int, str]]:
    """(frame, kind) of each change."""
    video, timeline = opened(path)
    with video:
        changes = look(video, timeline, lambda: None).changes()
    return [(int(np.searchsorted(timeline.times, one.time)), one.kind) for one in changes]


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.h264", "a.avi", "a.webm"])
def test_cuts_are_found(tmp_path: Path, name: str) -> None:
    found = found_in(write(tmp_path / name, cuts((31, 70), 110)))
    assert [kind for _, kind in found] == ["cut", "cut"]
    assert [frame for frame, _ in found] == pytest.approx([31, 70], abs=2)


def test_cuts_are_found_where_the_encoder_did_not_mark_them(tmp_path: Path) -> None:
    found = found_in(write(tmp_path / "a.mp4", cuts((31, 70), 110), FIXED))
    assert [kind for _, kind in found] == ["cut", "cut"]
    assert [frame for frame, _ in found] == pytest.approx([31, 70], abs=2)


def test_ten_bits(tmp_path: Path) -> None:
    found = found_in(write(tmp_path / "a.mp4", cuts((31, 70), 110), pixels="yuv420p10le"))
    assert [frame for frame, _ in found] == pytest.approx([31, 70], abs=2)


@pytest.mark.parametrize("length", [8, 20, 32])
def test_a_dissolve_is_found_in_its_middle(tmp_path: Path, length: int) -> None:
    def pictures() -> Iterator[Picture]:
        for frame in range(120):
            share = np.float32(np.clip(0.5 + (frame - 60) / length, 0, 1))
            yield shot(0, frame, 0.5) * (1 - share) + shot(1, frame, 0.5) * share

    ((frame, kind),) = found_in(write(tmp_path / "a.mp4", pictures()))
    assert kind == "gradual"
    assert frame == pytest.approx(60, abs=8)


@pytest.mark.parametrize("through", [0, 255])
def test_a_fade_is_one_change(tmp_path: Path, through: int) -> None:
    def pictures() -> Iterator[Picture]:
        for frame in range(130):
            shown = np.float32(np.clip(abs(frame - 65) / 14 - 0.15, 0, 1))
            yield shot(int(frame > 65), frame, 0.5) * shown + through * (1 - shown)

    ((frame, kind),) = found_in(write(tmp_path / "a.mp4", pictures()))
    assert kind == "gradual"
    assert frame == pytest.approx(65, abs=8)


def through_black(hold: int, ramp: int, level: int = 0, frames: int = 160) -> Iterator[Picture]:
    """Two shots, and black between them for `hold` frames; into it and out of it in `ramp` each."""
    for frame in range(frames):
        beside = abs(frame - frames / 2) - hold / 2
        shown = np.float32(np.clip(beside / ramp if ramp else beside > 0, 0, 1))
        yield shot(int(frame > frames / 2), frame, 0.5) * shown + level * (1 - shown)


@pytest.mark.parametrize(
    ("hold", "ramp", "level"), [(15, 0, 0), (60, 0, 255), (30, 15, 0), (60, 30, 0)]
)
def test_a_gap_is_one_change_in_its_middle(
    tmp_path: Path, hold: int, ramp: int, level: int
) -> None:
    (found,) = found_in(write(tmp_path / "a.mp4", through_black(hold, ramp, level=level)))
    assert found == (pytest.approx(80, abs=4), "gradual")


def test_black_between_two_pictures_of_one_scene_is_no_change(tmp_path: Path) -> None:
    pictures = (shot(0, 0) * np.float32(abs(frame - 60) > 10) for frame in range(120))
    assert not found_in(write(tmp_path / "a.mp4", pictures))


@pytest.mark.parametrize("ramp", [0, 15])
def test_black_at_the_beginning_and_at_the_end_is_no_scene(tmp_path: Path, ramp: int) -> None:
    def pictures() -> Iterator[Picture]:
        for frame in range(120):
            beside = min(frame, 119 - frame) - 20
            shown = np.float32(np.clip(beside / ramp if ramp else beside > 0, 0, 1))
            yield shot(0, frame, 0.5) * shown

    assert not found_in(write(tmp_path / "a.mp4", pictures()))


def test_a_title_on_black_is_a_scene(tmp_path: Path) -> None:
    def pictures() -> Iterator[Picture]:
        for picture in through_black(45, 0):
            if not picture.any():
                picture[48:64, 40:150] = np.float32(235) * (np.arange(110) % 16 > 5)[:, None]
            yield picture

    assert len(found_in(write(tmp_path / "a.mp4", pictures()))) == 2


def test_what_is_held_is_a_scene_and_so_is_the_ending() -> None:
    """A recording of a screen on which little happens: each picture stays for minutes."""
    dice = np.random.default_rng(1)
    pages = dice.integers(0, 255, (5, 24), np.uint8).repeat(SAMPLES // 24, axis=1)
    times = np.array([0, 100, 105, 400, 401])
    found = changes_of(pages, times, 1.0, 500.0)
    assert found == [Change(int(time), "cut") for time in times[1:]]
    # A last frame of a moment may be anything.
    assert changes_of(pages, times, 1.0, 401.04) == found[:-1]


def test_a_flash_is_no_change(tmp_path: Path) -> None:
    def pictures() -> Iterator[Picture]:
        for frame, picture in enumerate(cuts((60,), 120)):
            lit = frame in (20, 43, 44, 57, 80, 81, 82)
            yield picture * 0.2 + 200 if lit else picture

    found = found_in(write(tmp_path / "a.mp4", pictures()))
    assert [kind for _, kind in found] == ["cut"]
    assert found[0][0] == pytest.approx(60, abs=2)


def test_flashes_of_several_strengths_are_no_change(tmp_path: Path) -> None:
    """Between two of them the pictures are faint, so that little seems to be much."""

    def pictures() -> Iterator[Picture]:
        for frame, picture in enumerate(cuts((), 90, 3)):
            share = {30: 0.6, 40: 0.7, 41: 0.7, 42: 0.5, 60: 0.9, 62: 0.5}.get(frame, 0)
            yield picture + share * (235 - picture)

    assert found_in(write(tmp_path / "a.mp4", pictures(), FIXED)) == []


@pytest.mark.parametrize("speed", [4, 8])
def test_a_fast_pan_is_no_change(tmp_path: Path, speed: int) -> None:
    found = found_in(write(tmp_path / "a.mp4", cuts((60,), 120, speed)))
    assert [kind for _, kind in found] == ["cut"]
    assert found[0][0] == pytest.approx(60, abs=2)


def test_a_shaken_camera_is_no_change(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    pictures = (shot(0, 40 + int(dice.integers(-12, 13))) for _ in range(90))
    assert found_in(write(tmp_path / "a.mp4", pictures)) == []


class Count:
    def __init__(self) -> None:
        self.seen = 0

    def __call__(self) -> None:
        self.seen += 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes")
    return write(folder / "a.mp4", cuts((31, 70, 110), 150), {**FIXED, "g": "25"})


def test_a_part_of_a_video(clip: Path) -> None:
    video, timeline = opened(clip)
    with video:
        begin, end = int(timeline.times[50]), int(timeline.times[100])
        packets = Count()
        found = look(video, timeline, packets, begin, end).changes()
        (change,) = (one for one in found if begin <= one.time < end)
        assert timeline.times[70] <= change.time <= timeline.times[72]
        assert 50 < packets.seen < 130
        # And again from the beginning.
        assert len(look(video, timeline, lambda: None).changes()) == 3


def test_frames_that_are_read_afterwards_are_whole(clip: Path) -> None:
    def pictures(video: VideoFile, timeline: Timeline) -> list[NDArray[np.uint8]]:
        reader = FrameReader(video, timeline, lambda: None)
        return [one.frame.to_ndarray(format="gray") for one in reader.read(timeline.targets(9))]

    video, timeline = opened(clip)
    with video:
        expected = pictures(video, timeline)
    video, timeline = opened(clip)
    with video:
        pictures(video, timeline)
        look(video, timeline, lambda: None)
        found = pictures(video, timeline)
    np.testing.assert_array_equal(found, expected)


def test_tick_is_called_for_each_packet_and_may_end_it(clip: Path) -> None:
    class Enough(Exception): ...

    packets = Count()

    def tick() -> None:
        packets()
        if packets.seen == 40:
            raise Enough

    video, timeline = opened(clip)
    with video, pytest.raises(Enough):
        look(video, timeline, tick)
    whole = Count()
    video, timeline = opened(clip)
    with video:
        look(video, timeline, whole)
    assert whole.seen >= 150


def test_frames_that_no_other_needs_are_not_decoded(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(frame: Any) -> NDArray[np.uint8]:
        seen.append(frame.pts)
        return signature_of(frame)

    monkeypatch.setattr(scenes, "signature_of", counted)
    assert len(found_in(clip)) == 3
    assert 20 < len(seen) < 120


def test_a_damaged_packet_is_passed_over(clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.pos]
    for begin, size in places[45:49]:
        content[begin : begin + size] = bytes(size)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    frames = [frame for frame, _ in found_in(broken)]
    assert frames[0] == pytest.approx(31, abs=2)
    assert frames[-1] == pytest.approx(110, abs=2)


@pytest.mark.parametrize(
    "pixels",
    ["yuv420p", "yuvj420p", "yuv444p", "yuv422p10le", "nv12", "p010le", "rgb24", "gray", "yuyv422"],
)
def test_signatures_are_of_8_bits_whatever_the_format(pixels: str) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = (200, 40, 40)
    picture[:, WIDTH // 2 :] = (40, 40, 200)
    first = av.VideoFrame.from_ndarray(picture, format="rgb24")
    expected = signature_of(first.reformat(format="yuv420p")).astype(int)
    found = signature_of(first.reformat(format=pixels))
    assert found.shape == (SAMPLES,)
    assert found.dtype == np.uint8
    kept = slice(0, 24 * 24) if pixels == "gray" else slice(None)
    # A full range, and other places of the chroma, tell a little apart.
    assert np.abs(found[kept] - expected[kept]).mean() < 14


@pytest.mark.parametrize("size", [(2, 2), (16, 10), (25, 13)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, "yuv420p")
    assert signature_of(frame).shape == (SAMPLES,)


def signatures(*levels: int) -> NDArray[np.uint8]:
    """Each as one flat frame."""
    return np.array(levels, np.uint8)[:, None].repeat(SAMPLES, axis=1)


@pytest.mark.parametrize(
    ("levels", "cuts"),
    [
        ([50] * 20 + [120] * 20, [20]),
        ([50] * 20 + [240] * 3 + [50] * 20, []),
        ([50] * 20 + [240] * 3 + [120] * 20, [20]),
        ([50] * 40, []),
        ([50, 120], []),
        ([50], []),
    ],
)
def test_cuts_among_signatures(levels: list[int], cuts: list[int]) -> None:
    found = changes_of(signatures(*levels), np.arange(len(levels)), 1 / 30)
    assert found == [Change(time, "cut") for time in cuts]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_dissolve_lasts_its_time_whatever_the_frame_rate(scale: int) -> None:
    count = 120 * scale
    dice = np.random.default_rng(1)
    one, other = dice.integers(16, 235, (2, 6, 6)).repeat(4, axis=1).repeat(4, axis=2)
    share = np.clip(0.5 + (np.arange(count) - count / 2) / (20 * scale), 0, 1)[:, None]
    row = np.full((count, SAMPLES), 128.0)
    row[:, : 24 * 24] = one.ravel() * (1 - share) + other.ravel() * share
    (found,) = changes_of(row.astype(np.uint8), np.arange(count), 1 / (30 * scale))
    assert found.kind == "gradual"
    assert found.time == pytest.approx(count / 2, abs=4 * scale)


def test_a_leap_in_time_costs_nothing() -> None:
    times = np.arange(60)
    times[30:] += 10**12
    found = changes_of(signatures(*[50] * 30, *[120] * 30), times, 1 / 30)
    assert found == [Change(int(times[30]), "cut")]
