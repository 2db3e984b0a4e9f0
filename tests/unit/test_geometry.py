"""Pictures as they are meant to be seen: the width of a point, edges cut off, turns and mirrors.

What is right was told by the ffmpeg program 9.0.2 for the same edits.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.container_edits import (
    clap,
    element,
    pixel_crop,
    roll,
    with_box,
    with_elements,
    with_matrix,
)
from tests.unit.test_decode import opened
from workers.video.sampling import Limits, Request, Sampler, Shape, sample_frames

SIZE = (180, 144)
"""Of PAL, the quarter."""
WIDE = Fraction(64, 45)
"""A point of PAL in 16:9: then 180x144 is shown as 256x144."""
QUARTERS = np.array([[30, 90], [150, 220]])
"""Of the picture for turns: each has a grey of its own."""


def disc(width: int, height: int, sar: Fraction = WIDE) -> np.ndarray:
    """A circle, as it is stored."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((x - width / 2) * float(sar), y - height / 2) < 0.4 * height
    return np.repeat(np.uint8(inside * 255)[..., None], 3, 2)


def quarters(width: int, height: int) -> np.ndarray:
    grey = QUARTERS.repeat(height // 2, 0).repeat(width // 2, 1)
    return np.repeat(np.uint8(grey)[..., None], 3, 2)


def write(
    path: Path,
    picture: np.ndarray,
    sar: Fraction | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
) -> Path:
    """Ten pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pixels
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_change(path: Path, codec: str, *sars: Fraction) -> Path:
    """Ten pictures of each, one after the other in one stream."""
    width, height = SIZE
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = sars[0]
        for part, sar in enumerate(sars):
            encoder: Any = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.sample_aspect_ratio = Fraction(1, 25), sar
            encoder.framerate, encoder.max_b_frames = Fraction(25), 2
            for number in [*range(10), None]:
                frame = None
                if number is not None:
                    frame = av.VideoFrame.from_ndarray(disc(width, height, sar), format="rgb24")
                    frame.pts, frame.time_base = 10 * part + number, Fraction(1, 25)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


def round_of(picture: np.ndarray) -> float:
    """Width by height of what is white in it."""
    y, x = np.where(picture[..., 0] > 127)
    return float((np.ptp(x) + 1) / (np.ptp(y) + 1))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.m4v", "mpeg4", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
    ],
)
def test_a_circle_is_round_whoever_says_how_wide_a_point_is(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    path = write(tmp_path / name, disc(*SIZE), WIDE, codec, pixels)
    sample = sample_frames(path, 1)
    assert sample.frames.shape == (1, 144, 256, 3)
    assert round_of(sample.frames[0]) == pytest.approx(1, abs=0.03)
    assert sample.aspect == pytest.approx(256 / 144, abs=1e-3)
    small = sample_frames(path, 1, shape=Shape(112, 112)).frames
    assert small.shape == (1, 112, 112, 3)
    assert round_of(small[0]) == pytest.approx(1, abs=0.05)


def test_a_webm_says_how_large_a_picture_is_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", disc(*SIZE), codec="libvpx")
    shown = element("54b0", 256) + element("54ba", 144)
    path.write_bytes(with_elements(path.read_bytes(), shown))
    sample = sample_frames(path, 1)
    assert sample.frames.shape == (1, 144, 256, 3)
    assert round_of(sample.frames[0]) == pytest.approx(1, abs=0.03)


def test_points_higher_than_wide_make_a_picture_narrower(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", disc(180, 120, Fraction(8, 9)), Fraction(8, 9))
    sample = sample_frames(path, 1)
    assert sample.frames.shape == (1, 120, 160, 3)
    assert round_of(sample.frames[0]) == pytest.approx(1, abs=0.03)


def test_what_the_container_says_of_points_overrules_the_stream(tmp_path: Path) -> None:
    """As FFmpeg and players have it. `pasp` of an MP4: 64:45 to 16:15."""
    path = write(tmp_path / "a.mp4", disc(*SIZE), WIDE)
    content = path.read_bytes()
    at = content.index(b"pasp") + 4
    path.write_bytes(content[:at] + bytes([0, 0, 0, 16, 0, 0, 0, 15]) + content[at + 8 :])
    assert sample_frames(path, 1).frames.shape == (1, 144, 192, 3)


@pytest.mark.parametrize("sar", [(0, 1), (1, 1), (1, 1000), (60000, 1)])
def test_no_points_or_absurd_ones_are_square(tmp_path: Path, sar: tuple[int, int]) -> None:
    path = write(tmp_path / "a.mp4", disc(*SIZE), WIDE)
    content = path.read_bytes()
    at = content.index(b"pasp") + 4
    wide = b"".join(number.to_bytes(4, "big") for number in sar)
    # The stream's own word would count where the container has none.
    content = content.replace(b"pasp", b"free") if not sar[0] else content
    path.write_bytes(content[:at] + wide + content[at + 8 :])
    expected = 256 if not sar[0] else 180
    assert sample_frames(path, 1).frames.shape == (1, 144, expected, 3)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.ts", "libx264"),
        ("a.ts", "mpeg2video"),
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.mkv", "mpeg2video"),
        # Not sought: the decoder goes on into the next width.
        ("a.h264", "libx264"),
    ],
)
def test_each_picture_has_the_points_of_its_own_time(tmp_path: Path, name: str, codec: str) -> None:
    """Broadcasts change between 4:3 and 16:9. The decoder's word is up to two pictures ahead of the
    pictures that it gives, so those around the change are looked at, too."""
    path = write_change(tmp_path / name, codec, Fraction(16, 15), WIDE, Fraction(16, 15))
    sample = sample_frames(path, 99, shape=Shape(112, 112))
    assert len(sample.frames) == 30
    assert [round_of(one) for one in sample.frames] == pytest.approx([1] * 30, abs=0.05)
    # All of one size, that of the first: the wider ones between bars.
    whole = sample_frames(path, 99).frames
    assert whole.shape == (30, 144, 192, 3)
    assert [round_of(one) for one in whole] == pytest.approx([1] * 30, abs=0.05)
    assert whole[19][:18].max() < 10
    if name == "a.mp4":
        return  # of which only the beginning tells whom to believe
    # Asked for alone, it is as wide.
    with opened(path) as video:
        sampler = Sampler(video, path.stat().st_size, Limits(), lambda: None)
        last = sampler.sample(Request(1, window_s=(0.76, 0.8)))
    assert round_of(last.frames[0]) == pytest.approx(1, abs=0.05)


def test_a_wide_picture_stays_within_the_limit_of_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", disc(*SIZE), WIDE)
    sample = sample_frames(path, 1, Limits(max_pixels=192 * 160))
    assert sample.frames.shape[1] * sample.frames.shape[2] <= 192 * 160
    assert round_of(sample.frames[0]) == pytest.approx(1, abs=0.03)


CROPS = [
    # Edit, columns and rows that are shown.
    ("a.mp4", clap(90, 72), (45, 135), (36, 108)),
    ("a.mp4", clap(90, 72, 20, -10), (65, 155), (26, 98)),
    ("a.mp4", clap(400, 300), (0, 180), (0, 144)),
    ("a.mp4", clap(90, 72, 200), (0, 180), (0, 144)),
    ("a.mkv", pixel_crop(45, 45, 36, 36), (45, 135), (36, 108)),
    ("a.mkv", pixel_crop(60, 0, 0, 0), (60, 180), (0, 144)),
]


@pytest.mark.parametrize(("name", "edit", "columns", "rows"), CROPS)
def test_what_the_container_cuts_off_is_not_seen(
    tmp_path: Path, name: str, edit: bytes, columns: tuple[int, int], rows: tuple[int, int]
) -> None:
    dice = np.random.default_rng(3).integers(0, 255, (18, 20, 3), np.uint8)
    picture = dice.repeat(8, 0).repeat(9, 1)
    path = write(tmp_path / name, picture)
    whole = sample_frames(path, 1).frames[0]
    content = path.read_bytes()
    edited = with_box(content, b"avc1", edit) if name == "a.mp4" else with_elements(content, edit)
    path.write_bytes(edited)
    shown = sample_frames(path, 1)
    left, top = (side[0] // 2 * 2 for side in (columns, rows))
    wide, high = columns[1] - columns[0], rows[1] - rows[0]
    expected = whole[top : top + high, left : left + wide]
    assert shown.frames[0].shape == expected.shape
    # Colours at an edge are made from points on both sides.
    difference = np.abs(shown.frames[0][2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2])
    assert difference.max() <= 2
    assert av.logging.get_level() is None


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_what_the_stream_cuts_off_is_not_seen(tmp_path: Path, name: str) -> None:
    """H.264's own window, 8 points from the left: unasked, FFmpeg leaves what it cannot cut off
    without a copy."""
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.options = {"x264-params": "crop-rect=8,0,24,0"}
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        picture = np.full((64, 96, 3), 20, np.uint8)
        picture[:, 8:72] = 200
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = sample_frames(path, 3).frames
    assert frames.shape == (3, 64, 64, 3)
    assert frames.min() > 180


TURNS: dict[str, tuple[tuple[int, int, int, int], np.ndarray]] = {
    "none": ((1, 0, 0, 1), QUARTERS),
    "90": ((0, 1, -1, 0), np.rot90(QUARTERS, -1)),
    "180": ((-1, 0, 0, -1), np.rot90(QUARTERS, 2)),
    "270": ((0, -1, 1, 0), np.rot90(QUARTERS, 1)),
    "mirror": ((-1, 0, 0, 1), QUARTERS[:, ::-1]),
    "upside down": ((1, 0, 0, -1), QUARTERS[::-1]),
    "transposed": ((0, 1, 1, 0), QUARTERS.T),
    "the other diagonal": ((0, -1, -1, 0), QUARTERS[::-1, ::-1].T),
}


def seen(picture: np.ndarray) -> np.ndarray:
    """The greys of its quarters."""
    height, width = picture.shape[:2]
    rows, columns = [height // 4, 3 * height // 4], [width // 4, 3 * width // 4]
    return picture[np.ix_(rows, columns)][..., 0].astype(int)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("box", [b"tkhd", b"mvhd"])
def test_a_picture_is_turned_and_mirrored_as_its_matrix_says(
    tmp_path: Path, turn: str, box: bytes
) -> None:
    matrix, expected = TURNS[turn]
    path = write(tmp_path / "a.mp4", quarters(96, 64))
    path.write_bytes(with_matrix(path.read_bytes(), box, matrix))
    sample = sample_frames(path, 1)
    assert np.abs(seen(sample.frames[0]) - expected).max() <= 6
    upright = matrix[0] != 0
    assert sample.frames.shape[1:3] == ((64, 96) if upright else (96, 64))
    assert sample.aspect == pytest.approx(1.5 if upright else 1 / 1.5, abs=1e-3)


def test_the_film_and_the_track_turn_once_each(tmp_path: Path) -> None:
    """A quarter and a quarter are a half."""
    path = write(tmp_path / "a.mp4", quarters(96, 64))
    content = path.read_bytes()
    for box in (b"tkhd", b"mvhd"):
        content = with_matrix(content, box, TURNS["90"][0])
    path.write_bytes(content)
    assert np.abs(seen(sample_frames(path, 1).frames[0]) - TURNS["180"][1]).max() <= 6


@pytest.mark.parametrize(("degrees", "turn"), [(90.0, "270"), (-90.0, "90"), (180.0, "180")])
def test_an_mkv_is_rolled(tmp_path: Path, degrees: float, turn: str) -> None:
    path = write(tmp_path / "a.mkv", quarters(96, 64))
    path.write_bytes(with_elements(path.read_bytes(), roll(degrees)))
    assert np.abs(seen(sample_frames(path, 1).frames[0]) - TURNS[turn][1]).max() <= 6


def test_another_angle_is_turned_within_the_edges(tmp_path: Path) -> None:
    """What lies to the right of the middle comes to lie above it, too, by 45 degrees."""
    picture = np.full((96, 128, 3), 120, np.uint8)
    picture[42:54, 90:102] = 240
    path = write(tmp_path / "a.mkv", picture)
    path.write_bytes(with_elements(path.read_bytes(), roll(45.0)))
    frame = sample_frames(path, 1).frames[0]
    assert frame.shape == (96, 128, 3)
    y, x = (side.mean() for side in np.where(frame[..., 0] > 200))
    away = 32 / np.sqrt(2)
    assert (x, y) == pytest.approx((64 + away, 48 - away), abs=2)
    assert frame[2, 2].max() < 30


def test_a_squeezed_picture_is_cut_widened_and_turned_in_this_order(tmp_path: Path) -> None:
    """90x72 of the middle, shown 128 wide, and upright 128 high."""
    path = write(tmp_path / "a.mp4", disc(*SIZE), WIDE)
    content = with_box(path.read_bytes(), b"avc1", clap(90, 72))
    path.write_bytes(with_matrix(content, b"tkhd", TURNS["90"][0]))
    sample = sample_frames(path, 1)
    assert sample.frames.shape == (1, 128, 72, 3)
    assert sample.aspect == pytest.approx(72 / 128, abs=1e-3)


def test_a_title_that_looks_like_a_cut_is_a_title(tmp_path: Path) -> None:
    """What FFmpeg prints of a file has the file's own words in it."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "x" + os.linesep + "      Frame Cropping: 9/9/9/9"
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata["comment"] = "y" + os.linesep + "      Frame Cropping: 9/9/9/9"
        frame = av.VideoFrame.from_ndarray(quarters(96, 64), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert sample_frames(path, 1).frames.shape == (1, 64, 96, 3)


TOLD = "h264_mp4toannexb,h264_metadata=display_orientation=insert:rotate=90"


def told_by_h264(path: Path, ending: str, edit: str = TOLD) -> Path:
    """A message before the first picture, and no other."""
    turned = path.with_suffix(ending)
    with av.open(str(path)) as origin, av.open(str(turned), "w") as container:
        source = origin.streams.video[0]
        target = container.add_stream_from_template(source)
        bsf = av.BitStreamFilterContext(edit, source, target)
        for packet in origin.demux(source):
            for told in bsf.filter(packet if packet.dts is not None else None):
                told.stream = target
                container.mux(told)
    return turned


@pytest.mark.parametrize("ending", [".ts", ".h264"])
def test_what_h264_says_of_a_turn_counts_until_the_next_keyframe(
    tmp_path: Path, ending: str
) -> None:
    path = told_by_h264(write(tmp_path / "a.mp4", quarters(96, 64)), ending)
    for wanted in (3, 10):
        frames = sample_frames(path, wanted).frames
        assert frames.shape == (wanted, 96, 64, 3)
        assert max(np.abs(seen(one) - TURNS["270"][1]).max() for one in frames) <= 6


def remuxed(raw: Path, path: Path) -> Path:
    with av.open(str(raw)) as origin, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(origin.streams.video[0])
        for number, packet in enumerate(origin.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 25), stream
                container.mux(packet)
    return path


@pytest.mark.parametrize("ending", [".mkv", ".ts", ".h264"])
def test_a_frame_is_turned_the_same_whatever_else_is_asked_for(tmp_path: Path, ending: str) -> None:
    """The first group of pictures says that it is turned, and the second one nothing."""
    plain = write(tmp_path / "plain.mp4", quarters(64, 64))
    told = told_by_h264(plain, ".h264").read_bytes()
    silent = told_by_h264(plain, ".h264", "h264_mp4toannexb").read_bytes()
    raw = tmp_path / "both.h264"
    raw.write_bytes(told + silent)
    path = raw if ending == ".h264" else remuxed(raw, tmp_path / f"both{ending}")
    first, second = (0, 0.4), (0.4, 0.8)
    with opened(path) as video:
        sampler = Sampler(video, path.stat().st_size, Limits(), lambda: None)
        for window in (second, first, second, first, (0, 0.8)):
            frames = sampler.sample(Request(4, window_s=window)).frames
            turned = {first: 4, second: 0}.get(window, 2)
            for number, one in enumerate(frames):
                expected = TURNS["270"][1] if number < turned else QUARTERS
                assert np.abs(seen(one) - expected).max() <= 6


def test_a_film_of_photographs_is_turned_as_they_say(tmp_path: Path) -> None:
    """Exif in each JPEG, which PyAV has no name for. 6: the camera was turned by a quarter."""
    entry = (0x0112).to_bytes(2, "big") + bytes([0, 3, 0, 0, 0, 1, 0, 6, 0, 0])
    exif = b"Exif\0\0MM\0*" + bytes([0, 0, 0, 8, 0, 1]) + entry + bytes(4)
    told = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    plain = write(tmp_path / "a.mov", quarters(96, 64), None, "mjpeg", "yuvj420p")
    path = tmp_path / "b.mov"
    with av.open(str(plain)) as origin, av.open(str(path), "w") as container:
        source = origin.streams.video[0]
        target = container.add_stream_from_template(source)
        for packet in origin.demux(source):
            if packet.dts is None:
                continue
            body = bytes(packet)
            longer = av.Packet(body[:2] + told + body[2:])
            longer.pts, longer.dts, longer.time_base = packet.pts, packet.dts, packet.time_base
            longer.is_keyframe, longer.stream = True, target
            container.mux(longer)
    frames = sample_frames(path, 3).frames
    assert frames.shape == (3, 96, 64, 3)
    assert np.abs(seen(frames[2]) - TURNS["90"][1]).max() <= 6
