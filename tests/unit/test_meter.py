"""Each moment of the engine is counted once, as what it was."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from workers.caption.meter import Meter, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.counted: Counter[str] = Counter()

    def __call__(self) -> float:
        return self.now

    def count(self, state: State, seconds: float) -> None:
        self.counted[state] += seconds  # type: ignore[assignment]


def test_a_job_without_its_frames_lets_the_engine_wait() -> None:
    clock = Clock()
    meter = Meter(clock.count, clock)
    clock.now = 10  # nothing to do
    with meter.job():
        clock.now = 13  # it is fetched
        with meter.asked():
            clock.now = 18
            with meter.job():
                clock.now = 20  # another is fetched meanwhile: the engine does not wait
        clock.now = 21
    meter.look()
    assert clock.counted == {"idle": 10, "frames": 4, "busy": 7}


@given(
    st.lists(st.tuples(st.sampled_from(["job", "asked", "look"]), st.integers(0, 9)), max_size=9)
)
def test_nothing_is_counted_twice_or_lost(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    meter = Meter(clock.count, clock)
    for what, seconds in steps:
        if what == "look":
            meter.look()
        else:
            with getattr(meter, what)():
                clock.now += seconds
        clock.now += 1
    meter.look()
    assert sum(clock.counted.values()) == clock.now
