"""What a file says of itself, and what is broken in it, is told apart from what can be shown."""

import errno
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from shared.errors import NotAVideo, NoVideoStream, TooLarge, TooSlow
from tests.hostile.contents import half_fragmented, share
from tests.hostile.damaged import without
from tests.hostile.files import (
    Clip,
    clip,
    encoded,
    mkv,
    mp4,
    numbers,
    png,
    remuxed,
    sample_entry,
    sound,
    track_header,
)
from tests.hostile.lying_mp4 import many_samples
from tests.hostile.no_videos import with_cover
from tests.hostile.odd import held
from tests.hostile.streams import thinned
from tests.videos import write_clip
from workers.video.container import VideoFile, packets
from workers.video.decode import FrameReader
from workers.video.sampling import Limits, sample_frames
from workers.video.timeline import Timeline, from_index


def written(folder: Path, content: bytes) -> Path:
    path = folder / "video"
    path.write_bytes(content)
    return path


def test_the_picture_on_a_songs_sleeve_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NoVideoStream):
        sample_frames(written(tmp_path, with_cover(sound("mp4", "aac"))), 4)


@pytest.mark.parametrize("tag", [b"a:b:c", b"nan:nan:nan", b"-1:-1:-1", b"::", b"1:2:3:4"])
def test_a_duration_that_is_no_time_is_not_believed(tmp_path: Path, tag: bytes) -> None:
    sample = sample_frames(written(tmp_path, mkv(clip(), tag=tag)), 4)
    assert len(sample.frames) == sample.distinct == 4


def test_what_cannot_be_decoded_is_not_made_up_of_the_frame_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 96, size=(160, 96), gop=96)
    body = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        lost = [(one.pos, one.size) for one in container.demux(video=0) if one.size][40:]
    for start, size in lost:
        body[start : start + size] = bytes(size)
    path.write_bytes(body)
    sample = sample_frames(path, 8)
    assert sample.distinct == 8
    assert 3 <= len(sample.frames) == len(set(sample.timestamps_s)) <= 5
    assert sample.damaged
    # The times are those of the frames that came, which are grey levels here.
    found = [round((float(frame.mean()) - 20) / 8) for frame in sample.frames]
    assert found == [round(at * 12) % 25 for at in sample.timestamps_s]


def test_a_last_frame_that_is_held_for_long_is_no_cut(tmp_path: Path) -> None:
    sample = sample_frames(written(tmp_path, mp4(clip(), **held(400))), 4)
    assert len(sample.frames) == sample.distinct


def test_a_held_last_frame_of_a_container_without_an_index_is_no_cut(tmp_path: Path) -> None:
    content = encoded("matroska", holds=400)
    sample = sample_frames(written(tmp_path, content), 4)
    assert len(sample.frames) == sample.distinct


@pytest.mark.parametrize(
    "content",
    [
        # Neither frame is returned, but later ones are made of them.
        mp4(without(clip(), (13, 14))),
        thinned(remuxed(mp4(clip()), "mpegts")),
        share(encoded("flv", "flv"), 0.5),
    ],
    ids=["frames-gone", "packets-lost", "last-frame-cut"],
)
def test_damage_is_counted_where_it_is_not_seen(tmp_path: Path, content: bytes) -> None:
    sample = sample_frames(written(tmp_path, content), 8)
    assert len(sample.frames) == sample.distinct == 8
    assert sample.decode_errors > 0


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video"])
def test_nothing_is_damaged_in_a_good_video(tmp_path: Path, codec: str) -> None:
    for container in ("mp4", "matroska", "mpegts"):
        options = {"x265-params": "log-level=0"} if codec == "libx265" else None
        content = encoded(container, codec, options=options)
        assert sample_frames(written(tmp_path, content), 8).decode_errors == 0


LARGE = (640, 360)


def still(side: int) -> bytes:
    """A picture of 8 bytes a pixel; what the file says of its size is small."""
    picture = Clip((png(side, side),), (0,), b"", (96, 64))
    return mp4(picture, stsd=sample_entry(picture, b"png ", b"free"))


def test_a_picture_too_large_is_not_even_decoded_to_look_into_the_file(tmp_path: Path) -> None:
    # Who has looked into it knows its size.
    with pytest.raises(TooLarge, match="more than 1000000 pixels"):
        sample_frames(written(tmp_path, still(2000)), 4, Limits(max_pixels=1000 * 1000))


def test_pictures_that_grow_too_large_on_the_way_are_left_out(tmp_path: Path) -> None:
    first = remuxed(mp4(clip()), "mpegts")
    then = remuxed(mp4(clip(size=LARGE)), "mpegts", ticks=2 * 90_000)
    path = written(tmp_path, first + then)
    all_of_it = sample_frames(path, 8)
    small_ones = sample_frames(path, 8, Limits(max_pixels=640 * 300))
    assert len(all_of_it.frames) == 8
    assert small_ones.timestamps_s == all_of_it.timestamps_s[:4]
    assert small_ones.decode_errors > all_of_it.decode_errors


def test_garbage_is_not_taken_for_a_large_picture(tmp_path: Path) -> None:
    with pytest.raises(NotAVideo):
        sample_frames(written(tmp_path, mp4(clip(), stsd=sample_entry(clip(), b"vp09"))), 4)


class Broken:
    """A container that cannot be sought, or not be read to its end."""

    def __init__(self, container: Any, *, reads: int | None = None) -> None:
        self._container, self._reads = container, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def seek(self, *args: Any, **options: Any) -> None:
        if self._reads is None:
            raise av.error.PermissionError(errno.EPERM, "Operation not permitted")
        self._container.seek(*args, **options)

    def demux(self, stream: Any) -> Iterator[Any]:
        yield from itertools.islice(self._container.demux(stream), self._reads)
        raise av.error.InvalidDataError(0, "Invalid data")


@pytest.mark.parametrize(("reads", "errors"), [(None, 0), (20, 1)])
def test_what_cannot_be_sought_or_read_on_is_no_surprise(
    tmp_path: Path, reads: int | None, errors: int
) -> None:
    """Read from its beginning; shown as far as it goes."""
    path = written(tmp_path, mp4(clip(gop=250)))
    with VideoFile(str(path), path.name, lambda size: b"") as video:
        timeline = from_index(video)
        assert timeline
        video.container = Broken(video.container, reads=reads)
        reader = FrameReader(video, timeline, lambda: None)
        targets = timeline.targets(4)
        assert [one.target for one in reader.read(targets)] == targets
    assert reader.tally.errors >= errors


class Growing:
    """A container in which a stream begins on the way, as PyAV presents it."""

    format = SimpleNamespace(name="mpegts")
    stream = SimpleNamespace(codec_context=SimpleNamespace(name="h264"))

    def demux(self, stream: SimpleNamespace) -> Iterator[int]:
        yield from range(5)
        raise IndexError("list index out of range")


def test_a_stream_that_begins_on_the_way_does_no_harm() -> None:
    assert list(packets(Growing(), Growing.stream)) == [0, 1, 2, 3, 4]


def test_what_the_reader_of_packets_raises_is_not_hidden() -> None:
    with pytest.raises(IndexError):
        for _ in packets(Growing(), Growing.stream):
            raise IndexError


def test_targets_do_not_depend_on_when_the_clock_began() -> None:
    times = np.arange(0, 100, 3)
    targets = Timeline(times, times[:1], Fraction(1, 90_000)).targets(11)
    late = times + 2**60
    assert [
        target - 2**60 for target in Timeline(late, late[:1], Fraction(1, 90_000)).targets(11)
    ] == targets


def test_the_deadline_is_looked_at_while_a_long_index_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, mp4(clip(), **many_samples(500_000)))
    ticks = itertools.count()
    with VideoFile(str(path), path.name, lambda size: b"") as video:
        from_index(video, None, lambda: next(ticks) and None)
    assert next(ticks) > 100
    with pytest.raises(TooSlow):
        sample_frames(path, 4, Limits(deadline_s=0.05))


def test_colours_that_nothing_converts_are_taken_for_the_usual_ones(tmp_path: Path) -> None:
    plain, named = (
        sample_frames(written(tmp_path, encoded("mp4", options={"x264-params": colours})), 4)
        for colours in ("rc-lookahead=0", "rc-lookahead=0:colormatrix=YCgCo")
    )
    assert named.decode_errors == 0
    np.testing.assert_array_equal(named.frames, plain.frames)


QUARTERS = {
    "as it lies": ((1, 0, 0, 1), lambda picture: picture),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "clockwise": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "the other way": ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
    "along a diagonal": ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
    "along the other": ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),
    "a little": ((0.99985, 0.01745, -0.01745, 0.99985), lambda picture: picture),
}
TILTED = {30: (0.866, 0.5, -0.5, 0.866), 89: (0.01745, 0.99985, -0.99985, 0.01745)}
"""Clockwise."""


def with_track_matrix(folder: Path, matrix: tuple[float, float, float, float]) -> Path:
    a, b, c, d = (round(value * 65536) for value in matrix)
    header = track_header(48, matrix=numbers(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    return written(folder, mp4(clip(), tkhd=header))


@pytest.mark.parametrize("name", QUARTERS)
def test_pictures_come_out_as_they_are_shown(tmp_path: Path, name: str) -> None:
    matrix, shown = QUARTERS[name]
    (plain,) = sample_frames(written(tmp_path, mp4(clip())), 1).frames
    (found,) = sample_frames(with_track_matrix(tmp_path, matrix), 1).frames
    np.testing.assert_array_equal(found, shown(plain))


@pytest.mark.parametrize("degrees", TILTED)
def test_a_tilted_picture_comes_out_tilted(tmp_path: Path, degrees: int) -> None:
    (plain,) = sample_frames(written(tmp_path, mp4(clip())), 1).frames
    (found,) = sample_frames(with_track_matrix(tmp_path, TILTED[degrees]), 1).frames
    expected = Image.fromarray(plain).rotate(-degrees, Image.Resampling.BILINEAR)
    assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 4
    assert np.abs(found.astype(int) - plain).mean() > 20


def test_a_file_goes_on_in_fragments_after_its_index(tmp_path: Path) -> None:
    """Its index names the frames of the first one, and says where the others are."""
    path = written(tmp_path, half_fragmented())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert 0 < len(stream.index_entries) == stream.frames < 48
    sample = sample_frames(path, 8)
    assert (sample.distinct, sample.damaged, all(sample.exact)) == (8, "", True)
    assert sample.duration_s == pytest.approx(2.0)
    assert sample.timestamps_s[-1] > 1.8
