"""What was measured of the loop is what we aim at, and the page tells it."""

import json

from infra.local.procfile import ROOT

TOLD = json.loads((ROOT / "benchmarks/results/loop.json").read_text())["result"]
PAGE = (ROOT / "docs/loop.md").read_text()


def test_what_was_measured_is_what_we_aim_at() -> None:
    nothing = ("lost", "failed", "mislabelled", "downtime_s")
    assert [TOLD[name] for name in nothing] == [0, 0, 0, 0]
    assert TOLD["habit_before"] >= 0.25
    assert TOLD["habit_after"] <= 0.03
    assert TOLD["rolled_back"] is True
    assert (TOLD["preferences"], TOLD["runs"], TOLD["published"]) == (200, 1, 1)
    assert sum(TOLD["captions_by"].values()) == TOLD["films"]
    assert TOLD["ended_by_themselves"] == {}


def test_the_page_tells_what_was_measured() -> None:
    (part,) = (one for one in PAGE.split("\n## ") if one.startswith("Does it close by itself?"))
    for figure in (
        f"| {TOLD['films']:,}; 0; 0 |",
        f"| {TOLD['pause_s_max']} s; 0 |",
        f"| {TOLD['hours'] * 60:.1f} min |",
        f"{TOLD['exact_before']:.1%} of",
        f"{TOLD['exact_after']:.1%} of",
    ):
        assert figure.replace("%", " %") in part
