"""Captions of a kind are made again: counted first, then a backlog for each of their recipes.

A caption is asked for as it was, of the model that is in use, and one generation further: so its
new record is another one, and the view shows the newer. Who asks twice asks for the same records,
and none is made twice. An unfinished backlog of the same question is gone on with.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from producer.backlog.backlogs import OVER, read_backlog
from producer.backlog.captioned import BEGINNING, Captioned, Kind
from producer.backlog.estimate import Offer, offer
from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest, backlog_names, new_name
from producer.backlog.scan import create
from producer.backlog.where import Condition, Where
from producer.jobs.examine import examine
from producer.jobs.recipes import least_class
from producer.jobs.send import queue_of
from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.bucket.registry import VERSION, Registry
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError, NewerObject, Reject, UsageError
from shared.messages import Caption, Recipe, Video
from shared.prices import prices
from shared.settings import CardName, Settings

NAME = "recaption"
MOST_RECIPES = 20
"""Each is a backlog of its own, which looks at all captions once more."""
MOST_NAMED = 1000
"""Videos without which a caption cannot be made again, by reason; the rest is only counted."""


@dataclass
class Again:
    """Captions of one recipe, and the recipe that they are made again by."""

    of: str
    """The recipe's id."""
    recipe: Recipe
    card: CardName
    videos: int = 0
    size_bytes: int = 0
    captioned: int = 0
    """By the new recipe, though the view does not show it."""
    failed: dict[str, int] = field(default_factory=dict)
    """By the new recipe, and left alone."""
    backlog: str = ""
    """That is under way already, and gone on with."""
    listed: bool = False
    """It has all that was meant when it began: what is meant since then waits until it is over."""
    offer: Offer | None = None

    @property
    def left(self) -> int:
        return self.videos - self.captioned - sum(self.failed.values())

    @property
    def queue(self) -> str:
        return queue_of(self.card, bulk=True)


@dataclass
class Recaption:
    """What it would come to."""

    kind: Kind
    looked_at: int = 0
    groups: list[Again] = field(default_factory=list)
    lately: dict[str, int] = field(default_factory=dict)
    """Backlog of the same question that is under way -> captions that it has made, and that are
    meant all the same. They are left alone until it is over."""
    lacking: Counter[str] = field(default_factory=Counter)
    """Why captions cannot be made again, in a word."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """By that reason, the videos."""
    unread: list[JamakError] = field(default_factory=list)
    """Why views cannot be read: of the first ones."""
    unread_count: int = 0
    prices: str = ""

    @property
    def left(self) -> int:
        return sum(one.left for one in self.groups)

    @property
    def usd(self) -> float | None:
        """None: there is a class without a price."""
        costs = [one.offer.usd if one.offer else None for one in self.groups if one.left]
        return None if None in costs else sum(cost or 0.0 for cost in costs)


def whole_versions(where: Where, registry: Registry) -> Where:
    """With adapters by their whole names, where the start of one is typed.

    Raises:
        UsageError: none or several begin so.
    """

    def whole(one: Condition) -> Condition:
        short = one.field == "adapter" and one.value.isalnum() and not VERSION.fullmatch(one.value)
        if not short or one.value in ("active", "none"):
            return one
        return Condition(one.field, one.sign, registry.find(one.value).version)

    return tuple(map(whole, where))


def count(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    kind: Kind,
    card: str | None = None,
    on_captions: Callable[[int], None] = lambda count: None,
) -> Recaption:
    """Look at everything, change nothing.

    Args:
        card: the least class; None = the first that takes the frames asked for.
        on_captions: called with how many more were looked at.

    Raises:
        UsageError: they were asked for in too many ways.
    """
    told = Recaption(kind)
    groups: dict[str, Again] = {}
    waiting: dict[str, list[Video]] = {}
    for one in Captioned(kind, store, settings).seen():
        told.looked_at += 1
        on_captions(1)
        if one.unread:
            told.unread_count += 1
            if len(told.unread) < MOST_NAMED:
                told.unread.append(one.unread)
        if one.caption is None:
            continue
        if one.lacks:
            _name(told, one.lacks, one.caption.video)
            continue
        recipe_id = one.caption.recipe_id
        if recipe_id not in groups:
            groups[recipe_id] = _again(settings, one.caption, card)
            _check_number(groups)
        waiting.setdefault(recipe_id, []).append(one.caption.video)
        if sum(map(len, waiting.values())) >= SHARD_LINES:
            _add(store, settings, groups, waiting)
    _add(store, settings, groups, waiting)
    _leave_to_those_under_way(store, settings, queues, told, groups)
    told.groups = sorted(groups.values(), key=lambda again: -again.videos)
    with reaching_redis():
        workers = queues.workers()
    _price(settings, told, workers)
    return told


def backlog_of(store: ObjectStore, settings: Settings, kind: Kind, again: Again) -> Backlog:
    """To be scanned: the one under way, or a new one."""
    if again.backlog:
        return Backlog(store, settings, again.backlog)
    source = _of_recipe(kind, again.of).source
    return create(store, settings, new_name(NAME), source, again.recipe, again.card)


def _of_recipe(kind: Kind, recipe_id: str) -> Kind:
    return Kind((*kind.where, Condition("recipe", "=", recipe_id)), kind.under)


def _again(settings: Settings, caption: Caption, card: str | None) -> Again:
    before = caption.recipe
    changes = {
        "model": settings.model,
        "revision": settings.model_revision,
        "generation": before.generation + 1,
    }
    least = least_class(card, before.sampling.frames)
    return Again(caption.recipe_id, before.model_copy(update=changes), least)


def _check_number(groups: dict[str, Again]) -> None:
    if len(groups) > MOST_RECIPES:
        some = ", ".join(list(groups)[:3])
        raise UsageError(
            f"--where: these captions were asked for by more than {MOST_RECIPES} recipes: "
            f"{some} and others",
            cure="Choose some of them: --where recipe=...",
        )


def _name(told: Recaption, why: str, video: Video) -> None:
    told.lacking[why] += 1
    named = told.named.setdefault(why, [])
    if len(named) < MOST_NAMED:
        named.append(video.uri)


def _add(
    store: ObjectStore,
    settings: Settings,
    groups: dict[str, Again],
    waiting: dict[str, list[Video]],
) -> None:
    for recipe_id, videos in waiting.items():
        again = groups[recipe_id]
        found = examine(store, settings, again.recipe, videos)
        again.videos += len(videos)
        again.size_bytes += sum(video.size_bytes for video in videos)
        again.captioned += len(found.done)
        failed = {reason: len(indexes) for reason, indexes in found.failed.items()}
        again.failed = dict(Counter(again.failed) + Counter(failed))
    waiting.clear()


def _leave_to_those_under_way(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    told: Recaption,
    groups: dict[str, Again],
) -> None:
    under_way = list(_under_way(store, settings, queues, told.kind))
    for of, manifest in under_way:
        if of in groups:
            groups[of].backlog, groups[of].listed = manifest.name, manifest.scanned
    for _, manifest in under_way:
        made = groups.get(manifest.recipe.id)
        if made and not made.backlog:
            told.lately[manifest.name] = made.videos
            del groups[manifest.recipe.id]


def _under_way(
    store: ObjectStore, settings: Settings, queues: LeasedQueues, kind: Kind
) -> Iterator[tuple[str, Manifest]]:
    """Backlogs of the same question that are not over, with the recipe that they are of."""
    for name in backlog_names(store, settings):
        if not name.startswith(f"{NAME}-"):
            continue
        # One that cannot be read is told of by `jamak backlog list`.
        with suppress(UsageError, Reject, NewerObject):
            manifest, _ = Backlog(store, settings, name).manifest()
            if not manifest.source.startswith(BEGINNING):
                continue
            theirs = Kind.of(manifest.source)
            of = theirs.where[-1]
            if theirs != _of_recipe(kind, of.value):
                continue
            if read_backlog(store, settings, queues, name)["state"] not in OVER:
                yield of.value, manifest


def _price(settings: Settings, told: Recaption, workers: list[WorkerSeen]) -> None:
    priced = prices(settings)
    told.prices = f"{priced.source}, {priced.date}"
    for one in told.groups:
        one.offer = offer(settings, one.left, one.recipe, one.card, workers, None)


def as_dict(told: Recaption) -> dict[str, Any]:
    groups = [
        {
            "recipe": one.of,
            "again_by": one.recipe.id,
            "generation": one.recipe.generation,
            "queue": one.queue,
            "videos": one.videos,
            "size_bytes": one.size_bytes,
            "captioned": one.captioned,
            "failed": one.failed,
            "left": one.left,
            "backlog": one.backlog or None,
            "listed": one.listed,
            "offer": one.offer and asdict(one.offer),
        }
        for one in told.groups
    ]
    return {
        "captions": told.kind.source,
        "looked_at": told.looked_at,
        "left": told.left,
        "usd": told.usd,
        "prices": told.prices,
        "groups": groups,
        "made_lately": told.lately,
        "lacking": dict(told.lacking),
        "named": told.named,
        "unreadable": [{"message": str(one), "cure": one.cure} for one in told.unread],
    }
