"""How much of a backlog may be fed for the money that is left, by what the workers' pages say.

Pages come a minute late, and some workers write none. So each line that is fed and is on no page as
paid counts as spent, at what a job has cost so far. A budget that is used up pauses its backlog.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from producer.backlog.estimate import offer
from producer.backlog.feeder import Feed
from producer.backlog.manifest import Cursor, Manifest
from producer.backlog.terms import SpentSoFar, Sums, utc_now
from producer.costs.pages import Pages
from shared.broker.leased_queues import WorkerSeen
from shared.bucket.storage import ObjectStore
from shared.errors import BrokerUnavailable, JamakError
from shared.settings import Settings

SURE = 5
"""Captions, until what a job costs is known."""
TRIED = 10
"""Until then no more than this part of the budget is on its way."""


def is_sure(spent: SpentSoFar | None) -> bool:
    return spent is not None and spent.captions >= SURE and spent.each_usd is not None


def affordable(
    settings: Settings, manifest: Manifest, cursor: Cursor, fed: int, workers: Sequence[WorkerSeen]
) -> int | None:
    """How many more jobs the rest of its budget pays for, below 0 if it pays not even for those
    that are fed; None: it has no budget, or nobody has said what its class costs.

    Args:
        fed: how far it is.
        workers: those that live.
    """
    terms, spent = cursor.terms, cursor.spent
    if terms is None or terms.budget_usd is None:
        return None
    each_usd = spent.each_usd if spent else None
    if not is_sure(spent):
        one = offer(settings, 1, manifest.recipe, manifest.card, workers, None)
        each_usd = max(each_usd or 0.0, one.each_usd or 0.0)
    if not each_usd:
        return None
    left_usd = terms.budget_usd - (spent.usd if spent else 0.0)
    return math.floor(left_usd / each_usd) - cursor.unpaid(fed)


class Budgets:
    """For one process. Not thread-safe.

    Args:
        unread: told why a page cannot be read, so that what it says is in no sum; and why none
            can, once until it can again.
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
        self._seen: dict[str, tuple[object, float]] = {}
        """What was seen of a backlog last, and since when it is so."""
        self._workers: list[WorkerSeen] = []
        """That live."""
        self._blind: dict[str, str] = {}
        """Of which it cannot be read what they cost, and why."""
        self._untold: set[str] = set()
        """No page tells of the jobs that were to show what one costs."""

    def allow(self, feed: Feed, room: int) -> int:
        """How many of `room` jobs may be fed now; it is paused where none ever may. None may while
        what was spent is not known: the other backlogs go on.

        Raises:
            BrokerUnavailable: nothing can be fed.
        """
        terms = feed.cursor.terms
        if terms is None or terms.budget_usd is None:
            return room
        try:
            self._look(feed)
            return self._paid_for(feed, room)
        except BrokerUnavailable:
            raise
        except JamakError as error:
            self._go_blind(feed, error)
            return 0

    def settle(self, feed: Feed) -> bool:
        """Of one that is fed: sum up what it has cost so far; True: nothing more will come.

        Raises:
            BrokerUnavailable: that is not known.
        """
        terms = feed.cursor.terms
        if terms is None or terms.budget_usd is None or feed.cursor.state == "cancelled":
            return True
        try:
            return self._look(feed) and self._is_still(feed)
        except BrokerUnavailable:
            raise
        except JamakError as error:
            self._go_blind(feed, error)
            return False

    def _paid_for(self, feed: Feed, room: int) -> int:
        """As `allow`, by what was seen last."""
        if feed.name in self._blind or feed.cursor.spent is None or feed.cursor.terms is None:
            return 0
        spent, fed = feed.cursor.spent, feed.fed - feed.free
        left = affordable(self._settings, feed.manifest, feed.cursor, fed, self._workers)
        if left is None:
            return room
        allowed, unpaid = left, feed.cursor.unpaid(fed)
        if not is_sure(spent) and feed.name not in self._untold:
            allowed = min(left, max(1, (left + unpaid) // TRIED) - unpaid)
        if allowed >= 1:
            return min(room, allowed)
        if not unpaid or self._is_still(feed):
            if left >= 1:
                self._untold.add(feed.name)
            else:
                feed.cursor = feed.backlog.run_out(feed.cursor.terms)
        return 0

    def _is_still(self, feed: Feed) -> bool:
        """For a while nothing of it has changed, and nothing of it is in flight."""
        now, seen = time.monotonic(), (feed.fed, feed.ended(), feed.cursor.spent)
        before, since = self._seen.get(feed.name, (None, now))
        if seen != before:
            self._seen[feed.name] = seen, now
            return False
        if now - since <= self.SETTLED_S:
            return False
        if feed.in_flight():
            self._seen[feed.name] = seen, now
            return False
        return True

    def _look(self, feed: Feed) -> bool:
        """At what was spent, unless that was just done."""
        if time.monotonic() - self._looked_at.get(feed.name, float("-inf")) < self.LOOK_S:
            return False
        self._looked_at[feed.name] = time.monotonic()
        spent, self._workers = self._spent(feed), feed.workers()
        if feed.cursor.spent is None:
            feed.free = 0  # it is among them
        feed.cursor = feed.backlog.spend(spent)
        self._blind.pop(feed.name, None)
        return True

    def _go_blind(self, feed: Feed, error: JamakError) -> None:
        if self._blind.get(feed.name) != error.reason:
            self._unread(error)
        self._blind[feed.name] = error.reason
        with suppress(JamakError):  # `status` says why nothing of it is fed
            feed.cursor = feed.backlog.go_blind()

    def _spent(self, feed: Feed) -> SpentSoFar:
        usd, ended = 0.0, {"captions": 0, "failures": 0, "duplicates": 0}
        for page in self._pages.read(feed.manifest.created_at.date(), self._unread):
            for one in page.spent:
                if one.backlog == feed.name:
                    usd += page.usd(one.seconds)
                    if one.how in ended:
                        ended[one.how] += one.jobs
        sums, before = Sums(usd=usd, **ended), feed.cursor.spent
        earlier = before.earlier if before else Sums() if feed.fed else sums
        told = SpentSoFar(**sums.since(earlier).model_dump(), at=utc_now(), earlier=earlier)
        if before is None:
            # What ended before anybody summed up, and is on no page, is not to be paid for.
            free = max(0, feed.ended() - told.jobs - told.duplicates)
            return told.model_copy(update={"free": free})
        return told
