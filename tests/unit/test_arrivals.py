"""How fast work arrives: what lasts is a rate, what comes at once is none."""

import pytest

from producer.scaling.arrivals import Arrivals


def seen(*per_minute: float, every_s: float = 15.0) -> Arrivals:
    """A count that was looked at several times in each minute."""
    arrivals, count, at = Arrivals(), 0.0, 1000.0
    arrivals.see(at, count)
    for amount in per_minute:
        for _ in range(round(60 / every_s)):
            at += every_s
            count += amount * every_s / 60
            arrivals.see(at, count)
    return arrivals


def test_a_rate_is_told_in_units_a_second() -> None:
    assert seen().per_s() == 0
    assert seen(120).per_s() == pytest.approx(2)
    assert seen(*[120] * 30).per_s() == pytest.approx(2)
    assert seen(*[120] * 30, every_s=7.5).per_s() == pytest.approx(2)


@pytest.mark.parametrize("before", [2, 5, 9, 30])
def test_a_burst_is_no_rate(before: int) -> None:
    assert seen(*[60] * before, 30_000).per_s() == pytest.approx(1)
    assert seen(*[60] * before, 30_000, 60, 60).per_s() == pytest.approx(1)
    assert seen(*[0] * before, 30_000, 0).per_s() == 0


def test_what_lasts_is_one_after_a_few_minutes_and_what_is_over_is_none() -> None:
    assert seen(*[60] * 10, *[600] * 4).per_s() == pytest.approx(1)
    assert seen(*[60] * 10, *[600] * 6).per_s() == pytest.approx(10)
    assert seen(*[600] * 10, *[0] * 6).per_s() == 0


def test_a_count_that_begins_anew_is_no_negative_rate() -> None:
    arrivals = seen(*[600] * 5)
    arrivals.see(2000, 7)
    assert arrivals.per_s() == 0
    arrivals.see(2060, 67)
    assert arrivals.per_s() == pytest.approx(1)
