"""How things stand: what waits, who serves it, which adapter is in use."""

from typing import Any

from shared.broker.apps import (
    CAPTION_QUEUES,
    TRAIN_QUEUE,
    caption_prefix,
    leased_queues,
    reaching_redis,
    train_prefix,
)
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.settings import Settings


def read_status(settings: Settings) -> dict[str, Any]:
    """What Redis and the registry say.

    Returns:
        `{queues: {name: {waiting, alone, workers}}, workers: [...], in_flight: {captions,
        training}, delayed: …, poison: …, adapters: [...]}`.

    Raises:
        BrokerUnavailable: Redis cannot be reached.
    """
    captions = leased_queues(settings, caption_prefix(settings))
    training = leased_queues(settings, train_prefix(settings))
    with reaching_redis():
        queues = {
            **_queues(captions, CAPTION_QUEUES),
            **_queues(training, [TRAIN_QUEUE]),
        }
        sides = {"captions": captions.counts(), "training": training.counts()}
        workers = [
            {"name": worker.name, "silent_s": round(worker.silent_s, 1), **worker.about}
            for side in (captions, training)
            for worker in side.workers()
        ]
    return {
        "queues": queues,
        "workers": workers,
        **{
            what: {side: counts[what] for side, counts in sides.items()}
            for what in ("in_flight", "delayed", "poison")
        },
        "adapters": adapters_in_use(settings),
    }


def unserved(status: dict[str, Any]) -> list[str]:
    """Queues that hold work which no live worker takes."""
    return [
        name
        for name, queue in status["queues"].items()
        if (queue["waiting"] or queue["alone"]) and not queue["workers"]
    ]


def adapters_in_use(settings: Settings) -> list[dict[str, Any]]:
    registry = Registry(ObjectStore(), settings.output_bucket, settings.output_prefix)
    return [
        {"base": base, **registry.pointer(base).model_dump(mode="json")}
        for base in registry.bases()
    ]


def _queues(side: LeasedQueues, names: list[str]) -> dict[str, dict[str, Any]]:
    serving = side.serving()
    return {
        name: {
            "waiting": side.waiting(name),
            "alone": side.waiting_alone(name),
            "workers": serving.get(name, []),
        }
        for name in names
    }
