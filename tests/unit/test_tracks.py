"""Which of several picture tracks is taken: the film, and why."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from shared.errors import NoVideoStream
from tests.videos import write_sound
from workers.video.limits import Limits
from workers.video.sampling import sample_frames

PREVIEW, FILM = 60, 180
"""Greys."""


def write(path: Path, *tracks: dict[str, Any]) -> Path:
    """Ten pictures of each unless it says otherwise; `preview` ones are dark."""
    with av.open(str(path), "w") as container:
        streams = []
        for told in tracks:
            stream: Any = container.add_stream(told.get("codec", "mpeg4"), rate=10)
            stream.width, stream.height = told.get("size", (96, 64))
            stream.pix_fmt = told.get("pixels", "yuv420p")
            stream.disposition = Disposition.default if told.get("default", True) else 0
            streams.append(stream)
        for number in range(10):
            for stream, told in zip(streams, tracks, strict=True):
                if number >= told.get("pictures", 10):
                    continue
                grey = PREVIEW if told.get("preview") else FILM
                picture = np.full((stream.height, stream.width, 3), grey, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def is_the_film(path: Path, limits: Limits | None = None) -> tuple[bool, int, int, str]:
    sample = sample_frames(path, 4, limits)
    track = sample.track
    film = len(sample.frames) == 4 and abs(float(sample.frames.mean()) - FILM) < 5
    return film, track.index, track.of, track.reason


THUMBNAIL = {"preview": True, "codec": "mjpeg", "pixels": "yuvj420p", "pictures": 1}


@pytest.mark.parametrize(
    ("name", "tracks", "index", "reason"),
    [
        ("a.mp4", [{}], 0, "the only one"),
        ("a.mp4", [{"preview": True, "default": False}, {}], 1, "the file's default"),
        ("a.mov", [{"preview": True, "default": False}, {}], 1, "the file's default"),
        ("a.mkv", [{"preview": True, "default": False}, {}], 1, "the file's default"),
        ("a.mkv", [{}, {"preview": True, "default": False, "size": (192, 128)}], 0, "default"),
        ("a.mp4", [THUMBNAIL, {}], 1, "the others are single pictures"),
        ("a.mp4", [THUMBNAIL | {"size": (192, 128)}, {}], 1, "the others are single pictures"),
        ("a.ts", [{"preview": True, "size": (48, 32)}, {}], 1, "the largest picture"),
        ("a.mkv", [{"preview": True, "size": (48, 32)}, {}], 1, "the largest picture"),
        ("a.mp4", [{}, {"preview": True}], 0, "the first"),
    ],
)
def test_the_film_is_taken_and_not_its_preview(
    tmp_path: Path, name: str, tracks: list[dict[str, Any]], index: int, reason: str
) -> None:
    film, taken, of, why = is_the_film(write(tmp_path / name, *tracks))
    assert film
    assert (taken, of) == (index, len(tracks))
    assert reason in why


def unknown_codec(path: Path) -> None:
    """Of the first track, which is the default: none that anybody knows."""
    content = path.read_bytes().replace(b"mp4v", b"none", 1)
    path.write_bytes(content.replace(b"esds", b"free", 1))


def broken_pictures(path: Path) -> None:
    """Of the first track: each byte is another one."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.pos is not None and packet.size:
                part = slice(packet.pos, packet.pos + packet.size)
                content[part] = bytes(packet.size)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [unknown_codec, broken_pictures])
def test_a_track_that_nothing_decodes_gives_way_to_one_that_is(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = write(tmp_path / "a.mp4", {"preview": True, "size": (192, 128)}, {"default": False})
    assert is_the_film(path)[0] is False
    spoil(path)
    assert is_the_film(path) == (True, 1, 2, "the only one that can be decoded here")


def test_a_track_too_large_gives_way_to_one_that_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", {"preview": True, "size": (640, 480)}, {"size": (96, 64)})
    film, index, _, _ = is_the_film(path, Limits(max_pixels=320 * 240))
    assert film
    assert index == 1


def test_the_picture_on_a_sleeve_is_no_film(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", THUMBNAIL | {"size": (192, 128)}, {})
    with av.open(str(path)) as origin, av.open(str(tmp_path / "b.mp4"), "w") as copy:
        targets = []
        for stream in origin.streams.video:
            target = copy.add_stream_from_template(stream)
            target.disposition = Disposition.attached_pic if not stream.index else 1
            targets.append(target)
        for packet in origin.demux():
            if packet.dts is not None:
                packet.stream = targets[packet.stream.index]
                copy.mux(packet)
    film, _, of, why = is_the_film(tmp_path / "b.mp4")
    assert film
    assert (of, why) == (2, "the only one")


def test_a_song_has_no_track(tmp_path: Path) -> None:
    with pytest.raises(NoVideoStream):
        sample_frames(write_sound(tmp_path / "a.mp4"), 1)
