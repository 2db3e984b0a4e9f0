"""What was measured of the loop is what we aim at, and the page tells it."""

import json
from typing import Any

import pytest

from infra.local.procfile import ROOT

PEACE: dict[str, Any] = json.loads((ROOT / "benchmarks/results/loop.json").read_text())["result"]
KILLS = PEACE["kills"]
PAGE = (ROOT / "docs/loop.md").read_text()


@pytest.mark.parametrize("found", [PEACE, KILLS], ids=["peace", "kills"])
def test_what_was_measured_is_what_we_aim_at(found: dict[str, Any]) -> None:
    nothing = ("lost", "failed", "mislabelled", "downtime_s")
    assert [found[name] for name in nothing] == [0, 0, 0, 0]
    assert found["habit_before"] >= 0.25
    assert found["habit_after"] <= 0.03
    assert found["rolled_back"] is True
    assert found["exact_after"] >= found["exact_before"] - 0.01
    assert (found["preferences"], found["runs"], found["published"]) == (200, 1, 1)
    assert sum(found["captions_by"].values()) == found["films"]
    assert found["ended_by_themselves"] == {}


def test_whoever_is_killed_it_ends_the_same() -> None:
    who = [one.partition(":")[0] for one in KILLS["killed"]]
    assert sorted(who) == sorted(2 * ["redis", "retrainer", "trainer", "watcher"])
    assert PEACE["killed"] == []
    assert KILLS["ends_the_same"] is True
    assert KILLS["version"] == PEACE["version"]


def test_the_page_tells_what_was_measured() -> None:
    (part,) = (one for one in PAGE.split("\n## ") if one.startswith("Does it close by itself?"))
    for figure in (
        f"{PEACE['films']:,}; 0; 0 | {KILLS['films']:,}; 0; 0 |",
        f"| {PEACE['pause_s_max']} s; 0 | {KILLS['pause_s_max']} s; 0 |",
        f"| {PEACE['hours'] * 60:.1f} min | {KILLS['hours'] * 60:.1f} min |",
        f"{PEACE['exact_before']:.1%} of",
        f"{PEACE['exact_after']:.1%} of",
    ):
        assert figure.replace("%", " %") in part
