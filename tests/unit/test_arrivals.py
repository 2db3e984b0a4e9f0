"""How fast work arrives: what lasts is a rate, what comes at once is none."""

import pytest

from producer.scaling.arrivals import lasting


@pytest.mark.parametrize(
    ("by_minute", "rate"),
    [
        ([], 0),
        ([2], 2),
        ([2] * 10, 2),
        ([1] * 9 + [500], 1),
        ([1] * 5 + [500] * 5, 1),  # it came within five minutes, and waits
        ([0] * 9 + [500], 0),
        ([1] * 4 + [10] * 6, 10),
        ([10] * 4 + [0] * 6, 0),
    ],
)
def test_the_median_minute_tells_the_rate(by_minute: list[float], rate: float) -> None:
    assert lasting(by_minute) == rate
