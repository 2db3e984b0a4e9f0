"""What the canary's evidence promises: it cries wolf with a probability of alpha, however often one
looks; it grows with what speaks for it; and the order of what was seen does not matter to it."""

from math import exp, isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.canary.eprocess import BETS, Evidence

gains = st.lists(st.floats(-1, 1), max_size=30)


def of(seen: list[float] | tuple[float, ...]) -> Evidence:
    evidence = Evidence()
    for gain in seen:
        evidence = evidence.after(gain)
    return evidence


@st.composite
def harmless(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Values of -1 to 1 with their probabilities, whose mean is at most 0."""
    values = draw(st.lists(st.floats(-1, 1), min_size=1, max_size=3))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=len(values), max_size=len(values)))
    shares = [weight / sum(weights) for weight in weights]
    mean = sum(value * share for value, share in zip(values, shares, strict=True))
    if mean > 0:  # mixed with as much of -1 as it takes
        shares = [share / (1 + mean) for share in shares]
        values, shares = [*values, -1.0], [*shares, mean / (1 + mean)]
    return list(zip(values, shares, strict=True))


def ways(
    distribution: list[tuple[float, float]],
    alpha: float,
    left: int,
    evidence: Evidence,
    fired: bool,
) -> tuple[float, float]:
    """The probability that it is ever enough, and the mean of it in the end, over all ways that so
    many more observations can go: no luck is in it."""
    fired = fired or evidence.is_enough(alpha)
    if not left:
        return float(fired), exp(evidence.log_value)
    found = [
        (share, ways(distribution, alpha, left - 1, evidence.after(gain), fired))
        for gain, share in distribution
    ]
    ever, mean = (sum(share * both[which] for share, both in found) for which in (0, 1))
    return ever, mean


@given(harmless(), st.floats(0.05, 0.9))
def test_it_is_enough_by_chance_with_a_probability_of_alpha_however_often_one_looks(
    distribution: list[tuple[float, float]], alpha: float
) -> None:
    ever, mean = ways(distribution, alpha, 5, Evidence(), False)
    assert mean <= 1 + 1e-9
    assert ever <= alpha + 1e-9


@given(gains, st.data())
def test_the_order_does_not_matter(seen: list[float], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(seen))
    assert isclose(of(seen).log_value, of(shuffled).log_value, rel_tol=1e-9, abs_tol=1e-9)


@given(gains.filter(bool), st.data(), st.floats(0, 1))
def test_it_grows_with_what_speaks_for_it(
    seen: list[float], data: st.DataObject, share: float
) -> None:
    at = data.draw(st.integers(0, len(seen) - 1))
    larger = list(seen)
    larger[at] += (1 - seen[at]) * share
    assert of(larger).log_value >= of(seen).log_value - 1e-12


@given(gains, st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_what_is_enough_for_a_strict_reader_is_enough_for_all(
    seen: list[float], one: float, other: float
) -> None:
    if of(seen).is_enough(min(one, other)):
        assert of(seen).is_enough(max(one, other))


def test_what_six_bettors_have_is_counted_by_hand() -> None:
    hand = sum((1 + bet) * (1 - bet / 2) for bet in BETS) / len(BETS)
    assert isclose(of([1.0, -0.5]).log_value, log(hand))


def test_ever_more_evidence_is_still_a_number() -> None:
    evidence = of([1.0] * 20_000)
    assert evidence.is_enough(1e-300)
    assert evidence.log_value > 5_000


@pytest.mark.parametrize("gain", [1.001, -1.5, float("nan")])
def test_what_is_no_difference_of_two_shares_is_refused(gain: float) -> None:
    with pytest.raises(AssertionError, match="cannot lose more"):
        Evidence().after(gain)
