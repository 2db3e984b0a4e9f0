"""How fast a worker is when it has its hands full, and how long its process took to start."""

import time
from collections import deque
from itertools import count

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


class Hands:
    """Of a worker, and what they tell."""

    def __init__(self, clock: Clock, at_once: int = 8) -> None:
        self.rate, self._clock, self._at_once = FullRate(clock), clock, at_once
        self._names, self._held = count(), deque[str]()

    def take(self, upto: int) -> None:
        while len(self._held) < upto:
            self._held.append(f"job {next(self._names)}")
            self.rate.took(self._held[-1], self._at_once)

    def end(self, units: float = 1.0) -> None:
        """The one that was taken first."""
        self.rate.ended(self._held.popleft(), units, self._at_once)

    def work(self, jobs: int, *, each_s: float, in_hand: int, units: float = 1.0) -> None:
        for _ in range(jobs):
            self.take(in_hand)
            self._clock.now += each_s
            self.end(units)

    def burst(self, jobs: int, *, takes_s: float) -> None:
        """They begin and end together."""
        self.take(jobs)
        self._clock.now += takes_s
        for _ in range(jobs):
            self.end()


def test_units_a_second_while_its_hands_are_full(clock: Clock) -> None:
    hands = Hands(clock)
    hands.work(500, each_s=0.5, in_hand=8, units=3.0)
    assert hands.rate.look() == pytest.approx(6.0, rel=0.01)


def test_a_worker_with_little_to_do_tells_nothing_rather_than_too_little(clock: Clock) -> None:
    hands = Hands(clock)
    hands.work(100, each_s=2.0, in_hand=1)
    assert hands.rate.look() is None
    hands.work(300, each_s=0.5, in_hand=7)
    hands.work(100, each_s=2.0, in_hand=5)
    assert hands.rate.look() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 8])
def test_the_time_between_jobs_does_not_count(clock: Clock, at_once: int) -> None:
    """However few it may have in hand."""
    hands = Hands(clock, at_once)
    for _ in range(15):
        clock.now += 30
        hands.burst(at_once, takes_s=2.0)
    assert hands.rate.look() == at_once / 2


def test_who_may_have_two_and_has_one_tells_nothing(clock: Clock) -> None:
    hands = Hands(clock, at_once=2)
    for _ in range(15):
        clock.now += 30
        hands.burst(1, takes_s=2.0)
    assert hands.rate.look() is None


def test_what_is_only_looked_at_makes_nobody_faster(clock: Clock) -> None:
    """A duplicate, or a video whose place is away, beside seven captions of 4 s."""
    rate, names = FullRate(clock), [f"real {n}" for n in range(7)]
    for _ in range(10):
        for name in names:
            rate.took(name, 8)
        for _ in range(40):
            rate.took("looked at", 8)
            clock.now += 0.1
            rate.ended("looked at", 0, 8)
        for name in names:
            rate.ended(name, 1.0, 8)
    assert rate.look() == 7 / 4


def test_it_is_told_once_it_was_full_for_long_enough_and_only_lately(clock: Clock) -> None:
    hands = Hands(clock)
    hands.burst(8, takes_s=LEAST_S - 1)
    assert hands.rate.look() is None
    hands.burst(8, takes_s=LEAST_S + 1)
    assert hands.rate.look() == 16 / (2 * LEAST_S)
    clock.now += WINDOW_S + 1
    assert hands.rate.look() is None


def test_a_process_knows_since_when_it_is_there() -> None:
    before = seconds_since_start()
    time.sleep(0.02)
    assert 0 < before < seconds_since_start() < before + 60
