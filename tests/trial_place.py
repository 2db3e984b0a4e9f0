"""A base with a canary on trial, workers that tell of their captions, and whoever watches."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from producer.canary.lease import Lease
from producer.canary.state import TrialState
from producer.canary.watcher import Watcher
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.bucket.trials import TrialPages
from shared.training import Pointer
from shared.trials import Observation, TrialPage
from tests.trials import AT, fresh, pairs
from tests.world import World

BASE, CANARY = "a" * 64, "c" * 12


class Place:
    """With an output of its own."""

    def __init__(self, world: World) -> None:
        self.world = replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")
        self.registry = Unchecked(world.store, self.world.output, self.world.prefix)
        self.pages = TrialPages(world.store, self.world.output, self.world.prefix, BASE)
        self._since = datetime.now(UTC)

    def begin(self) -> Pointer:
        return self.registry.begin_canary(BASE, CANARY, 0.1, paired=True, by="operator")

    def tell_portion(self, size: int) -> None:
        """Of two workers; what was told before is among it. Whoever reads the page of the first
        alone comes to the same verdict."""
        self.tell("a", *pairs(size, canary_bad=2))
        self.tell("b", *pairs(size // 2, canary_bad=1, start=size * 1000))

    def tell(self, worker: str, *seen: Observation, refused: str = "") -> None:
        """As if it was seen since this place is there."""
        later = self._since - AT
        page = TrialPage(
            generation=self.pointer.generation,
            worker=worker,
            number=0,
            written_at=datetime.now(UTC),
            observations=tuple(one.model_copy(update={"at": one.at + later}) for one in seen),
            refused=refused,
            jamak="",
        )
        self.pages.write(page)

    @property
    def pointer(self) -> Pointer:
        return self.registry.pointer(BASE)

    def watcher(self, name: str = "w", store: ObjectStore | None = None, **how: Any) -> Watcher:
        store = store or self.world.store
        lease = Lease(store, self.world.output, self.world.prefix, name, **how)
        return Watcher(store, self.world.settings, lease, lambda pause_s: True)

    def state(self, generation: int) -> TrialState:
        key = self.pages.state_key(generation)
        return read(self.world.store, TrialState, self.world.output, key)


class Unchecked(Registry):
    """Versions need no files here: nobody loads them."""

    def manifest(self, base_sha256: str, version: str) -> Any:
        return None


def how(pointer: Pointer) -> list[tuple[str, str | None]]:
    """What became of it, by whom."""
    return [(stop.how, stop.by) for stop in pointer.history]


BEGUN = ("canary begun", "operator")

PORTIONS = (15, 85)
"""After the first nobody knows, after the second the canary is worse."""


def _expected() -> TrialState:
    weighing = fresh()
    weighing.see([*pairs(15, canary_bad=2), *pairs(7, canary_bad=1, start=15_000)])
    weighing.see([*pairs(70, canary_bad=2, start=15), *pairs(35, canary_bad=1, start=85_007)])
    return weighing.state()


EXPECTED = _expected()
