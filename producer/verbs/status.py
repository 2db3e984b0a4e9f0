"""How things stand: what waits and why, who serves it, which adapter is in use."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from redis.exceptions import NoPermissionError

from producer.backlog.backlogs import LOOKED_AT, paused
from producer.jobs.waits import SideSeen, Wait, look
from producer.verbs.scale import looking
from shared.broker.apps import (
    CAPTION_QUEUES,
    TRAIN_QUEUE,
    caption_prefix,
    leased_queues,
    reaching_redis,
    train_prefix,
)
from shared.broker.told_results import Results
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import JamakError
from shared.settings import Settings
from shared.sinks import shown_sink


def read_status(settings: Settings) -> dict[str, Any]:
    """What Redis, the registry and the backlogs say.

    Returns:
        `{queues: {name: {waiting, alone, workers, why: [{reason, jobs, message}], looked_at}},
        sampled: [...], hidden: [...], workers: [...], in_flight: {captions, training}, delayed: …,
        poison: …, results: {to, waiting, dropped, why},
        scale: {classes: [{class, wanted, running, reason, …}], unknown: {name: why}},
        adapters: [...], unreadable: [...]}`. `sampled` names what was too long to be
        looked at as a whole, `unreadable` what of the bucket cannot be read, and why, `hidden` what
        this user of Redis may not see: a producer's has no part in training.

    Raises:
        BrokerUnavailable: Redis cannot be reached.
    """
    with reaching_redis():
        sides = {
            "captions": look(leased_queues(settings, caption_prefix(settings)), CAPTION_QUEUES)
        }
        results = _results(settings)
        with suppress(NoPermissionError):
            training = leased_queues(settings, train_prefix(settings))
            sides["training"] = look(training, [TRAIN_QUEUE])
    queues = {name: seen for side in sides.values() for name, seen in side.queues.items()}
    unreadable: list[JamakError] = []
    stopped, all_of_them = paused(ObjectStore(), settings, unreadable.append)
    adapters = adapters_in_use(settings, unreadable.append)
    for name, queue, wait in stopped:
        told = f"the backlog {name} is paused: {wait.message}"
        queues[queue].why.append(Wait(wait.reason, wait.jobs, told))
    sampled = [name for name, seen in queues.items() if seen.sampled]
    sampled += [f"delayed {name}" for name, side in sides.items() if _is_sampled(side)]
    return {
        "queues": {name: asdict(seen) for name, seen in queues.items()},
        "sampled": sampled if all_of_them else [*sampled, f"backlogs after {LOOKED_AT}"],
        "hidden": [] if "training" in sides else ["training"],
        "workers": [
            {"name": worker.name, "silent_s": round(worker.silent_s, 1), **worker.about}
            for side in sides.values()
            for worker in side.workers
        ],
        **{
            what: {name: getattr(side, what) for name, side in sides.items()}
            for what in ("in_flight", "delayed", "poison")
        },
        "results": results,
        "scale": scale_of(settings),
        "adapters": adapters,
        "unreadable": [{"message": str(one), "cure": one.cure} for one in unreadable],
    }


def _results(settings: Settings) -> dict[str, Any]:
    """What JAMAK_RESULTS has still to be told; `why` it cannot be."""
    told = {"to": shown_sink(settings.results)}
    try:
        untold = Results(leased_queues(settings, caption_prefix(settings))).untold()
    except NoPermissionError:
        return told
    return {**told, **asdict(untold)}


def scale_of(settings: Settings) -> dict[str, Any]:
    """What the scaler would say now, and of what it would say nothing."""
    try:
        found = looking(settings)()
    except JamakError as error:
        return {"classes": [], "unknown": {"scale": str(error)}}
    return {
        "classes": [answer.dump() for answer in found.answers.values()],
        "unknown": found.unknown,
    }


def unserved(status: dict[str, Any]) -> list[str]:
    """What of the waiting work no live worker takes, and why."""
    nobody = ("no_worker", "wrong_model", "newer_message", "worker_paused")
    waits = [wait for queue in status["queues"].values() for wait in queue["why"]]
    return [wait["message"] for wait in waits if wait["reason"] in nobody]


def _is_sampled(side: SideSeen) -> bool:
    return side.delayed_looked_at < side.delayed


def adapters_in_use(
    settings: Settings, unread: Callable[[JamakError], None]
) -> list[dict[str, Any]]:
    """Of each base. What cannot be read is told, and does not keep the others."""
    registry = Registry(ObjectStore(), settings.output_bucket, settings.output_prefix)
    found = []
    for base in sorted({item.base.weights_sha256 for item in registry.manifests(unread)}):
        try:
            found.append({"base": base, **registry.pointer(base).model_dump(mode="json")})
        except UNREADABLE as error:
            unread(error)
    return found
