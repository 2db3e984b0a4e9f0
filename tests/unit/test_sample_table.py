"""What an MP4's own index says of when frames are shown, and what is not believed of it."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from shared.errors import Truncated
from tests.hostile.contents import half_fragmented, spliced
from tests.hostile.files import box, clip, mp4, numbers
from tests.hostile.odd import UNIT
from workers.video import sample_table
from workers.video.sample_table import SampleTable
from workers.video.sampling import sample_frames

FRAMES = 48
MOST = 2**32 - 1


def table(content: bytes, frames: int = FRAMES) -> SampleTable | None:
    return sample_table.read(BytesIO(content), 1, frames, lambda: None)


def film(**boxes: bytes) -> bytes:
    return mp4(clip(), **boxes)


def test_a_table_tells_how_long_until_the_next_and_how_much_later() -> None:
    found = table(film(stts=numbers(0, 2, 47, 1, 1, 9), ctts=numbers(0, 2, 40, 3, 8, MOST - 1)))
    assert found is not None
    assert found.durations.tolist() == [1] * 47 + [9]
    assert (found.offsets.tolist(), found.reorders) == ([3] * 40 + [-2] * 8, True)


def test_without_a_table_of_that_nothing_is_shown_later() -> None:
    found = table(film())
    assert found is not None
    assert (found.offsets.tolist(), found.reorders) == ([0] * FRAMES, False)


@pytest.mark.parametrize(
    "boxes",
    [
        {"ctts": numbers(0, MOST, 48, 1)},
        {"ctts": numbers(0, 1, MOST, 1)},
        {"ctts": numbers(0, 2, 47, 1)},
        {"ctts": numbers(0, 1, 47, 1)},
        {"ctts": numbers(0, 1, 49, 1)},
        {"ctts": numbers(0, 0)},
        {"ctts": b"\0\0"},
        {"ctts": numbers(0, 1, 48, 2**31 - 1)},
        {"ctts": numbers(0, 1, 48, 2**31)},
        {"stts": numbers(0, 48, *[1, 1] * 47)},
        {"stts": numbers(0, 2, MOST, 1, MOST, 1)},
        {"elst": numbers(0, 2, 10, 0, UNIT, 10, 20, UNIT)},
        {"elst": numbers(0, MOST, 10, 0, UNIT)},
        {"moov": box(b"mvex", numbers(0))},
    ],
)
def test_what_does_not_fit_is_not_believed(tmp_path: Path, boxes: dict[str, bytes]) -> None:
    content = film(**boxes)
    assert table(content) is None
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with suppress(Truncated):  # FFmpeg does not open it, either
        assert len(sample_frames(path, 4).frames) > 0


def test_one_of_another_size_or_track_is_not_this_one() -> None:
    content = film()
    assert table(content, FRAMES + 1) is None
    assert sample_table.read(BytesIO(content), 2, FRAMES, lambda: None) is None
    assert table(half_fragmented()) is None
    assert table(b"") is None


@pytest.mark.parametrize("size", [1, 7])
def test_boxes_of_no_such_size_end_the_search(size: int) -> None:
    content = film()
    assert table(spliced(content, content.index(b"trak") - 4, numbers(size))) is None


def test_boxes_without_end_are_not_all_looked_at() -> None:
    assert table(box(b"free") * 2000 + film()) is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_an_index_that_ends_too_early_is_cut(tmp_path: Path, share: float) -> None:
    """Also if the film's track is there, or nothing of it."""
    content = film(moov=box(b"udta", bytes(400)))
    begin = content.index(b"moov") - 4
    size = int.from_bytes(content[begin : begin + 4], "big")
    path = tmp_path / "a.mp4"
    path.write_bytes(content[: begin + round(share * size)])
    with pytest.raises(Truncated, match=r"a\.mp4 is cut: its index is not all there"):
        sample_frames(path, 4)
