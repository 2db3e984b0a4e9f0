"""Pages become a bill: what captions cost, what was wasted, idle time and cold starts; their sum is
what the workers cost while they lived. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.bucket.ledgers import WASTE, Ledger, Spent

By = Literal["tenant", "class", "adapter", "backlog"]
MOST_OFF = 0.001
"""By how much the parts of a page may differ from its worker's life."""
SILENT_PERIODS, SILENT_S = 2, 60.0
"""Whose page was not written for so many of its periods and so many seconds was killed."""
IDLE, COLD_START = "idle", "cold_start"


@dataclass
class Amount:
    seconds: float = 0.0
    usd: float = 0.0
    jobs: int = 0

    def add(self, page: Ledger, seconds: float, jobs: int = 0) -> None:
        self.seconds += seconds
        self.usd += page.usd(seconds)
        self.jobs += jobs

    def take(self, other: "Amount", share: float) -> None:
        self.seconds += other.seconds * share
        self.usd += other.usd * share


@dataclass
class Group:
    """A tenant, a class, an adapter or a backlog."""

    name: str
    useful: Amount = field(default_factory=Amount)
    """Captions and parts of them, training, and what is in hand."""
    captions: int = 0
    wasted: Amount = field(default_factory=Amount)
    """Nothing came of it."""
    shared: Amount = field(default_factory=Amount)
    """Of the idle time and the cold starts of each class of card its share, by what it used."""

    @property
    def usd(self) -> float:
        return self.useful.usd + self.wasted.usd + self.shared.usd

    @property
    def seconds(self) -> float:
        return self.useful.seconds + self.wasted.seconds + self.shared.seconds


@dataclass
class Bill:
    by: By
    pages: int = 0
    until: datetime | None = None
    """When the last page was written."""
    whole: Amount = field(default_factory=Amount)
    """While the workers lived: measured apart from the parts."""
    parts: dict[str, Amount] = field(default_factory=dict)
    """What became of it: `captions`, ..., `idle`, `cold_start`."""
    groups: list[Group] = field(default_factory=list)
    nobodys: Amount = field(default_factory=Amount)
    """Idle time and cold starts of classes of which nobody used anything."""
    prices: dict[str, str] = field(default_factory=dict)
    """Class and dollars -> where that price is from."""
    unpriced_s: float = 0.0
    killed: int = 0
    """Pages whose worker said no goodbye."""
    unaccounted: Amount = field(default_factory=Amount)
    """The most that those spent after they wrote last."""
    wrong: list[str] = field(default_factory=list)
    """Workers whose parts do not sum up."""

    def part(self, what: str) -> Amount:
        return self.parts.setdefault(what, Amount())

    @property
    def off(self) -> float:
        """By how much the sum of the parts differs from the whole."""
        together = sum(one.seconds for one in self.parts.values())
        return abs(together - self.whole.seconds) / self.whole.seconds if self.whole.seconds else 0


def bill(pages: Iterable[Ledger], by: By, now: datetime) -> Bill:
    told, shares = Bill(by), _Shares()
    groups: dict[str, Group] = {}
    for page in pages:
        killed = _was_killed(page, now)
        _count(told, page, killed)
        for what, seconds in ((IDLE, page.idle_s), (COLD_START, page.cold_start_s)):
            told.part(what).add(page, seconds)
            shares.idle[page.card].add(page, seconds)
        for one in page.spent:
            how = "lost" if killed and one.how == "in_hand" else one.how
            name = _name(page, one, by)
            group = groups.setdefault(name, Group(name))
            told.part(how).add(page, one.seconds, one.jobs)
            (group.wasted if how in WASTE else group.useful).add(page, one.seconds, one.jobs)
            group.captions += one.jobs if how == "captions" else 0
            shares.used[page.card][name] += one.seconds
    if by == "class":  # idle time is a class's own, also of one that nobody used
        for card, idle in shares.idle.items():
            groups.setdefault(card, Group(card)).shared.take(idle, 1.0)
    else:
        shares.give(groups, told.nobodys)
    told.groups = sorted(groups.values(), key=lambda one: (-one.usd, -one.seconds, one.name))
    return told


class _Shares:
    """Of idle time and cold starts: each class's go to those who used it."""

    def __init__(self) -> None:
        self.idle: defaultdict[str, Amount] = defaultdict(Amount)
        self.used: defaultdict[str, defaultdict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        """Class -> group -> seconds."""

    def give(self, groups: Mapping[str, Group], nobodys: Amount) -> None:
        for card, idle in self.idle.items():
            together = sum(self.used[card].values())
            if not together:
                nobodys.take(idle, 1.0)
            for name, seconds in self.used[card].items():
                if together:
                    groups[name].shared.take(idle, seconds / together)


def _count(told: Bill, page: Ledger, killed: bool) -> None:
    told.pages += 1
    told.until = max(page.written_at, told.until or page.written_at)
    told.whole.add(page, page.alive_s)
    if abs(page.accounted_s - page.alive_s) > MOST_OFF * page.alive_s:
        told.wrong.append(page.worker)
    if page.usd_per_hour is None:
        told.unpriced_s += page.alive_s
    else:
        told.prices[f"{page.card} ${page.usd_per_hour:g}"] = page.price
    if killed:
        told.killed += 1
        told.unaccounted.add(page, page.every_s)


def _was_killed(page: Ledger, now: datetime) -> bool:
    silent = timedelta(seconds=SILENT_PERIODS * page.every_s + SILENT_S)
    return not page.closed and now - page.written_at > silent


def _name(page: Ledger, one: Spent, by: By) -> str:
    if by == "class":
        return page.card
    return {"tenant": one.tenant, "adapter": one.adapter, "backlog": one.backlog}[by]


def as_dict(told: Bill) -> dict[str, Any]:
    groups = [{**asdict(one), "usd": one.usd, "seconds": one.seconds} for one in told.groups]
    until = told.until.isoformat() if told.until else None
    return {**asdict(told), "until": until, "groups": groups, "off": told.off}
