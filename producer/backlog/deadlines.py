"""What of backlogs with a deadline is in no queue yet, for whoever scales workers.

Asked again and again, so little is read each time: the cursors of the backlogs that run. Knows
nothing of how many workers are wanted.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from producer.backlog.budgets import affordable
from producer.backlog.manifest import Backlog, Cursor, backlog_names
from producer.backlog.terms import utc_now
from producer.jobs.send import queue_of
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import NOWHERE, fed_of
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.bucket.storage import ObjectStore
from shared.errors import NewerObject, Reject, UsageError
from shared.messages import Recipe
from shared.settings import Settings

READS_AT_ONCE = 16
UNTOLD = (UsageError, Reject, NewerObject)
"""Deleted meanwhile, just being made, or not to be read."""


@dataclass(frozen=True)
class Unfed:
    """What of a backlog with a deadline is in no queue yet."""

    queue: str
    recipe: Recipe
    lines: int
    """Of a budget those that its rest pays for: no others are fed."""
    left_s: float
    """Until it shall be captioned; below 0: it is late."""


class Deadlines:
    """For one process. Not thread-safe.

    Args:
        now: with a zone.
    """

    FIND_S = 30.0
    """How soon a new backlog is noticed."""
    AGAIN_S = 300.0
    """How soon it is noticed that one is due that was not: it was resumed, or got a deadline."""

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        queues: LeasedQueues,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._settings, self._queues, self._now = store, settings, queues, now
        self._found_at = float("-inf")
        self._names: list[str] = []
        """Of backlogs that run and have a deadline."""
        self._others: dict[str, float] = {}
        """Name -> when it was seen that it is no such one. There may be thousands."""

    def unfed(self) -> list[Unfed]:
        """Of all that can be read; the feeder says what cannot.

        Raises:
            StoreUnavailable, BrokerUnavailable: that is not known now.
        """
        now = time.monotonic()
        names, finding = self._names, now - self._found_at > self.FIND_S
        if finding:
            there = list(backlog_names(self._store, self._settings))
            self._others = {name: self._others.get(name, float("-inf")) for name in there}
            names = [name for name in there if now - self._others[name] > self.AGAIN_S]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="deadlines") as pool:
            cursors = list(pool.map(self._read, names))
        self._found_at = now if finding else self._found_at
        due = {
            name: cursor
            for name, cursor in zip(names, cursors, strict=True)
            if cursor and cursor.state == "running" and cursor.terms and cursor.terms.by
        }
        others = {name for name, cursor in zip(names, cursors, strict=True) if cursor} - due.keys()
        self._names = list(due)
        self._others |= dict.fromkeys(others, now)
        with reaching_redis():
            fed = fed_of(self._queues, self._names)
            money = any(cursor.terms and cursor.terms.budget_usd for cursor in due.values())
            workers = self._queues.workers() if money else []
        found = [
            self._unfed(name, cursor, so_far, workers)
            for (name, cursor), so_far in zip(due.items(), fed, strict=True)
        ]
        return [one for one in found if one and one.lines > 0]

    def _read(self, name: str) -> Cursor | None:
        try:
            return Backlog(self._store, self._settings, name).cursor()[0]
        except UNTOLD:
            return None

    def _unfed(
        self, name: str, cursor: Cursor, fed: int | None, workers: Sequence[WorkerSeen]
    ) -> Unfed | None:
        assert cursor.terms is not None
        assert cursor.terms.by is not None
        try:
            manifest, _ = Backlog(self._store, self._settings, name).manifest()
        except UNTOLD:
            return None
        so_far = cursor.fed if fed in (None, NOWHERE) else fed
        left_s = (cursor.terms.by - self._now()).total_seconds()
        queue = queue_of(manifest.card, bulk=True)
        lines = manifest.lines - so_far
        paid_for = affordable(self._settings, manifest, cursor, so_far, workers)
        lines = lines if paid_for is None else min(lines, max(paid_for, 0))
        return Unfed(queue, manifest.recipe, lines, left_s)
