"""Whether a backlog will be done in time and within its budget, and what to do if not. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from producer.backlog.estimate import Offer, workers_for
from producer.backlog.terms import SpentSoFar, Terms, shown

FAR = timedelta(days=365 * 1000)
"""What ends later has no date."""


@dataclass(frozen=True)
class Outlook:
    """None: that cannot be said yet, or was not asked."""

    ends_at: datetime | None = None
    """At the rate of the last minutes."""
    in_time: bool | None = None
    workers: int | None = None
    """That it takes from now on to be done in time, those that run among them."""
    usd: float | None = None
    """What all of it will have cost."""
    in_budget: bool | None = None
    advice: tuple[str, ...] = ()


def outlook(
    terms: Terms,
    spent: SpentSoFar | None,
    left: int,
    per_minute: float,
    serving: int,
    one: Offer,
    now: datetime,
) -> Outlook:
    """Args:
    left: jobs that have not ended.
    per_minute: jobs that ended lately.
    serving: workers that take them now.
    one: of its class.
    """
    ends_at = None
    if per_minute:
        ends_at = now + timedelta(minutes=min(left / per_minute, FAR / timedelta(minutes=1)))
    in_time, workers, how = _time(terms, left, ends_at, serving, one, now)
    each_usd = (spent and spent.each_usd) or one.each_usd
    before_usd = spent.usd if spent else 0.0
    usd = None if each_usd is None else before_usd + left * each_usd
    advice = [how] if how else []
    in_budget = None
    if terms.budget_usd is not None and usd is not None:
        in_budget = usd <= terms.budget_usd
        if not in_budget:
            advice.append(_too_dear(usd, terms.budget_usd))
    known = ends_at if ends_at and ends_at - now < FAR else None
    return Outlook(known, in_time, workers, usd, in_budget, tuple(advice))


def _time(
    terms: Terms, left: int, ends_at: datetime | None, serving: int, one: Offer, now: datetime
) -> tuple[bool | None, int | None, str]:
    """Whether it is done in time, with how many workers, and what to do about it."""
    if terms.by is None:
        return None, None, ""
    if not left:
        return True, 0, ""
    left_s = (terms.by - now).total_seconds()
    if left_s <= 0:
        return False, None, _too_late(terms.by)
    # Those that serve it have started already.
    start_s = 0.0 if serving else one.start_s
    workers = workers_for(left, left_s, one.jobs_per_s, start_s)
    if ends_at is not None and ends_at <= terms.by:
        return True, workers, ""
    if ends_at is None and workers is not None:
        return None, workers, _how_in_time(workers, serving, one) if workers > serving else ""
    return False, workers, _how_in_time(workers, serving, one)


def _too_late(by: datetime) -> str:
    return f"it is late: {shown(by)} has passed"


def _how_in_time(workers: int | None, serving: int, one: Offer) -> str:
    if workers is None:
        return "no number of workers is enough: the time is over before they have started"
    return f"in time it takes {workers:,} × {one.card}, and {serving:,} workers take it now"


def _too_dear(usd: float, budget_usd: float) -> str:
    return f"all of it would cost ${usd:,.2f}, and it pauses when ${budget_usd:,.2f} are used"
