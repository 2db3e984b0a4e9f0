"""A canary: whose turn a job is, and what older workers read of the pointer."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from shared.bucket import moves
from shared.errors import NewerMessage, Reject
from shared.messages import Count, Message, decode
from shared.training import Canary, Pointer
from shared.trials import arm_of, is_paired

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENTH = Canary(version="c" * 12, share=0.1, paired=True, since=NOW)


def jobs(count: int) -> list[str]:
    return [f"{'r' * 12}-{number:08x}" for number in range(count)]


@given(st.text(min_size=1, max_size=40), st.integers(1, 10**6), st.floats(0.001, 0.5))
def test_whose_turn_a_job_is_follows_from_it_and_the_trial_alone(
    job_id: str, generation: int, share: float
) -> None:
    canary = TENTH.model_copy(update={"share": share})
    later = canary.model_copy(update={"since": datetime.now(UTC), "version": "d" * 12})
    assert arm_of(job_id, generation, canary) == arm_of(job_id, generation, later)


def test_a_job_keeps_its_turn_for_good() -> None:
    """Another Jamak, another machine: as it was when this was written."""
    turns = [number for number, job in enumerate(jobs(40)) if arm_of(job, 7, TENTH) == "canary"]
    assert turns == [11, 34, 36, 37]


def test_the_share_is_kept_and_another_trial_draws_anew() -> None:
    drawn = [
        {job for job in jobs(20_000) if arm_of(job, trial, TENTH) == "canary"} for trial in (1, 2)
    ]
    assert [len(one) for one in drawn] == pytest.approx([2000, 2000], abs=150)
    assert len(drawn[0] & drawn[1]) == pytest.approx(200, abs=60)


def test_half_of_what_both_caption_is_the_canarys() -> None:
    paired = [job for job in jobs(20_000) if is_paired(job, 1, TENTH)]
    assert len(paired) == pytest.approx(4000, abs=200)
    whose = [arm_of(job, 1, TENTH) for job in paired]
    assert whose.count("canary") == pytest.approx(2000, abs=150)
    # All that is the canary's, so that each of its captions has one to be compared with.
    assert {job for job in jobs(20_000) if arm_of(job, 1, TENTH) == "canary"} < set(paired)
    alone = TENTH.model_copy(update={"paired": False})
    assert not any(is_paired(job, 1, alone) for job in jobs(1000))


@pytest.mark.parametrize("share", [0.0, -0.1, 0.51, 1.0])
def test_no_share_is_nothing_or_more_than_half(share: float) -> None:
    with pytest.raises(ValidationError):
        Canary(version="c", share=share, paired=True, since=NOW)


class StopOfVersion2(Message):
    generation: Count
    version: str | None
    at: datetime
    how: Literal["activated", "rolled back"]
    before: Count | None


class PointerOfVersion2(Message):
    """As it was read by workers that knew no canary."""

    v: Count = 2
    generation: Count
    version: str | None
    previous: str | None = None
    updated_at: datetime
    history: tuple[StopOfVersion2, ...] = Field(default=())


def moved(now: Pointer, move: moves.Move) -> Pointer:
    stop = move.stop(now.generation + 1, NOW)
    told: dict[str, Any] = {
        "generation": stop.generation,
        "version": stop.version,
        "updated_at": NOW,
        "history": (*now.history, stop),
        "canary": move.begins,
    }
    return Pointer(**told).as_written()


def test_older_workers_follow_a_pointer_until_there_is_a_canary() -> None:
    pointer = Pointer(generation=0, version=None, updated_at=NOW)
    for version in ("a" * 12, "b" * 12):
        pointer = moved(pointer, moves.activate(pointer, version))
    pointer = moved(pointer, moves.roll_back(pointer))
    older = decode(PointerOfVersion2, pointer.to_json())
    assert (older.generation, older.version, len(older.history)) == (3, "a" * 12, 3)
    assert decode(Pointer, pointer.to_json()) == pointer
    tried = moved(pointer, moves.begin(pointer, TENTH, "operator", "a new one"))
    with pytest.raises(NewerMessage):
        decode(PointerOfVersion2, tried.to_json())
    assert decode(Pointer, tried.to_json()) == tried
    ended = moved(tried, moves.end(tried, "watch", "worse"))
    assert decode(Pointer, ended.to_json()) == ended
    assert json.loads(ended.to_json())["history"][-1] == {
        "generation": 5,
        "version": "a" * 12,
        "at": "2026-01-01T00:00:00Z",
        "how": "canary ended",
        "before": 0,
        "canary": "c" * 12,
        "share": None,
        "why": "worse",
        "by": "watch",
    }


def test_one_canary_at_a_time_and_none_of_what_is_in_use() -> None:
    pointer = Pointer(generation=0, version="a" * 12, updated_at=NOW)
    with pytest.raises(Reject, match=r"a{12} is in use already"):
        moves.begin(pointer, TENTH.model_copy(update={"version": "a" * 12}), "operator", "")
    tried = moved(pointer, moves.begin(pointer, TENTH, "operator", ""))
    with pytest.raises(Reject, match=r"c{12} is on trial already"):
        moves.begin(tried, TENTH.model_copy(update={"version": "d" * 12}), "gate", "")
    more = TENTH.model_copy(update={"share": 0.5})
    assert moved(tried, moves.begin(tried, more, "operator", "")).canary == more
    for move in (moves.promote, moves.end):
        with pytest.raises(Reject, match="no adapter is on trial"):
            move(pointer, "operator", "")
