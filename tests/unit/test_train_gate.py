"""Which scores let an adapter be used without anybody looking."""

import re
from itertools import product

import pytest

from workers.train.gate import (
    ENOUGH_VIDEOS,
    LIKELIHOOD,
    by_chance,
    why_not,
    why_not_comparable,
)


def metrics(**changed: float) -> dict[str, float]:
    """Of an adapter that made eight of ten held-out videos better."""
    return {
        "exact_before": 0.1,
        "exact_after": 0.9,
        "chrf_before": 50.0,
        "chrf_after": 90.0,
        "n_eval": 12,
        "n_eval_videos": 10,
        "n_better": 8,
        "n_worse": 0,
        **changed,
    }


def test_what_is_clearly_better_is_used() -> None:
    assert why_not(metrics()) is None
    # not every video has to change, and one may get worse
    assert why_not(metrics(n_better=5)) is None
    assert why_not(metrics(logp_chosen_before=-1.0, logp_chosen_after=-1.1)) is None
    assert why_not(metrics(n_better=7, n_worse=1)) is None
    # the share of exact captions need not move where the captions come nearer
    assert why_not(metrics(exact_before=0, exact_after=0)) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"n_eval": 1, "n_eval_videos": 1, "n_better": 1}, "1 video is held out"),
        ({"n_eval_videos": 7, "n_better": 7}, "7 videos are held out: fewer than 8"),
        # many rows of few videos are few videos
        ({"n_eval": 500, "n_eval_videos": 2, "n_better": 2}, "2 videos are held out"),
        (
            {"exact_after": 0.1, "chrf_after": 50.0, "n_better": 0},
            "the captions of all 10 held-out videos are as good as before",
        ),
        ({"n_better": 1}, "of 10 held-out videos 1 got better and 0 worse: that may be chance"),
        ({"n_better": 4}, "p = 0.062"),
        ({"n_better": 5, "n_worse": 5}, "5 got better and 5 worse"),
        ({"n_better": 3, "n_worse": 7}, "3 got better and 7 worse"),
        ({"n_better": 6, "n_worse": 1}, "6 got better and 1 worse"),
        ({"exact_after": 0.0}, "got worse: exact captions 0.100 → 0.000"),
        ({"chrf_after": 49.9}, "got worse: chrF.. 50.000 → 49.900"),
        # it tells the pairs apart, and has half forgotten how to say the better ones
        ({"logp_chosen_before": -1.0, "logp_chosen_after": -1.3}, "chosen captions lost 0.30 nats"),
        ({"logp_liked_before": -1.0, "logp_liked_after": -1.3}, "liked captions lost 0.30 nats"),
    ],
)
def test_what_is_not_proven_is_not_used_and_the_reason_is_told(
    changed: dict[str, float], reason: str
) -> None:
    told = why_not(metrics(**changed))
    assert told is not None
    assert re.search(reason, told), told


def test_chance_is_counted_as_by_hand() -> None:
    for better, worse in product(range(6), range(6)):
        sides = list(product((True, False), repeat=better + worse))
        likely = sum(sum(side) >= better for side in sides) / len(sides)
        assert by_chance(better, worse) == pytest.approx(likely)


def test_enough_is_the_least_number_of_which_one_may_get_worse() -> None:
    assert by_chance(ENOUGH_VIDEOS - 1, 1) <= LIKELIHOOD < by_chance(ENOUGH_VIDEOS - 2, 1)


@pytest.mark.parametrize(
    ("parent", "in_use", "reason"),
    [
        (None, None, None),
        ("p", "p", None),
        ("p", "v", None),  # a job that is run again, after it had moved the pointer
        (None, "q", "compared with the base model, .* but q is in use"),
        ("p", "q", "compared with p, .* but q is in use"),
        ("p", None, "compared with p, .* but the base model is in use"),  # p was rolled back
    ],
)
def test_scores_say_nothing_about_what_they_were_not_compared_with(
    parent: str | None, in_use: str | None, reason: str | None
) -> None:
    told = why_not_comparable("v", parent, in_use)
    assert told is None if reason is None else re.search(reason, str(told))
