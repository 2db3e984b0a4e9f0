"""What was measured of canaries is within what we aim at, and the page tells it."""

import json

import pytest

from infra.local.procfile import ROOT

TOLD = json.loads((ROOT / "benchmarks/results/canary.json").read_text())["result"]
FLEET = TOLD["fleet"]
BAD_OF_ALL = FLEET["why"].partition(" captions")[0].replace("of ", "of its ")
PAGE = (ROOT / "docs/loop.md").read_text()


def test_what_was_measured_is_what_we_aim_at() -> None:
    assert TOLD["runs"] >= 1000
    assert TOLD["false_rollback"] <= 0.01
    assert TOLD["false_promotion"] <= 0.01
    assert TOLD["found_paired_median"] <= 300
    assert TOLD["found_unpaired_median"] <= 600
    assert [FLEET[name] for name in ("lost", "failed", "mislabelled")] == [0, 0, 0]
    assert FLEET["verdict"] == "canary ended"
    assert FLEET["bad_published"] == FLEET["arms"]["canary"]
    # It was on trial with a tenth of the videos, and ended before the last of them.
    assert FLEET["bad_published_share"] <= FLEET["share"]


@pytest.mark.parametrize(
    "row",
    [
        f"rolled back: the worse of paired and unpaired | {TOLD['false_rollback']:.1%} | "
        f"{TOLD['z_test_false']:.1%} |",
        f"promoted | {TOLD['false_promotion']:.1%} |",
        f"until it is rolled back | {TOLD['found_paired_median']:,.0f} | "
        f"{TOLD['z_test_found_paired_median']:,.0f} |",
        f"unpaired | {TOLD['found_unpaired_median']:,.0f} | "
        f"{TOLD['z_test_found_unpaired_median']:,.0f} |",
        f"{FLEET['videos']} videos",
        f"{FLEET['rolled_back_s']:.0f} s",
        f"when {BAD_OF_ALL} captions were bad",
        f"{FLEET['bad_published']} captions by it, {FLEET['bad_published_share']:.0%}",
    ],
)
def test_the_page_tells_what_was_measured(row: str) -> None:
    plain = " ".join(PAGE.split()).replace(" %", "%")
    assert " ".join(row.split()) in plain
