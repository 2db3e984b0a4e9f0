"""What an operator does with backlogs: plan one, see how they go, pause, cancel and delete one.

Scanning is in `scan.py`, feeding in `feeder.py`, finding what is missing in `reconcile.py`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from producer.backlog.estimate import Estimate, Offer, estimates, offer, offers
from producer.backlog.manifest import (
    SHARD_LINES,
    Backlog,
    Cursor,
    Manifest,
    State,
    backlog_names,
    no_backlog,
)
from producer.backlog.outlook import outlook
from producer.backlog.sources import open_source
from producer.backlog.terms import Terms, terms_of, utc_now
from producer.jobs.examine import examine
from producer.jobs.in_flight import count_of, withdraw
from producer.jobs.send import queue_of
from producer.jobs.served import Unserved, able, needs_of, why_unserved
from producer.jobs.waits import Wait
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import NOWHERE, BacklogProgress
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError, NewerObject, Reject, UsageError
from shared.messages import Recipe, Video
from shared.prices import prices
from shared.settings import CardName, Settings

OVER = ("done", "cancelled")
READS_AT_ONCE = 16
LOOKED_AT = 200
"""Backlogs, where only the paused ones are wanted."""


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
    """Those that live and take these jobs."""
    unserved: Unserved | None = None
    """Why there are none."""
    prices: str = ""
    terms: Terms = field(default_factory=Terms)
    offers: list[Offer] = field(default_factory=list)
    """Where it has terms: the first is taken."""

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
    terms: Terms | None = None,
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
    priced = prices(settings)
    with reaching_redis():
        workers = queues.workers()
    needs = needs_of(recipe)
    if terms:
        told.terms = terms
        told.offers = offers(settings, told.left, recipe, card, workers, _left_s(terms))
        told.queue = queue_of(told.offers[0].card, bulk=True)
    told.unserved = why_unserved(workers, told.queue, needs)
    told.classes = estimates(told.left, able(workers, told.queue, needs), priced)
    told.prices = f"{priced.source}, {priced.date}"
    return told


def cheapest(
    settings: Settings, queues: LeasedQueues, recipe: Recipe, least: CardName, terms: Terms
) -> CardName:
    """The class for a backlog with terms, before anybody has listed what there is."""
    with reaching_redis():
        workers = queues.workers()
    return offers(settings, 1, recipe, least, workers, _left_s(terms))[0].card


def _left_s(terms: Terms) -> float | None:
    return None if terms.by is None else (terms.by - utc_now()).total_seconds()


def read_backlog(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    name: str,
    workers: Sequence[WorkerSeen] | None = None,
) -> dict[str, Any]:
    """How a backlog goes, from two small objects and from Redis; nothing is listed.

    Args:
        workers: those that live, if that is known.

    Returns:
        `{name, source, state, videos, size_bytes, skipped, fed, done, failed: {reason: count},
        left, per_minute, eta_s, queue, recipe, created_at, why: [{reason, jobs, message}]}`;
        `eta_s` is None without a rate, `why` is what its videos wait for. With a deadline or a
        budget also `{by, budget_usd, spent_usd, ends_at, in_time, workers, usd, in_budget,
        advice: []}`, as `Outlook` has them.
    """
    backlog = Backlog(store, settings, name)
    manifest, _ = backlog.manifest()
    cursor, _ = backlog.cursor()
    progress = BacklogProgress(queues, name)
    with reaching_redis():
        counts, fed = progress.counts(), progress.fed()
        workers = queues.workers() if workers is None else workers
    if fed in (None, NOWHERE):
        fed = cursor.fed
    left = manifest.lines - counts.ended
    state: str = cursor.state
    if state == "running" and not manifest.scanned:
        state = "scanning"
    elif state == "running" and left <= 0:
        state = "done"
    queue = queue_of(manifest.card, bulk=True)
    waits = []
    if state == "paused":
        waits.append(_paused(name, manifest.lines - fed, cursor, fed))
    if state not in OVER:
        unserved = why_unserved(workers, queue, needs_of(manifest.recipe))
        if unserved:
            waits.append(Wait(unserved.reason, left, unserved.message))
    if state in ("running", "scanning") and fed < manifest.lines:
        waits.append(_not_fed(manifest.lines - fed, cursor))
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
        "queue": queue,
        "recipe": manifest.recipe.id,
        "created_at": manifest.created_at.isoformat(),
        "why": [asdict(wait) for wait in waits],
        **(
            _terms(settings, manifest, cursor, left, counts.per_minute, workers)
            if cursor.terms
            else {}
        ),
    }


def _not_fed(jobs: int, cursor: Cursor) -> Wait:
    if cursor.why == "costs":
        told = "what it has cost cannot be read, and it has a budget: see the log of `jamak feed`"
        return Wait("costs", jobs, told)
    return Wait("not_fed", jobs, "not in the queue yet: `jamak feed` puts them there bit by bit")


def _paused(name: str, jobs: int, cursor: Cursor, fed: int) -> Wait:
    terms, spent = cursor.terms, cursor.spent
    if cursor.why != "budget" or terms is None or terms.budget_usd is None:
        return Wait("paused", jobs, f"`jamak backlog resume {name}`")
    used = spent.usd if spent else 0.0
    unpaid = cursor.unpaid(fed) if spent else 0
    if unpaid:
        return Wait(
            "budget",
            jobs,
            f"${used:,.2f} of ${terms.budget_usd:,.2f} are used, {unpaid:,} fed jobs are on no "
            f"worker's page and count as spent, and another job would be too much: "
            f"`jamak backlog resume {name} --budget ...` with more",
        )
    return Wait(
        "budget",
        jobs,
        f"${used:,.2f} of ${terms.budget_usd:,.2f} are used, and another job would be too much: "
        f"`jamak backlog resume {name} --budget ...` with more",
    )


def _terms(
    settings: Settings,
    manifest: Manifest,
    cursor: Cursor,
    left: int,
    per_minute: float,
    workers: Sequence[WorkerSeen],
) -> dict[str, Any]:
    terms, now = cursor.terms or Terms(), utc_now()
    serving = able(workers, queue_of(manifest.card, bulk=True), needs_of(manifest.recipe))
    one = offer(settings, left, manifest.recipe, manifest.card, workers, _left_s(terms))
    seen = outlook(terms, cursor.spent, left, per_minute, len(serving), one, now)
    return {
        "by": terms.by and terms.by.isoformat(),
        "budget_usd": terms.budget_usd,
        "spent_usd": cursor.spent and cursor.spent.usd,
        **asdict(seen),
        "ends_at": seen.ends_at and seen.ends_at.isoformat(),
    }


def turn(store: ObjectStore, settings: Settings, name: str, state: State) -> None:
    """Raises UsageError: there is no such backlog, or it was cancelled."""
    backlog = Backlog(store, settings, name)
    backlog.manifest()
    backlog.turn(state)


def resume(
    store: ObjectStore, settings: Settings, name: str, by: str | None, budget: str | None
) -> None:
    """Args:
        by, budget: instead of what was agreed on, as they are typed; `none`: no longer.

    Raises:
        UsageError: there is no such backlog, it was cancelled, or there is no money left for it.
    """
    backlog = Backlog(store, settings, name)
    backlog.manifest()
    cursor, _ = backlog.cursor()
    terms = terms_of(by, budget, utc_now(), cursor.terms)
    used = cursor.spent.usd if cursor.spent else 0.0
    before = (cursor.terms or Terms()).budget_usd or 0.0
    if cursor.why == "budget" and terms.budget_usd and terms.budget_usd <= max(used, before):
        raise UsageError(
            f"--budget: ${used:,.2f} of {name} are used already, and its budget was ${before:,.2f}",
            cure="Name a larger one, or none.",
        )
    if terms != (cursor.terms or Terms()):
        backlog.agree(terms)
    backlog.turn("running")


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


class StillGoing(JamakError):
    reason = "still_going"


def delete(
    store: ObjectStore, settings: Settings, queues: LeasedQueues, name: str, *, force: bool = False
) -> None:
    """Remove its files and its progress. Records and failures stay.

    Args:
        force: cancel it first, if it is not over; also one that cannot be read.

    Raises:
        UsageError: there is no such backlog.
        StillGoing: it is not over, or jobs of it are in flight. These would be counted for the
            next backlog of the name.
    """
    backlog, progress = Backlog(store, settings, name), BacklogProgress(queues, name)
    state = _state(store, settings, queues, backlog)
    if state not in OVER:
        if not force:
            raise StillGoing(
                f"the backlog {name} is not over: it is {state}",
                cure=f"`jamak backlog cancel {name}` first, or add --force.",
            )
        if state != "unreadable":
            cancel(store, settings, queues, name)
    jobs = count_of(queues, name)
    if jobs:
        raise StillGoing(
            f"{jobs} jobs of {name} are still in flight",
            cure="Delete it when they have ended: `jamak status` shows how many there are.",
        )
    if not backlog.delete():
        raise no_backlog(name)
    with reaching_redis():
        progress.forget()


def _state(store: ObjectStore, settings: Settings, queues: LeasedQueues, backlog: Backlog) -> str:
    try:
        return str(read_backlog(store, settings, queues, backlog.name)["state"])
    except UsageError:
        return "cancelled"  # if there is anything of it, somebody stopped deleting it
    except (Reject, NewerObject):
        return "unreadable"


def read_all(store: ObjectStore, settings: Settings, queues: LeasedQueues) -> list[dict[str, Any]]:
    """How each backlog goes, as `read_backlog` says it, in the order of their names. One that
    cannot be read does not keep the others: `{name, state: "unreadable", message, cure}`."""

    def read(name: str) -> dict[str, Any] | None:
        try:
            return read_backlog(store, settings, queues, name, workers)
        except UsageError:
            return None  # deleted meanwhile
        except (Reject, NewerObject) as error:
            told = {"message": str(error), "cure": error.cure}
            return {"name": name, "state": "unreadable", **told}

    with reaching_redis():
        workers = queues.workers()
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="backlogs") as pool:
        return [told for told in pool.map(read, backlog_names(store, settings)) if told]


def paused(
    store: ObjectStore,
    settings: Settings,
    unread: Callable[[JamakError], None] = lambda error: None,
) -> tuple[list[tuple[str, str, Wait]], bool]:
    """Backlogs that are paused: name, queue, why. Of the first ones only, for two objects are read
    of each; True: these were all.

    Args:
        unread: told why one cannot be read.
    """

    def read(name: str) -> tuple[str, str, Wait] | None:
        backlog = Backlog(store, settings, name)
        try:
            cursor, _ = backlog.cursor()
            if cursor.state != "paused":
                return None
            manifest, _ = backlog.manifest()
        except UsageError:
            return None  # deleted meanwhile
        except (Reject, NewerObject) as error:
            unread(error)
            return None
        wait = _paused(name, manifest.lines - cursor.fed, cursor, cursor.fed)
        return name, queue_of(manifest.card, bulk=True), wait

    names = list(islice(backlog_names(store, settings), LOOKED_AT + 1))
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="backlogs") as pool:
        found = [one for one in pool.map(read, names[:LOOKED_AT]) if one]
    return found, len(names) <= LOOKED_AT


def as_dict(told: Plan) -> dict[str, Any]:
    return {**asdict(told), "terms": told.terms.model_dump(mode="json"), "left": told.left}
