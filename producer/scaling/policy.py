"""How many replicas of a class are wanted: one sum, with the reason in words.

It feeds forward: what there is to do, over what one replica does in a second in which it works.
How many replicas run is in neither, so a fleet that is still starting makes nobody want more. Knows
nothing of where the numbers come from, nor of what starts and ends replicas.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

SOONEST_S = 60.0
"""What is late is not to be done in no time: that would want endlessly many."""

LITTLE = 0.25
"""Of a replica: what it would do waits, and wants more when it has become more."""
KEEP_S = 60.0
"""Who has work for so long is not ended, whatever is wanted."""


@dataclass(frozen=True)
class Due:
    """What a backlog with a deadline has not in the queues yet.

    Raises:
        ValueError: no number, or less than no work.
    """

    units: float
    """Of work."""
    left_s: float
    """Until it shall be captioned; below 0: it is late."""

    def __post_init__(self) -> None:
        _check_amounts(self.units)
        if math.isnan(self.left_s):
            raise ValueError(f"{self!r}: a number is missing")


@dataclass(frozen=True)
class Demand:
    """What there is to do for one class, in units of work.

    One unit is a caption of this class's usual frames, of one segment.

    Raises:
        ValueError: no number, less than no work, or a rate of nothing.
    """

    waiting: float
    in_flight: float
    arrival_per_s: float
    oldest_s: float
    """For how long the message has waited that is next."""
    rate: float
    """Units in a second in which one replica works, all its rows in use."""
    cold_start_s: float
    """From a replica's start to its first job: 9 of 10 take no longer."""
    running: int = 0
    """For the reader alone: it changes no sum."""
    due: tuple[Due, ...] = ()

    def __post_init__(self) -> None:
        _check_amounts(self.waiting, self.in_flight, self.arrival_per_s)
        _check_amounts(self.oldest_s, self.cold_start_s, self.rate)
        if not self.rate:
            raise ValueError(f"{self!r}: at no rate nothing is ever done")

    @property
    def is_nothing(self) -> bool:
        there = (self.waiting, self.in_flight, self.arrival_per_s)
        return not any(there) and not any(one.units for one in self.due)


def kept(demand: Demand) -> int:
    """How many of those that run have work for another minute, of what waits already.

    To end them saves nothing: the same work would take another one as long, and later.
    """
    return min(demand.running, math.floor(demand.waiting / demand.rate / KEEP_S))


class Line(NamedTuple):
    """Of the sum."""

    what: str
    value: float
    how: str
    """It came about."""


@dataclass(frozen=True)
class Wanted:
    replicas: int
    reason: str
    sums: tuple[tuple[str, float, str], ...]
    """What, its value, and how it came about: the sum line by line."""


def wanted(demand: Demand, *, slo_s: float, most: int, least: int = 0) -> Wanted:
    """How many replicas, from `least` to `most`; none only where there is nothing to do.

    Args:
        slo_s: how long after it was put a job shall be done.

    Raises:
        ValueError: `least` is more than `most`.
    """
    if not 0 <= least <= most:
        raise ValueError(f"at least {least} and at most {most} replicas")
    lines = list(_sum(demand, slo_s))
    total = sum(line.value for line in lines if line.what in PARTS)
    replicas, bounded = _bounded(total, 0 if demand.is_nothing else 1, least, most)
    reason = _reason(demand, lines, total)
    how = bounded or f"rounded up, for more than {figure(LITTLE)} of a replica"
    lines += [Line("together", total, "the sum of these")]
    lines += [Line("replicas wanted", replicas, how)]
    return Wanted(replicas, f"{reason}; {bounded}" if bounded else reason, tuple(lines))


ARRIVES, THERE, IS_DUE = "for what arrives", "for what waits or is in flight", "for what is due"
PARTS = (ARRIVES, THERE, IS_DUE)


def _sum(demand: Demand, slo_s: float) -> Iterator[Line]:
    arrival, rate = figure(demand.arrival_per_s), figure(demand.rate)
    # Nothing to spare: a queue that grows waits, and that wants more.
    yield Line(
        ARRIVES,
        demand.arrival_per_s / demand.rate,
        f"{arrival} units/s that arrive ÷ {rate} units/s of a replica",
    )
    # Not both: while a replica started the oldest waited, and what started it counted with that.
    left_s = _time_left(slo_s, max(demand.cold_start_s, demand.oldest_s))
    slo, cold, oldest = figure(slo_s), figure(demand.cold_start_s), figure(demand.oldest_s)
    yield Line(
        "seconds that are left",
        left_s,
        f"{slo} s that a job may take, less {cold} s of a cold start or {oldest} s that the oldest "
        f"has waited, whichever is more; never less than {figure(SOONEST_S)}",
    )
    waiting, in_flight, left = figure(demand.waiting), figure(demand.in_flight), figure(left_s)
    yield Line(
        THERE,
        _over(demand.waiting + demand.in_flight, demand.rate, left_s),
        f"({waiting} units that wait + {in_flight} in flight) ÷ ({rate} units/s × {left} s)",
    )
    for one in demand.due:
        due_s = _time_left(one.left_s, demand.cold_start_s)
        units, left = figure(one.units), figure(due_s)
        yield Line(
            IS_DUE,
            _over(one.units, demand.rate, due_s),
            f"{units} units of a backlog ÷ ({rate} units/s × {left} s until it is due)",
        )


def _time_left(seconds: float, gone: float) -> float:
    return max(SOONEST_S, seconds - gone)


def _over(units: float, rate: float, seconds: float) -> float:
    # In this order: where a product of small numbers would be 0 a quotient is only large.
    return units / rate / seconds


def _bounded(total: float, needed: int, least: int, most: int) -> tuple[int, str]:
    """How many, and what bounded it.

    Args:
        needed: for any work at all, however little.
    """
    if total > most:
        return most, f"{most} at the most"
    asked = max(needed, math.ceil(total - LITTLE))
    if asked > most:
        return most, f"{most} at the most"
    return (least, f"{least} at the least") if asked < least else (asked, "")


def _reason(demand: Demand, lines: Iterable[Line], total: float) -> str:
    if demand.is_nothing:
        return "nothing waits, nothing is in flight, nothing arrives and nothing is due"
    parts = dict.fromkeys(PARTS, 0.0)
    for line in lines:
        if line.what in parts:
            parts[line.what] += line.value
    arrives, there, due = (figure(parts[name]) for name in PARTS)
    return (
        f"{figure(total)} replicas: {arrives} for what arrives, {there} for what waits or is in "
        f"flight, {due} for what is due"
    )


def figure(number: float) -> str:
    """Four digits that count."""
    return f"{float(f'{number:.4g}'):,.10g}"


def _check_amounts(*amounts: float) -> None:
    if not all(math.isfinite(one) and one >= 0 for one in amounts):
        raise ValueError(f"{amounts}: amounts are numbers, and not below 0")
