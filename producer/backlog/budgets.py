"""How much of a backlog may be fed for the money that is left, by what the workers' pages say.

What was spent is known a minute late, so what is on its way counts as spent, too: a job is thought
to cost what those before it did. A budget that is used up pauses its backlog.
"""

import math
import time
from collections.abc import Callable, Collection

from producer.backlog.estimate import offer
from producer.backlog.feeder import Feed
from producer.backlog.terms import SpentSoFar, utc_now
from producer.costs.pages import Pages
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError
from shared.settings import Settings

PAID: Collection[str] = ("captions", "failures")
"""What ends a job of a backlog."""


class Budgets:
    """For one process. Not thread-safe.

    Args:
        unread: told why a page cannot be read: what it says is in no sum.
    """

    LOOK_S = 20.0
    """At what was spent."""
    SETTLED_S = 120.0
    """So long after its last job the workers have written what it cost."""

    def __init__(
        self, store: ObjectStore, settings: Settings, unread: Callable[[JamakError], None]
    ) -> None:
        self._pages, self._settings, self._unread = Pages(store, settings), settings, unread
        self._looked_at: dict[str, float] = {}
        self._over_since: dict[str, float] = {}

    def allow(self, feed: Feed, room: int) -> int:
        """How many of `room` jobs may be fed now; it is paused where none ever may.

        Raises:
            StoreUnavailable: what was spent is not known.
        """
        terms = feed.cursor.terms
        if terms is None or terms.budget_usd is None:
            return room
        self._look(feed)
        spent = feed.cursor.spent
        each_usd = (spent and spent.each_usd) or self._presumed_usd(feed)
        if not each_usd:  # nobody has said what such a card costs
            return room
        on_their_way = feed.on_their_way()
        left_usd = terms.budget_usd - (spent.usd if spent else 0.0)
        allowed = math.floor(left_usd / each_usd) - on_their_way
        if allowed < 1 and not on_their_way:
            feed.cursor = feed.backlog.run_out()
        return min(room, max(allowed, 0))

    def settle(self, feed: Feed) -> bool:
        """Of one that is fed: sum up what it has cost so far; True: nothing more will come."""
        terms = feed.cursor.terms
        if terms is None or terms.budget_usd is None or feed.cursor.state == "cancelled":
            return True
        if not self._look(feed):
            return False
        if feed.on_their_way():
            self._over_since.pop(feed.name, None)
            return False
        since = self._over_since.setdefault(feed.name, time.monotonic())
        return time.monotonic() - since > self.SETTLED_S

    def _look(self, feed: Feed) -> bool:
        """At what was spent, unless that was just done."""
        if time.monotonic() - self._looked_at.get(feed.name, float("-inf")) < self.LOOK_S:
            return False
        feed.cursor = feed.backlog.spend(self._spent(feed))
        self._looked_at[feed.name] = time.monotonic()
        return True

    def _presumed_usd(self, feed: Feed) -> float | None:
        """Before any job was paid for."""
        manifest = feed.manifest
        return offer(self._settings, 1, manifest.recipe, manifest.card, (), None).each_usd

    def _spent(self, feed: Feed) -> SpentSoFar:
        usd, jobs = 0.0, 0
        for page in self._pages.read(feed.manifest.created_at.date(), self._unread):
            for one in page.spent:
                if one.backlog == feed.name:
                    usd += page.usd(one.seconds)
                    jobs += one.jobs if one.how in PAID else 0
        before = feed.cursor.spent
        if before is None and not feed.fed:
            return SpentSoFar(usd=0, jobs=0, at=utc_now(), earlier_usd=usd, earlier_jobs=jobs)
        earlier_usd, earlier_jobs = (before.earlier_usd, before.earlier_jobs) if before else (0, 0)
        return SpentSoFar(
            usd=max(0, usd - earlier_usd),
            jobs=max(0, jobs - earlier_jobs),
            at=utc_now(),
            earlier_usd=earlier_usd,
            earlier_jobs=earlier_jobs,
        )
