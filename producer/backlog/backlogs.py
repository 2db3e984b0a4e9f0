"""What an operator does with backlogs: plan one, see how it goes, pause it, cancel it.

Scanning is in `scan.py`, feeding in `feeder.py`, finding what is missing in `reconcile.py`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from producer.backlog.estimate import Estimate, estimates, prices
from producer.backlog.manifest import SHARD_LINES, Backlog, State
from producer.backlog.sources import open_source
from producer.jobs.examine import examine
from producer.jobs.in_flight import withdraw
from producer.jobs.send import queue_of
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import NOWHERE, BacklogProgress
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.storage import ObjectStore
from shared.messages import Recipe, Video
from shared.settings import CardName, Settings


@dataclass
class Plan:
    """What a backlog would come to."""

    source: str
    queue: str
    recipe: str
    videos: int = 0
    size_bytes: int = 0
    captioned: int = 0
    """By this recipe."""
    failed: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    classes: list[Estimate] = field(default_factory=list)
    """Those that serve the queue now."""
    prices: str = ""

    @property
    def left(self) -> int:
        return self.videos - self.captioned - sum(self.failed.values())


def plan(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    source: str,
    recipe: Recipe,
    card: CardName,
    on_videos: Callable[[int], None] = lambda count: None,
) -> Plan:
    """Look at everything, change nothing."""
    told = Plan(source, queue_of(card, bulk=True), recipe.id)
    failed: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    entries = open_source(source, store, settings).entries()
    while some := list(islice(entries, SHARD_LINES)):
        skipped.update(entry.skipped for entry in some if not entry.video)
        videos: list[Video] = [entry.video for entry in some if entry.video]
        found = examine(store, settings, recipe, videos)
        told.videos += len(videos)
        told.size_bytes += sum(video.size_bytes for video in videos)
        told.captioned += len(found.done)
        failed.update({reason: len(indexes) for reason, indexes in found.failed.items()})
        on_videos(len(some))
    told.failed, told.skipped = dict(failed), dict(skipped)
    priced = prices()
    with reaching_redis():
        told.classes = estimates(told.left, told.queue, queues.workers(), priced)
    told.prices = f"{priced.source}, {priced.date}"
    return told


def read_backlog(
    store: ObjectStore, settings: Settings, queues: LeasedQueues, name: str
) -> dict[str, Any]:
    """How a backlog goes, from two small objects and from Redis; nothing is listed.

    Returns:
        `{name, source, state, videos, size_bytes, skipped, fed, done, failed: {reason: count},
        left, per_minute, eta_s, queue, recipe, created_at}`; `eta_s` is None without a rate.
    """
    backlog = Backlog(store, settings, name)
    manifest, _ = backlog.manifest()
    cursor, _ = backlog.cursor()
    progress = BacklogProgress(queues, name)
    with reaching_redis():
        counts, fed = progress.counts(), progress.fed()
    if fed in (None, NOWHERE):
        fed = cursor.fed
    left = manifest.lines - counts.ended
    state: str = cursor.state
    if state == "running" and not manifest.scanned:
        state = "scanning"
    elif state == "running" and left <= 0:
        state = "done"
    return {
        "name": name,
        "source": manifest.source,
        "state": state,
        "videos": manifest.lines,
        "size_bytes": manifest.size_bytes,
        "skipped": manifest.skipped,
        "fed": fed,
        "done": counts.done,
        "failed": counts.failed,
        "left": left,
        "per_minute": round(counts.per_minute, 1),
        "eta_s": round(60 * left / counts.per_minute) if counts.per_minute else None,
        "queue": queue_of(manifest.card, bulk=True),
        "recipe": manifest.recipe.id,
        "created_at": manifest.created_at.isoformat(),
    }


def turn(store: ObjectStore, settings: Settings, name: str, state: State) -> None:
    """Raises UsageError: there is no such backlog, or it was cancelled."""
    backlog = Backlog(store, settings, name)
    backlog.manifest()
    backlog.turn(state)


def cancel(store: ObjectStore, settings: Settings, queues: LeasedQueues, name: str) -> int:
    """Remove from the queues what waits, leave what runs; how many jobs were removed."""
    progress = BacklogProgress(queues, name)
    turn(store, settings, name, "cancelled")
    with reaching_redis():
        fed = progress.fed()
        progress.stop()  # no feeder puts anything any more, from here on
    if fed not in (None, NOWHERE):
        Backlog(store, settings, name).advance(fed)
    return withdraw(queues, name)


def as_dict(told: Plan) -> dict[str, Any]:
    return {**asdict(told), "left": told.left}
