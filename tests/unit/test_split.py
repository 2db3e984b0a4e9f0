"""`jamak data split`: by video, always alike, and a larger share takes others in."""

import pytest

from shared.errors import BadData
from shared.rows import MediaRef, Row
from workers.data.split import split_by_video
from workers.train.data import with_splits


def _rows(videos: int) -> list[Row]:
    """Of each video two parts and a copy under another name."""
    return [
        Row(
            id=f"{video}/{number}",
            videos=(MediaRef(uri=uri, sha256=f"{video:064x}", start=float(number)),),
            completion="고양이",
            split="train",
        )
        for video in range(videos)
        for number, uri in enumerate([f"{video}.mp4", f"{video}.mp4", f"copy-{video}.mp4"])
    ]


def _held(rows: list[Row], share: float) -> set[str]:
    done = split_by_video(rows, share)
    held = {row.media.identity for row in done if row.split == "eval"}
    assert not held & {row.media.identity for row in done if row.split == "train"}
    return held


def test_all_rows_of_a_video_are_on_one_side_and_stay_there() -> None:
    few, many = _held(_rows(300), 0.1), _held(_rows(300), 0.3)
    assert 10 < len(few) < 50 < len(many) < 130
    assert few < many
    assert few <= _held(_rows(600), 0.1)


def test_what_it_says_is_what_a_training_would_have_held_out() -> None:
    rows = [row.model_copy(update={"split": None}) for row in _rows(50)]
    assert split_by_video(rows, 0.1) == with_splits(rows)


def test_both_sides_have_a_video() -> None:
    for share in (0.001, 0.9):
        assert len(_held(_rows(2), share)) == 1
    with pytest.raises(BadData, match="takes two videos, and here are 1"):
        split_by_video(_rows(1), 0.1)
