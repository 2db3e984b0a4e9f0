"""Earlier rows among the new ones: how many, which, and what they teach."""

from typing import Any

import pytest

from shared.rows import MediaRef, Row
from tests.training import make_job
from workers.train.mix import drawn, mixed, taught


def _rows(count: int, **fields: Any) -> list[Row]:
    given = {"completion": "고양이", **fields}
    return [Row(id=f"{i}", videos=(MediaRef(uri=f"{i}.mp4"),), **given) for i in range(count)]


@pytest.mark.parametrize(
    ("new", "there", "steps", "share", "times", "earlier"),
    [
        (90, 500, 5, 0.25, 1, 30),  # less than one pass: an epoch has its share
        (24, 500, 60, 0.25, 30, 240),  # thirty passes see thirty times as many
        (24, 40, 60, 0.25, 5, 40),  # there are only so many: fewer passes of the new between them
        (24, 1, 60, 0.25, 1, 1),
        (10, 500, 10, 0.5, 8, 80),
    ],
)
def test_the_share_is_that_of_what_is_computed(
    new: int, there: int, steps: int, share: float, times: int, earlier: int
) -> None:
    job = make_job(steps=steps, batch_size=8, accumulate=2, replay="s3://a/b", replay_share=share)
    chosen = drawn([_rows(there)], job, new)
    assert len(chosen) == earlier
    assert len({row.id for row in chosen}) == earlier
    rows = mixed(_rows(new), chosen, share)
    assert len(rows) == times * new + earlier


def test_the_same_job_draws_the_same_rows_and_another_seed_draws_others() -> None:
    job = make_job(steps=5, replay="s3://a/b", replay_share=0.25)
    first = drawn([_rows(500)], job, 90)
    assert drawn([_rows(500)[::-1]], job, 90) == first
    assert drawn([_rows(500)], job.model_copy(update={"seed": 1}), 90) != first
    assert mixed(first, [], 0.25) == first


def test_a_large_set_leaves_room_for_a_small_one() -> None:
    job = make_job(steps=5, batch_size=8, accumulate=2, replay="s3://a/b", replay_share=0.25)
    many, few = _rows(500), [row.model_copy(update={"id": f"few {row.id}"}) for row in _rows(9)]
    for sets in ([many, few], [few, many]):
        chosen = drawn(sets, job, 90)
        assert (len(chosen), sum(row in few for row in chosen)) == (30, 9)
    half = [row.model_copy(update={"id": f"half {row.id}"}) for row in many]
    assert sum(row in half for row in drawn([many, half], job, 90)) == 15


PAIR = {"completion": None, "chosen": "고양이", "rejected": "개"}
TURNED = {
    "completion": None,
    "chosen": "고양이",
    "rejected": "고양이",
    "rejected_frames": "reversed",
}
THUMB_UP, THUMB_DOWN = {"label": True}, {"label": False}


@pytest.mark.parametrize(
    ("row", "stage", "columns"),
    [
        ({}, "sft", {"completion": "고양이"}),
        (PAIR, "sft", {"completion": "고양이"}),
        (TURNED, "sft", {"completion": "고양이"}),
        (TURNED, "dpo", {name: value for name, value in TURNED.items() if value}),
        (THUMB_UP, "align", {"completion": "고양이"}),
        (THUMB_DOWN, "sft", None),
        ({}, "dpo", {"chosen": "고양이", "rejected": "고양이"}),
        (PAIR, "dpo", {"chosen": "고양이", "rejected": "개"}),
        (THUMB_UP, "dpo", {"chosen": "고양이", "rejected": "고양이"}),
        (THUMB_DOWN, "dpo", None),
        ({}, "kto", {"completion": "고양이", "label": True}),
        (PAIR, "kto", {"completion": "고양이", "label": True}),
        (THUMB_DOWN, "kto", {"completion": "고양이", "label": False}),
    ],
)
def test_an_earlier_row_teaches_what_its_new_stage_can_learn(
    row: dict[str, Any], stage: str, columns: dict[str, Any] | None
) -> None:
    (earlier,) = _rows(1, **row)
    found = taught(earlier, make_job(stage=stage))
    if columns is None:
        assert found is None
        return
    assert found is not None
    there = found.model_dump(
        include={"completion", "chosen", "rejected", "rejected_frames", "label"}
    )
    assert {name: value for name, value in there.items() if value is not None} == columns
    assert found.media == earlier.media


def test_a_preference_without_the_loss_sft_learns_from_earlier_pairs_alone() -> None:
    job = make_job(stage="dpo", losses=("sigmoid",))
    assert taught(*_rows(1), job) is None
    assert taught(*_rows(1, **PAIR), job) is not None
