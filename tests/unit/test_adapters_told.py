"""What people are told of a version, during a trial and after it."""

from datetime import UTC, datetime

from producer.verbs.adapters_told import use_of
from shared.bucket import moves
from shared.training import Canary, Pointer

A, B = "a" * 12, "b" * 12


def at(hour: int) -> datetime:
    return datetime(2026, 11, 30, hour, tzinfo=UTC)


def moved(now: Pointer, move: moves.Move, hour: int) -> Pointer:
    stop = move.stop(now.generation + 1, at(hour))
    return Pointer(
        generation=stop.generation,
        version=stop.version,
        updated_at=at(hour),
        history=(*now.history, stop),
        canary=move.begins,
    )


def test_a_trial_changes_nothing_of_since_when_another_one_is_in_use() -> None:
    pointer = Pointer(generation=0, version=None, updated_at=at(0))
    pointer = moved(pointer, moves.activate(pointer, A), 1)
    canary = Canary(version=B, share=0.1, paired=True, since=at(5))
    tried = moved(pointer, moves.begin(pointer, canary, "gate", ""), 5)
    assert use_of(A, tried, None) == "← in use since 2026-11-30 01:00 UTC"
    assert use_of(B, tried, None) == "← on trial since 2026-11-30 05:00 UTC, with 10 %"
    why = "11 of 14 captions are bad"
    ended = moved(tried, moves.end(tried, "watch", why), 6)
    assert use_of(A, ended, None) == "← in use since 2026-11-30 01:00 UTC"
    # and not as the training left it
    assert use_of(B, ended, "it is on trial first") == f"on trial until 2026-11-30 06:00 UTC: {why}"
    replaced = moved(ended, moves.activate(ended, "c" * 12), 7)
    assert use_of(A, replaced, None) == "in use until 2026-11-30 07:00 UTC"
    assert use_of("d" * 12, replaced, "it is worse") == "not put to use: it is worse"


def test_one_that_was_promoted_is_in_use_since_then() -> None:
    pointer = Pointer(generation=0, version=None, updated_at=at(0))
    canary = Canary(version=B, share=0.1, paired=True, since=at(5))
    tried = moved(pointer, moves.begin(pointer, canary, "operator", ""), 5)
    promoted = moved(tried, moves.promote(tried, "watch", "no worse"), 6)
    assert use_of(B, promoted, None) == "← in use since 2026-11-30 06:00 UTC"
