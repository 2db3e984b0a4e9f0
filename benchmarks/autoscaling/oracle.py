"""The cheapest fleet that is in time, where one knows beforehand what will arrive.

The work done by a time lies between what has arrived by then and what is due by then. Of all ways
between these two curves the shortest, a string drawn taut, turns least: no capacity is idle, and
none is given up that is needed again. Replicas are whole, so there is one more than the string asks
for until so much is done that one less is enough.
"""

import math
from collections.abc import Iterator, Sequence

AGAIN = 10
"""In so many steps it is looked again how much is done."""


def taut(low: Sequence[float], high: Sequence[float]) -> list[float]:
    """How steep the shortest way between two rising curves is, in each interval.

    Args:
        low, high: at the ends of the intervals; they meet at the last.
    """
    slopes: list[float] = []
    level = low[0]
    while len(slopes) < len(low) - 1:
        slope, length = first_stretch(low, high, len(slopes), level)
        slopes += [slope] * length
        level += slope * length
    return slopes


def first_stretch(
    low: Sequence[float], high: Sequence[float], at: int, level: float
) -> tuple[float, int]:
    """How steep the way is from this level to its first bend, and how long."""
    steepest, flattest = math.inf, -math.inf
    turn_high = turn_low = at
    for there in range(at + 1, len(low)):
        most, least = ((curve[there] - level) / (there - at) for curve in (high, low))
        if least > steepest:
            return steepest, turn_high - at
        if most < flattest:
            return flattest, turn_low - at
        if most <= steepest:
            steepest, turn_high = most, there
        if least >= flattest:
            flattest, turn_low = least, there
    last = len(low) - 1
    return (low[last] - level) / (last - at), last - at


def plan(
    arrivals: Sequence[tuple[float, float, float]], rate: float, step_s: float
) -> Iterator[int]:
    """How many replicas work in each step of time.

    Args:
        arrivals: when, how many units, and when they are due.
        rate: units a second of one replica.
    """
    low, high = curves(arrivals, step_s)
    done, count = 0.0, 0
    for at in range(len(low) - 1):
        if at % AGAIN == 0:
            slope, _ = first_stretch(low, high, at, done)
            count = max(0, math.ceil(slope / (rate * step_s) - 1e-6))
        done = min(done + count * rate * step_s, high[at + 1])
        yield count


def curves(
    arrivals: Sequence[tuple[float, float, float]], step_s: float
) -> tuple[list[float], list[float]]:
    """What is due and what has arrived at the end of each step, all together."""
    steps = math.ceil(max(due for _, _, due in arrivals) / step_s) + 1
    due, came = [0.0] * (steps + 1), [0.0] * (steps + 1)
    for at, units, until in arrivals:
        came[min(steps, math.ceil(at / step_s))] += units
        due[max(math.ceil(at / step_s) + 1, math.floor(until / step_s))] += units
    for curve in (came, due):
        for at in range(steps):
            curve[at + 1] += curve[at]
    return [min(pair) for pair in zip(due, came, strict=True)], came
