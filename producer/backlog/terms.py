"""By when a backlog shall be captioned, and for how much: as it is typed, and as it is kept.

Pure: knows nothing of the bucket and of Redis.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from shared.errors import UsageError
from shared.messages import Count, Message

NONE = "none"
"""As an option it takes a term away."""


class Terms(Message):
    by: datetime | None = None
    budget_usd: Annotated[float, Field(gt=0)] | None = None

    def __bool__(self) -> bool:
        return self.by is not None or self.budget_usd is not None


class SpentSoFar(Message):
    """On the jobs of a backlog, by the workers' own pages."""

    usd: Annotated[float, Field(ge=0)]
    jobs: Count
    """That ended for it: with a caption or a failure."""
    at: datetime
    """When it was summed up."""
    earlier_usd: Annotated[float, Field(ge=0)] = 0.0
    """Not among these: what was spent before under this name, by a backlog that was deleted."""
    earlier_jobs: Count = 0

    @property
    def each_usd(self) -> float | None:
        """For one job, with all that was wasted on it."""
        return self.usd / self.jobs if self.jobs and self.usd else None


def parse_by(text: str, now: datetime) -> datetime:
    """`08:00` is the next time that the clock here shows that; else a date with a time, of the
    zone that it names or of the one here.

    Args:
        now: with a zone.

    Raises:
        UsageError: it is no time, or it has passed.
    """
    clock = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text)
    if clock:
        here = now.astimezone().replace(tzinfo=None)
        at = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        # Of each day the zone has its own difference to UTC, so it is added last.
        return (at if at > here else at + timedelta(days=1)).astimezone()
    try:
        if not re.search(r"[T ]\d", text):
            raise ValueError
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--by: {text!r} is no time",
            cure="Write 08:00, 2026-11-30T08:00, or with a zone 2026-11-30T08:00+09:00.",
        ) from error
    at = at.astimezone() if at.tzinfo is None else at
    if at <= now:
        raise UsageError(f"--by: {shown(at)} has passed", cure="Name a time to come.")
    return at


def parse_budget(text: str) -> float:
    """`500usd`, `$500` or `500`. Raises UsageError."""
    amount = re.fullmatch(r"\$?([0-9]{1,9}(?:\.[0-9]{1,6})?)(?:usd)?", text.strip().lower())
    usd = float(amount[1]) if amount else 0.0
    if not usd:
        raise UsageError(
            f"--budget: {text!r} is no amount of money", cure="Write dollars: 500usd, or 0.50usd."
        )
    return usd


def terms_of(
    by: str | None, budget: str | None, now: datetime, before: Terms | None = None
) -> Terms:
    """What is typed, over what held before; `none` takes a term away. Raises UsageError."""
    before = before or Terms()
    return Terms(
        by=before.by if by is None else None if by == NONE else parse_by(by, now),
        budget_usd=before.budget_usd
        if budget is None
        else None
        if budget == NONE
        else parse_budget(budget),
    )


def shown(at: datetime) -> str:
    """With its zone, so that nobody has to guess: `2026-11-30 08:00 +09:00`."""
    zone = at.strftime("%z")
    return f"{at:%Y-%m-%d %H:%M} {zone[:3]}:{zone[3:]}"


def utc_now() -> datetime:
    return datetime.now(UTC)
