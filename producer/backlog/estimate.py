"""How long, and what for: from what live workers measure of themselves, and a dated price list.

What those that live would take is told from what they measured, and else not at all: a guess would
be believed. For a deadline or a budget every class is offered; where none has measured anything it
is the table of docs/cards.md that counts, and the offer says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from shared.broker.leased_queues import WorkerSeen
from shared.cards import GPU_CLASSES
from shared.messages import Recipe
from shared.prices import Prices, prices
from shared.settings import CardName, Settings
from shared.units import Effort, Units

PRESUMED_START_S = 60.0
"""Of a process, until one has told."""


@dataclass(frozen=True)
class Estimate:
    """Of one card class that can do the work. Without a measured rate the rest is None."""

    card: str
    workers: int
    """That live and take these jobs."""
    jobs_per_s: float | None
    """Of one busy worker, as measured by itself over the last ten minutes."""
    eta_s: float | None
    """With these workers, if they do nothing else."""
    usd: float | None
    """For the whole work, on this class alone."""


def estimates(jobs: int, workers: list[WorkerSeen], priced: Prices) -> list[Estimate]:
    """One for each class of the workers that take these jobs."""
    found = []
    for card in (*GPU_CLASSES, "cpu"):
        serving = [worker.about for worker in workers if worker.about.get("card") == card]
        if not serving:
            continue
        rates = [about["jobs_per_busy_s"] for about in serving if about.get("jobs_per_busy_s")]
        if not rates:
            found.append(Estimate(card, len(serving), None, None, None))
            continue
        rate = median(rates)
        price = priced.usd_per_hour.get(card)
        found.append(
            Estimate(
                card,
                len(serving),
                rate,
                round(jobs / (rate * len(serving)), 1),
                None if price is None else round(jobs / rate / 3600 * price, 2),
            )
        )
    return found


@dataclass(frozen=True)
class Offer:
    """What the whole work takes on one class, with as many workers as a deadline wants."""

    card: CardName
    workers: int | None
    """To be done in time; None: no number is enough. Without a deadline it is one."""
    jobs_per_s: float
    """Of one worker."""
    measured: bool
    """By workers that live; else it is the table of docs/cards.md."""
    start_s: float
    """Until such a worker does its first job."""
    takes_s: float | None
    usd: float | None
    """With the starts of these workers; None: they have no price."""
    each_usd: float | None
    """For one job alone."""


def offer(
    settings: Settings,
    jobs: int,
    recipe: Recipe,
    card: CardName,
    workers: Sequence[WorkerSeen],
    left_s: float | None,
) -> Offer:
    """Args:
    workers: those that live.
    left_s: until all of it shall be done.
    """
    live = [one.about for one in workers if one.about.get("card") == card]
    units = Units(settings.model)
    weight = units.of(Effort.of(recipe), card)
    rates, starts = _told(live, "units_per_full_s"), _told(live, "cold_start_s")
    rate = (median(rates) if rates else units.rate(card)) / weight
    start_s = settings.machine_start_s + (median(starts) if starts else PRESUMED_START_S)
    wanted = 1 if left_s is None else workers_for(jobs, left_s, rate, start_s)
    price = prices(settings).usd_per_hour.get(card)
    each_usd = None if price is None else price / 3600 / rate
    takes_s = usd = None
    if wanted is not None:
        takes_s = start_s + jobs / rate / max(wanted, 1)
        usd = None if price is None else (jobs / rate + wanted * start_s) * price / 3600
    return Offer(card, wanted, rate, bool(rates), start_s, takes_s, usd, each_usd)


def offers(
    settings: Settings,
    jobs: int,
    recipe: Recipe,
    least: CardName,
    workers: Sequence[WorkerSeen],
    left_s: float | None,
) -> list[Offer]:
    """Of each class that may do it and that there are workers of, or can be (JAMAK_SCALE_CLASSES);
    the cheapest first, and what is never done in time last."""
    able = GPU_CLASSES[GPU_CLASSES.index(least) :]
    live = {one.about.get("card") for one in workers}
    there = [card for card in able if card in settings.scale_classes or card in live]
    found = [offer(settings, jobs, recipe, card, workers, left_s) for card in there or (least,)]
    return sorted(found, key=lambda one: (one.workers is None, one.each_usd or math.inf))


def workers_for(jobs: int, left_s: float, jobs_per_s: float, start_s: float) -> int | None:
    """How many must be wanted now, so that so many jobs are done in that time; None: no number
    is enough."""
    works_s = left_s - start_s
    return math.ceil(max(jobs, 0) / jobs_per_s / works_s) if works_s > 0 else None


def _told(live: Sequence[dict[str, Any]], what: str) -> list[float]:
    told = [about.get(what) for about in live]
    return [float(one) for one in told if isinstance(one, int | float) and one > 0]
