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


class Sums(Message):
    """Of the workers' own pages."""

    usd: Annotated[float, Field(ge=0)] = 0.0
    captions: Count = 0
    failures: Count = 0
    duplicates: Count = 0
    """Somebody else had written the caption."""

    def since(self, earlier: "Sums") -> "Sums":
        return Sums(
            usd=max(0.0, self.usd - earlier.usd),
            captions=max(0, self.captions - earlier.captions),
            failures=max(0, self.failures - earlier.failures),
            duplicates=max(0, self.duplicates - earlier.duplicates),
        )


class SpentSoFar(Sums):
    """On the jobs of a backlog."""

    at: datetime
    """When that was summed up and had changed."""
    earlier: Sums = Sums()
    """Not among these: what was spent before under this name, by a backlog that was deleted."""
    free: Count = 0
    """Lines that had ended before they were fed."""

    @property
    def jobs(self) -> int:
        """That ended for it."""
        return self.captions + self.failures

    @property
    def each_usd(self) -> float | None:
        """For one job, with all that was wasted on it."""
        return self.usd / self.jobs if self.jobs and self.usd else None

    def unpaid(self, fed: int) -> int:
        """How many of the jobs that are fed no page tells of: they wait, run, ended just now or
        with a worker that writes no pages, or were lost with Redis."""
        return max(0, fed - self.free - self.jobs - self.duplicates)


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
        return _next(int(clock[1]), int(clock[2]), now)
    try:
        if not re.search(r"[T ]\d", text):
            raise ValueError
        at = datetime.fromisoformat(text)
        at = at.astimezone() if at.tzinfo is None else at
        at.astimezone(UTC) + timedelta(days=1)  # the last day of all is not in every zone
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--by: {text!r} is no time",
            cure="Write 08:00, 2026-11-30T08:00, or with a zone 2026-11-30T08:00+09:00.",
        ) from error
    if at <= now:
        raise UsageError(f"--by: {shown(at)} has passed", cure="Name a time to come.")
    return at


def _next(hour: int, minute: int, now: datetime) -> datetime:
    """When the clock here shows that next. Where clocks change it shows one time twice on one day,
    and another one not at all."""
    today = now.astimezone().replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    shows = (today + timedelta(days=days) for days in range(3))
    found = ((one, one.replace(fold=fold).astimezone()) for one in shows for fold in (0, 1))
    return min(at for one, at in found if at > now and at.replace(tzinfo=None) == one)


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
