"""From what is seen of a canary to one of three verdicts."""

import random

import pytest

from producer.canary.measures import measures
from producer.canary.state import TrialState
from producer.canary.weighing import ARMS, Weighing
from shared.messages import decode
from shared.trials import Observation
from tests.trials import MARGIN, fresh, pairs, seen, weighed

RUNS, CAPTIONS = 100, 150


def what(weighing: Weighing) -> str | None:
    return weighing.verdict.what if weighing.verdict else None


def test_a_canary_with_more_bad_captions_is_worse_and_it_is_said_by_how_many() -> None:
    found = weighed(pairs(200, canary_bad=3))
    assert found.verdict is not None
    assert found.verdict.what == "worse"
    side = found.state().side("canary")
    theirs = found.state().side("incumbent").captions
    assert found.verdict.why.startswith(f"{side.bad} of {side.captions} captions are bad")
    assert found.verdict.why.endswith(f"and 0 of {theirs} of the adapter in use")
    assert side.signals == {"repetitive": side.bad}


def test_an_equal_one_is_promoted_but_not_before_it_is_proven() -> None:
    assert what(weighed(pairs(200))) is None
    assert what(weighed(pairs(300))) == "not worse"


def test_what_is_bad_in_both_speaks_against_nobody() -> None:
    assert what(weighed(pairs(300, canary_bad=3, incumbent_bad=3))) == "not worse"


def test_one_that_is_worse_by_what_may_be_is_never_promoted() -> None:
    """Of 100 pairs 3 are worse: that is found, sooner or later, and its age promotes it never."""
    weighing = fresh()
    for number in range(3000):
        weighing.see([seen(number, "canary", bad=number % 33 == 0), seen(number, "incumbent")])
        if weighing.verdict:
            break
    assert what(weighing) == "worse"


def test_a_canary_that_says_nothing_is_unknown_however_long_it_is_watched() -> None:
    incumbent = [seen(number, "incumbent", pair=False) for number in range(5000)]
    halves = [seen(number, "incumbent") for number in range(5000)]
    assert what(weighed(incumbent)) is None
    assert what(weighed(halves)) is None


def test_so_is_one_without_anything_to_compare_it_with() -> None:
    alone = [seen(number, "canary", bad=True, pair=False) for number in range(5000)]
    found = weighed(alone)
    assert what(found) is None
    assert len(found.state().waiting) == 1000


@pytest.mark.parametrize(("long", "word"), [(400, "longer"), (2, "shorter")])
def test_captions_far_longer_or_shorter_are_worse(long: int, word: str) -> None:
    found = weighed(pairs(300, long=long))
    assert found.verdict is not None
    assert found.verdict.what == "worse"
    assert found.verdict.why == (
        f"captions are far {word}: {long} syllables, and 40 of the adapter in use"
    )


def test_captions_a_third_shorter_are_not() -> None:
    assert what(weighed(pairs(300, long=27))) == "not worse"


def test_different_videos_are_compared_as_well() -> None:
    def singles(canary_bad: int) -> list[Observation]:
        return [
            seen(
                number,
                "canary" if number % 10 == 0 else "incumbent",
                bad=number % 10 == 0 and number // 10 % 10 < canary_bad,
                pair=False,
            )
            for number in range(4000)
        ]

    assert what(weighed(singles(3))) == "worse"
    assert what(weighed(singles(0))) == "not worse"


def test_what_could_be_a_pair_and_is_none_is_compared_with_nothing() -> None:
    """The canary's would be those on which something went wrong, and the incumbent's all others."""
    alone = [
        seen(number, arm, bad=arm == "canary", pair=False).model_copy(update={"pairable": True})
        for number in range(1000)
        for arm in ("canary", "incumbent")
    ]
    found = weighed([*alone, *pairs(300, start=1000)])
    assert what(found) == "not worse"
    assert found.state().side("canary").bad == 1000


def test_votes_against_it_are_enough() -> None:
    weighing = fresh()
    for number in range(60):
        weighing.vote(f"c{number}", "canary", liked=False)
        weighing.vote(f"i{number}", "incumbent", liked=True)
    assert weighing.verdict is not None
    assert "votes are against it" in weighing.verdict.why


def test_the_same_vote_counts_once() -> None:
    weighing = fresh()
    for _ in range(60):
        weighing.vote("c", "canary", liked=False)
        weighing.vote("i", "incumbent", liked=True)
    assert weighing.verdict is None
    assert weighing.state().side("canary").votes == 1


def test_it_does_not_matter_in_which_portions_it_came_nor_who_went_on() -> None:
    """Also not to what is written: read again, it is what it was."""
    chance = random.Random(7)
    lots = [
        seen(
            number,
            "canary" if chance.random() < 0.3 else "incumbent",
            bad=chance.random() < 0.2,
            pair=False,
            long=chance.randrange(20, 60),
        )
        for number in range(400)
    ]
    lots += pairs(50, canary_bad=2, incumbent_bad=1, start=400)
    whole = weighed(lots).state()
    weighing, rest = fresh(), lots
    while rest:
        count = 2 * chance.randrange(1, 20)  # both of a pair are among the same
        weighing.see(rest[:count])
        rest = rest[count:]
        written = weighing.state().model_dump_json().encode()
        weighing = Weighing(decode(TrialState, written), MARGIN)
    assert weighing.state().model_copy(update={"updated_at": whole.updated_at}) == whole


def test_after_a_verdict_nothing_is_weighed() -> None:
    weighing = weighed(pairs(300))
    before = weighing.state().sides
    weighing.see(pairs(300, canary_bad=10, start=300))
    weighing.vote("v", "canary", liked=False)
    weighing.refused("too late")
    assert what(weighing) == "not worse"
    assert weighing.state().sides == before


def test_what_may_be_wrong_by_chance_is_one_of_a_hundred_in_all() -> None:
    assert sum(one.alpha for one in measures(MARGIN)) <= 0.01


@pytest.mark.parametrize("paired", [True, False])
def test_of_adapters_that_are_alike_hardly_one_is_sent_back(paired: bool) -> None:
    """Of half of the captions one or the other is bad, so that chance has as much room as it can
    have; and it is looked at after each of them."""
    sent_back = 0
    for seed in range(RUNS):
        chance, weighing = random.Random(seed), fresh()
        weighing.see(
            seen(number, arm, bad=chance.random() < 0.5, pair=paired)
            for number in range(CAPTIONS)
            for arm in ARMS
        )
        sent_back += what(weighing) == "worse"
    assert sent_back <= RUNS // 100
