"""Rounds of the engine's benchmarks: kept, added to, and what comes of them."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_rounds import Kept, measured, share_of, summary


def one_round(ours: float, theirs: float, said: list[int]) -> dict[str, Any]:
    return {
        "jamak": measured([0, 1], [[7, 8], said], 2 * ours, 0.9),
        "generate": measured([1], [[9]], theirs, 1.0),
        "static_8": measured([0, 1], [[7], [9]], 5 * ours, 0.5),
        "static_16": measured([0, 1], [[7], [9]], 4 * ours, 0.5),
    }


def test_ratios_are_those_within_a_round_and_each_caption_is_compared() -> None:
    found = summary([one_round(1.0, 3.0, [9]), one_round(2.0, 10.0, [6])], {"vllm": "no"})
    assert found["ratios"]["generate"] == {"median": 4.0, "min": 3.0, "max": 5.0}
    assert found["ratios"]["static"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert (found["ratios"]["vllm"], found["vllm"]) == (None, {"reason": "no"})
    # Of the first caption nobody knows what `generate` says.
    assert (found["jamak"]["equal"], found["jamak"]["compared"]) == (0.5, 2)
    assert found["jamak"]["captions_per_cpu_s"] == pytest.approx(1 / 1.5, abs=1e-3)


def test_rounds_of_several_runs_make_one_result_but_not_with_those_of_other_work(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rounds.json"
    first, other = Kept(file, {"requests": 4}), Kept(file, {"requests": 4})
    first.add("demo", {"n": 1})
    other.add("decode", {"n": 2})
    first.add("demo", {"n": 3})
    first.add_start("vllm", {"cpu_s": 1.0})
    again = Kept(file, {"requests": 4})
    assert again.rounds("demo") == [{"n": 1}, {"n": 3}]
    assert again.rounds("decode") == [{"n": 2}]
    assert again.start == {"vllm": [{"cpu_s": 1.0}]}
    assert (again.sizes("demo"), again.cases["demo"]) == ({"requests": 4}, again.rounds("demo"))
    more = Kept(file, {"requests": 8})
    with pytest.raises(ValueError, match="'requests': 4"):
        more.rounds("demo")
    assert more.rounds("8_frames") == []


def test_shares_take_turns_and_are_whole_pairs() -> None:
    assert [share_of(8, number, 2) for number in range(3)] == [
        *([0, 1, 4, 5], [2, 3, 6, 7], [0, 1, 4, 5])
    ]
    assert [share_of(4, number, 5) for number in range(3)] == [[0, 1], [2, 3], [0, 1]]
