"""What an AVI says of itself, and what of it is there."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.unit.test_clocks import FPS, SHARP, film
from tests.unit.test_decode import opened
from tests.unit.test_sampling import indices
from workers.video.avi import places, recordings, told_end
from workers.video.sampling import Limits, Request, Sampler, sample_frames

LENGTH = 8 + 32
"""Bytes from the name of a stream's header to how many frames it says it has."""


def saying(path: Path, frames: int) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"strh") + LENGTH, frames)
    path.write_bytes(content)
    return path


def muxed(film: Path, path: Path, turns: Sequence[int], holds: int = 1) -> None:
    """With these times of decoding; the last one's packet is so long."""
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for turn, packet in zip(turns, packets, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, FPS)
            packet.pts = packet.dts = turn
            packet.duration = holds if turn == turns[-1] else 1
            target.mux(packet)


@pytest.mark.parametrize("b_frames", ["0", "2"])
@pytest.mark.parametrize(
    ("says", "lasts_s", "damaged"),
    [
        (500, 2, "the file is cut: 18 of 20 seconds are missing"),
        (4_000_000_000, 2, "the file is cut: 159999998 of 160000000 seconds are missing"),
        (56, 2, "the file is cut: 0.2 of 2.2 seconds are missing"),
        (55, 2.2, ""),
        (40, 2, ""),
    ],
)
def test_a_header_is_believed_for_a_few_frames(
    tmp_path: Path, b_frames: str, says: int, lasts_s: float, damaged: str
) -> None:
    path = film(tmp_path / "a.avi", 50, codec="mpeg4", options=SHARP | {"bf": b_frames})
    sample = sample_frames(saying(path, says), 4)
    assert (sample.duration_s, sample.damaged) == (pytest.approx(lasts_s), damaged)
    assert len(sample.frames) == 4


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_a_header_is_believed_as_far_as_the_index_goes(tmp_path: Path, b_frames: str) -> None:
    """Of frames that were left out, because the picture stayed, it has an empty place."""
    path = tmp_path / "a.avi"
    turns = [*range(25)]
    muxed(
        film(tmp_path / "b.avi", 25, codec="mpeg4", options=SHARP | {"bf": b_frames}),
        path,
        turns,
        51,
    )
    sample = sample_frames(path, 3)
    assert (sample.duration_s, sample.damaged) == (pytest.approx(3), "")
    content = path.read_bytes()
    assert places(lambda at, size: content[at : at + size], 0) == 75
    assert "19 of 20" in sample_frames(saying(path, 500), 3).damaged


def test_a_picture_that_begins_late_lasts_no_longer(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.avi", 50, codec="mpeg4", options=SHARP | {"bf": "2"})
    late = tmp_path / "late.avi"
    muxed(whole, late, [0, *range(FPS + 1, FPS + 50)])
    sample = sample_frames(late, 50)
    assert indices(sample.frames) == [number % 25 for number in range(50)]
    assert sample.timestamps_s == pytest.approx([number / FPS for number in range(50)])
    assert (sample.duration_s, sample.damaged) == (pytest.approx(2), "")


def joined(folder: Path, b_frames: str) -> bytes:
    options = SHARP | {"bf": b_frames}
    return b"".join(
        film(folder / f"{count}.avi", count, codec="mpeg4", options=options).read_bytes()
        for count in (24, 20)
    )


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_each_recording_of_a_joined_avi_is_seen(tmp_path: Path, b_frames: str) -> None:
    path = tmp_path / "joined.avi"
    path.write_bytes(joined(tmp_path, b_frames))
    sample = sample_frames(path, 44)
    assert indices(sample.frames) == [*range(24), *range(20)]
    assert sample.timestamps_s == pytest.approx([number / FPS for number in range(44)])
    assert sample.clock_jumps_s == pytest.approx((24 / FPS,))
    assert (sample.damaged, all(sample.exact)) == ("", True)
    with opened(path) as video:
        sampler = Sampler(video, path.stat().st_size, Limits(), lambda: None)
        second = sampler.sample(Request(4, window_s=(24 / FPS, 44 / FPS)))
    assert indices(second.frames) == [2, 7, 12, 17]


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_the_second_recording_may_be_cut(tmp_path: Path, b_frames: str) -> None:
    path = tmp_path / "joined.avi"
    content = joined(tmp_path, b_frames)
    path.write_bytes(content[: content.rindex(b"movi") + 4])
    assert "bytes are missing" in sample_frames(path, 4).damaged


def riff(kind: bytes, size: int = 100) -> bytes:
    return b"RIFF" + struct.pack("<I", size) + kind.ljust(size, b"\0")


@pytest.mark.parametrize(
    ("content", "begins", "end"),
    [
        (riff(b"AVI "), [0], 108),
        (riff(b"AVI ") + bytes(4096), [0], 108),
        (riff(b"AVI ") + riff(b"AVIX"), [0], 216),
        (riff(b"AVI ", 101) + b"\0" + riff(b"AVIX") + riff(b"AVI "), [0, 218], 326),
        (riff(b"AVI ")[:50], [0], 108),
        (riff(b"AVI ") + riff(b"WAVE"), [0], 108),
        (b"RIFF\xff\xff\xff\xffAVI ", [], None),
        (riff(b"AVI ") + b"RIFF\0\0\0\0AV", [0], 108),
    ],
)
def test_a_large_file_is_one_recording_in_several_parts(
    content: bytes, begins: list[int], end: int | None
) -> None:
    def read(at: int, size: int) -> bytes:
        return content[at : at + size]

    assert recordings(read) == begins
    assert told_end(read) == end


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


def test_the_places_of_a_large_file_are_those_of_all_its_indexes() -> None:
    def of_indexes(kind: int, stream: bytes, frames: list[int]) -> bytes:
        head = struct.pack("<HBBI4s12x", 4, 0, kind, len(frames), stream)
        return chunk(b"indx", head + b"".join(struct.pack("<QII", 0, 0, one) for one in frames))

    lists = of_indexes(0, b"00dc", [70, 30]) + of_indexes(0, b"01wb", [900])
    short = b"".join(
        struct.pack("<4sIII", name, 0, 0, 0) for name in (b"00dc", b"01wb", b"00pc", b"00dc")
    )
    body = chunk(b"LIST", b"hdrl" + lists) + chunk(b"LIST", b"movi") + chunk(b"idx1", short)
    content = b"RIFF" + struct.pack("<I", len(body) + 4) + b"AVI " + body

    def read(at: int, size: int) -> bytes:
        return content[at : at + size]

    assert [places(read, stream) for stream in (0, 1, 2)] == [100, 900, 0]
    content = content.replace(b"indx", b"JUNK")
    assert [places(read, stream) for stream in (0, 1, 2)] == [2, 1, 0]
