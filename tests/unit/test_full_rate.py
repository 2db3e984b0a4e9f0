"""How fast a worker is when it has its hands full, and how long its process took to start."""

import time

import pytest

from workers.delivery.full import LEAST_S, FullRate
from workers.delivery.rate import WINDOW_S
from workers.delivery.started import seconds_since_start


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(
    rate: FullRate, clock: Clock, jobs: int, *, each_s: float, in_hand: int, units: float = 1.0
) -> None:
    for _ in range(jobs):
        clock.now += each_s
        rate.ended(units, in_hand, at_once=8)


def test_units_a_second_while_its_hands_are_full(clock: Clock) -> None:
    rate = FullRate(clock)
    work(rate, clock, 101, each_s=0.5, in_hand=8, units=3.0)
    assert rate.look() == 6.0


def test_a_worker_with_little_to_do_tells_nothing_rather_than_too_little(clock: Clock) -> None:
    rate = FullRate(clock)
    work(rate, clock, 100, each_s=2.0, in_hand=1)
    assert rate.look() is None
    work(rate, clock, 101, each_s=0.5, in_hand=7)
    work(rate, clock, 100, each_s=2.0, in_hand=5)
    assert rate.look() == 2.0


def test_the_time_in_which_jobs_were_begun_and_none_could_end_does_not_count(clock: Clock) -> None:
    rate = FullRate(clock)
    for _ in range(3):
        clock.now += 100  # idle, then many begin at once
        work(rate, clock, 21, each_s=1.0, in_hand=8)
        work(rate, clock, 1, each_s=1.0, in_hand=1)
    assert rate.look() == 1.0


def test_it_is_told_once_it_was_full_for_long_enough_and_only_lately(clock: Clock) -> None:
    rate = FullRate(clock)
    work(rate, clock, 1 + int(LEAST_S) - 1, each_s=1.0, in_hand=8)
    assert rate.look() is None
    work(rate, clock, 1, each_s=1.0, in_hand=8)
    assert rate.look() == 1.0
    clock.now += WINDOW_S + 1
    assert rate.look() is None


def test_a_process_knows_since_when_it_is_there() -> None:
    before = seconds_since_start()
    time.sleep(0.02)
    assert 0 < before < seconds_since_start() < before + 60
