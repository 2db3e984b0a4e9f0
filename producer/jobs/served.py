"""Which live workers take a job, by what they say of themselves in their beats; or why none does.

A worker of an older version says less: what it does not say it is trusted with.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.messages import CaptionJob, Recipe

VERSION: int = CaptionJob.model_fields["v"].default
"""Of the messages that this process writes."""


@dataclass(frozen=True)
class Needs:
    """What a job needs of its worker."""

    model: str = ""
    """`id@revision`; empty: any."""
    version: int = 0
    """Of its message."""


@dataclass(frozen=True)
class Unserved:
    queue: str
    reason: Literal["no_worker", "wrong_model", "newer_message"]
    message: str


class SourcesAway:
    """The buckets that answer none of the workers of a queue."""

    LOOK_S = 2.0

    def __init__(self, queues: LeasedQueues) -> None:
        self._queues = queues
        self._workers: list[WorkerSeen] = []
        self._looked_at = float("-inf")

    def of(self, queue: str) -> set[str]:
        """Raises BrokerUnavailable: Redis does not answer."""
        if time.monotonic() - self._looked_at > self.LOOK_S:
            with reaching_redis():
                self._workers = self._queues.workers()
            self._looked_at = time.monotonic()
        return buckets_away(self._workers, queue)


def needs_of(recipe: Recipe) -> Needs:
    """Of the captions that this process asks for."""
    return Needs(f"{recipe.model}@{recipe.revision}", VERSION)


def serving(workers: Sequence[WorkerSeen], queue: str) -> list[WorkerSeen]:
    """Those that take from this queue; who is about to end takes nothing any more."""
    return [
        worker
        for worker in workers
        if queue in (worker.about.get("queues") or ()) and not worker.about.get("draining")
    ]


def buckets_away(workers: Sequence[WorkerSeen], queue: str) -> set[str]:
    """Of which all that serve a queue say that they do not answer."""
    told = [set(map(str, one.about.get("away") or ())) for one in serving(workers, queue)]
    return set.intersection(*told) if told else set()


def able(workers: Sequence[WorkerSeen], queue: str, needs: Needs) -> list[WorkerSeen]:
    """Those that take such jobs from this queue."""
    return [
        worker
        for worker in serving(workers, queue)
        if _has_model(worker.about, needs) and _reads(worker.about, needs)
    ]


def why_unserved(workers: Sequence[WorkerSeen], queue: str, needs: Needs) -> Unserved | None:
    """None: somebody takes it."""
    there = serving(workers, queue)
    if not there:
        return Unserved(
            queue, "no_worker", f"no live worker serves {queue}: its jobs wait until one does"
        )
    fitting = [worker for worker in there if _has_model(worker.about, needs)]
    if not fitting:
        models = Counter(f"{one.about['model']}@{one.about['revision']}" for one in there)
        live = ", ".join(f"{model} ({count})" for model, count in models.most_common())
        return Unserved(
            queue,
            "wrong_model",
            f"no live worker of {queue} serves {needs.model}; live ones serve {live}: give "
            "producer and workers the same JAMAK_MODEL and JAMAK_MODEL_REVISION",
        )
    if not any(_reads(worker.about, needs) for worker in fitting):
        most = max(worker.about["reads"] for worker in fitting)
        return Unserved(
            queue,
            "newer_message",
            f"no live worker of {queue} reads messages of version {needs.version}; live ones "
            f"read up to {most}: upgrade the workers",
        )
    return None


def _has_model(about: dict[str, Any], needs: Needs) -> bool:
    if not needs.model or "model" not in about:
        return True
    return f"{about['model']}@{about.get('revision', '')}" == needs.model


def _reads(about: dict[str, Any], needs: Needs) -> bool:
    return int(about.get("reads", needs.version)) >= needs.version
