"""Where the time of this worker goes: each moment is part of its start, or idle, or belongs to the
jobs in hand. So the parts are as long as the worker lives, whatever becomes of the jobs.

While rows of the engine compute, the moment belongs to the jobs in them, in equal shares: others
wait or fetch meanwhile, and cost nobody anything. Knows nothing of prices and of the bucket.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from shared.bucket.ledgers import How, Spent
from shared.tenants import OTHER, Tenants
from workers.progress import Progress

COMPUTES = ("prefill", "generate")
"""The stages of a job that has a row of the engine."""
KEPT: tuple[How, ...] = ("captions", "parts", "training")


class Account:
    """Of one job in hand. Its task says whose it is and, in time, what became of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds = 0.0
        self.tenant, self.adapter, self.backlog = OTHER, "", ""
        self.how: How = "handed_back"

    def wasted(self, how: How) -> None:
        """Nothing came of it, unless something is kept that was written before."""
        if self.how not in KEPT:
            self.how = how

    @property
    def computes(self) -> bool:
        return self._progress.stage in COMPUTES

    def spent(self, how: How) -> Spent:
        return Spent(
            tenant=self.tenant,
            adapter=self.adapter,
            backlog=self.backlog,
            how=how,
            jobs=1,
            seconds=self.seconds,
        )


@dataclass(frozen=True)
class Told:
    """Since the page began."""

    alive_s: float
    cold_start_s: float
    idle_s: float
    spent: tuple[Spent, ...]


class _Key(NamedTuple):
    tenant: str
    adapter: str
    backlog: str
    how: How


Sums = dict[_Key, tuple[int, float]]
"""How many jobs, and the seconds that they took."""


class Spending:
    """Thread-safe.

    Args:
        began: when this process started, by the clock.
    """

    def __init__(
        self,
        tenants: Tenants | None = None,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants, self._clock = tenants or Tenants({}), clock
        self._lock = threading.Lock()
        self._open: dict[int, Account] = {}
        self._starting = True
        self._turn_page(clock() if began is None else began)

    def _turn_page(self, now: float) -> None:
        self._page_began = self._since = now
        self._cold_start_s = self._idle_s = 0.0
        self._spent: Sums = {}

    def ready(self) -> None:
        """It takes work from now on."""
        with self._lock:
            self._look()
            self._starting = False

    def open(self, progress: Progress) -> Account:
        """A job is in hand."""
        account = Account(progress)
        with self._lock:
            self._look()
            self._starting = False
            self._open[id(account)] = account
        progress.before_stage = self.look
        return account

    def name(self, account: Account, uri: str, backlog: str) -> None:
        """Whose the job is: by what it is about, and in which backlog it stands."""
        account.tenant, account.backlog = self._tenants.of(uri), backlog

    def close(self, account: Account) -> None:
        """It is not any more."""
        with self._lock:
            self._look()
            if self._open.pop(id(account), None) is not None:
                _add(self._spent, account.spent(account.how))

    def look(self) -> None:
        """Whose the time was that has passed so far; before a job computes, or does no longer."""
        with self._lock:
            self._look()

    def read(self, *, turning: bool = False) -> Told:
        """What there is on the page.

        Args:
            turning: the page ends here, and the next one begins.
        """
        with self._lock:
            self._look()
            spent = dict(self._spent)
            for account in self._open.values():
                _add(spent, account.spent("in_hand"))
            told = self._told(spent)
            if turning:
                self._turn_page(self._since)
                for account in self._open.values():
                    account.seconds = 0.0
            return told

    def end(self) -> Told:
        """Everything in hand is given back, and nothing is counted any more."""
        with self._lock:
            self._look()
            while self._open:
                _, account = self._open.popitem()
                _add(self._spent, account.spent(account.how))
            return self._told(self._spent)

    def _told(self, spent: Sums) -> Told:
        lines = [
            Spent(**key._asdict(), jobs=jobs, seconds=seconds)
            for key, (jobs, seconds) in sorted(spent.items())
        ]
        alive_s = self._since - self._page_began
        return Told(alive_s, self._cold_start_s, self._idle_s, tuple(lines))

    def _look(self) -> None:
        now = self._clock()
        passed_s, self._since = now - self._since, now
        if self._starting:
            self._cold_start_s += passed_s
        elif not self._open:
            self._idle_s += passed_s
        else:
            in_hand = self._open.values()
            sharing = [one for one in in_hand if one.computes] or list(in_hand)
            for account in sharing:
                account.seconds += passed_s / len(sharing)


def _add(sums: Sums, one: Spent) -> None:
    key = _Key(one.tenant, one.adapter, one.backlog, one.how)
    jobs, seconds = sums.get(key, (0, 0.0))
    sums[key] = jobs + one.jobs, seconds + one.seconds
