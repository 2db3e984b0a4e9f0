"""What is uploaded when, and how soon it shall be captioned. Drawn from a seed: each policy meets
the same arrivals, and the same cold starts in the same order.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.autoscaling.cluster import Card, Work
from shared.prices import prices
from shared.settings import Settings
from workers.caption.card_plan import CardPlan
from workers.model.geometry import KNOWN
from workers.plan import plans_of, usual

HOUR = 3600.0
SLO_S = 900.0
BEGIN_S = 900.0
"""Nothing arrives before it: whoever knows what comes has the time to start."""
STEP_S = 10.0
"""Within it arrivals come at any time."""
COLD_MEDIAN_S, COLD_SPREAD, COLD_S = 180.0, 0.5, (60.0, 600.0)
"""Log-normal, cut off at both ends."""
COLD_P90_S = COLD_MEDIAN_S * math.exp(1.2816 * COLD_SPREAD)
MODEL = "vicuna-7b"
"""The default one, in the table of sizes."""
MOST = 100
"""Replicas of a class: the quota."""


@dataclass(frozen=True)
class Scenario:
    """Args:
    lasts_s: it is paid for so long, or until all is done, if that is later.
    """

    name: str
    cards: tuple[Card, ...]
    works: tuple[Work, ...]
    lasts_s: float
    burst: tuple[float, str] | None = None
    """When the last of it was uploaded, and for which class."""
    deadline_s: float | None = None
    """Of the backlog, from the beginning."""
    life_s: float = math.inf
    """Of a node, in the mean, until it is reclaimed."""
    reclaimed_at: float | None = None
    """When three in ten nodes are reclaimed at once."""
    slo_s: float = SLO_S

    def due(self, put_at: float, *, bulk: bool) -> float:
        """When that shall be done which was put then."""
        if bulk and self.deadline_s is not None:
            return self.deadline_s
        return put_at + self.slo_s


def cards(*names: str) -> tuple[Card, ...]:
    """As the plan has them for the default model; their prices are the dated ones."""
    plans = plans_of(KNOWN[MODEL], usual(MODEL))
    priced = prices(Settings()).usd_per_hour
    found = []
    for name, plan in plans.items():
        if name in names:
            assert isinstance(plan, CardPlan)
            rate = 1 / plan.seconds.value
            found.append(Card(name, rate, plan.rows.value, priced[name]))
    return tuple(found)


def cold_starts(seed: int) -> Iterator[float]:
    draw = np.random.default_rng([seed, 1])
    while True:
        for cold in draw.lognormal(math.log(COLD_MEDIAN_S), COLD_SPREAD, 100):
            yield float(min(max(cold, COLD_S[0]), COLD_S[1]))


def burst(seed: int, scale: float) -> Scenario:
    """From nothing: 30,000 videos within ten seconds, and nothing afterwards."""
    at = BEGIN_S
    works = list(_spread(_draw(seed), "l4", round(30_000 * scale), at, at + 10, grain=10))
    return Scenario("burst", cards("l4"), _in_order(works), 2.5 * HOUR, burst=(at + 10, "l4"))


def diurnal(seed: int, scale: float) -> Scenario:
    """A day: nine times as much in the afternoon as at night, and hours that differ by a third."""
    draw = _draw(seed)
    hours = draw.gamma(9, 1 / 9, 25)

    def rate(now: float) -> float:
        day = 1 - 0.8 * math.cos(2 * math.pi * now / (24 * HOUR))
        return 6 * scale * day * float(hours[int(now / HOUR)])

    works = _poisson(draw, "l4", rate, 24 * HOUR, grain=10)
    return Scenario("diurnal", cards("l4"), _in_order(works), 24 * HOUR)


def backlog(seed: int, scale: float) -> Scenario:
    """A million videos that shall be done in eight hours, beside one upload a second."""
    draw, by = _draw(seed), BEGIN_S + 8 * HOUR
    works = [
        *_spread(draw, "l4", round(1_000_000 * scale), BEGIN_S, BEGIN_S, grain=20, bulk=True),
        *_poisson(draw, "l4", lambda _: scale, 9 * HOUR, grain=5),
    ]
    return Scenario("backlog", cards("l4"), _in_order(works), 9 * HOUR, deadline_s=by)


def spot(seed: int, scale: float) -> Scenario:
    """Eight hours on nodes that live for three in the mean; once three in ten go together."""
    draw, at = _draw(seed), 5 * HOUR
    works = [
        *_poisson(draw, "l4", lambda _: 8 * scale, 8 * HOUR, grain=10),
        *_spread(draw, "l4", round(10_000 * scale), at, at + 60, grain=10),
    ]
    return Scenario(
        "spot",
        cards("l4"),
        _in_order(works),
        8 * HOUR,
        burst=(at + 60, "l4"),
        life_s=3 * HOUR,
        reclaimed_at=3 * HOUR,
    )


def churn(seed: int, scale: float) -> Scenario:
    """For the choice of pods: half of the work is in long videos, and it comes and goes."""
    draw = _draw(seed)

    def rate(now: float) -> float:
        return scale * (6 if now // 2400 % 2 else 1)

    works = [
        *_poisson(draw, "l4", rate, 12 * HOUR, grain=10),
        *_poisson(draw, "l4", lambda now: rate(now) / 30, 12 * HOUR, grain=5, each=30),
    ]
    return Scenario("churn", cards("l4"), _in_order(works), 12 * HOUR)


def mix(seed: int, scale: float) -> Scenario:
    """Three classes; two in a hundred videos are long (30 segments), and for ten minutes all."""
    draw, at = _draw(seed), 2 * HOUR
    works: list[Work] = []
    for card, rate in (("t4", 4.0), ("l4", 4.0), ("h100", 6.0)):
        short, long = rate * 0.98 * scale, rate * 0.02 * scale
        works += _poisson(draw, card, lambda _, n=short: n, 6 * HOUR, grain=10)
        works += _poisson(draw, card, lambda _, n=long: n, 6 * HOUR, grain=5, each=30)
    works += _spread(draw, "l4", round(1500 * scale), at, at + 600, grain=10, each=30)
    classes = cards("t4", "l4", "h100")
    return Scenario("mix", classes, _in_order(works), 6 * HOUR, burst=(at + 600, "l4"))


SCENARIOS = {one.__name__: one for one in (burst, diurnal, backlog, spot, mix)}


def _draw(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 0])


def _in_order(works: list[Work]) -> tuple[Work, ...]:
    return tuple(sorted(works, key=lambda work: work.put_at))


def _poisson(
    draw: np.random.Generator,
    card: str,
    rate: Callable[[float], float],
    end: float,
    *,
    grain: int,
    each: float = 1.0,
) -> Iterator[Work]:
    """Args:
    rate: messages a second.
    grain: so many at most are one piece of work.
    each: units of a message, in the mean.
    """
    carried = 0
    for step in range(math.ceil((end - BEGIN_S) / STEP_S)):
        at = BEGIN_S + step * STEP_S
        carried += draw.poisson(rate(at) * STEP_S)
        # What is less than one piece comes in a later step, or alone in its own, as often.
        pieces = carried // grain + int(draw.random() < carried % grain / grain)
        if pieces:
            yield from _spread(draw, card, carried, at, at + STEP_S, grain=grain, each=each)
            carried = 0


def _spread(
    draw: np.random.Generator,
    card: str,
    messages: int,
    begin: float,
    end: float,
    *,
    grain: int,
    each: float = 1.0,
    bulk: bool = False,
) -> Iterator[Work]:
    """So many, at any time between. How many units each has varies by seven tenths of the mean."""
    while messages > 0:
        some = min(grain, messages)
        units = each * float(draw.gamma(2.0 * some)) / 2.0
        yield Work(float(draw.uniform(begin, end)), card, some, units, bulk)
        messages -= some
