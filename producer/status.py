"""How things stand: what waits, who serves it, which adapter is in use."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis
from celery import Celery

from shared.broker import (
    CAPTION_QUEUES,
    TRAIN_QUEUE,
    caption_app,
    caption_prefix,
    reaching_redis,
    train_app,
    train_prefix,
)
from shared.registry import Registry
from shared.settings import Settings
from shared.storage import ObjectStore

ANSWER_S = 1.5
"""How long workers are given to answer a broadcast."""


def read_status(settings: Settings) -> dict[str, Any]:
    """`{queues: {name: {waiting, workers}}, in_flight: {captions, training}, adapters: [...]}`

    Raises:
        BrokerUnavailable: Redis cannot be reached.
    """
    url = settings.redis_url.get_secret_value()
    options: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": 10}
    if url.startswith("rediss://") and settings.redis_ca_file:
        options["ssl_ca_certs"] = str(settings.redis_ca_file)
    with reaching_redis():
        with redis.Redis.from_url(url, **options) as client:
            waiting = {
                name: int(client.llen(prefix + name))
                for prefix, name in [
                    *((caption_prefix(settings), name) for name in CAPTION_QUEUES),
                    (train_prefix(settings), TRAIN_QUEUE),
                ]
            }
            in_flight = {
                name: int(client.hlen(prefix + "unacked"))
                for name, prefix in (
                    ("captions", caption_prefix(settings)),
                    ("training", train_prefix(settings)),
                )
            }
        served = _served(settings)
    queues = {
        name: {"waiting": count, "workers": served.get(name, [])} for name, count in waiting.items()
    }
    return {"queues": queues, "in_flight": in_flight, "adapters": adapters_in_use(settings)}


def unserved(status: dict[str, Any]) -> list[str]:
    """Queues that hold work which no live worker takes."""
    return [
        name
        for name, queue in status["queues"].items()
        if queue["waiting"] and not queue["workers"]
    ]


def adapters_in_use(settings: Settings) -> list[dict[str, Any]]:
    registry = Registry(ObjectStore(), settings.output_bucket, settings.output_prefix)
    return [
        {"base": base, **registry.pointer(base).model_dump(mode="json")}
        for base in registry.bases()
    ]


def _served(settings: Settings) -> dict[str, list[str]]:
    def ask(app: Celery) -> dict[str, Any]:
        return app.control.inspect(timeout=ANSWER_S).active_queues() or {}

    served: dict[str, list[str]] = {}
    apps = caption_app(settings), train_app(settings)
    with ThreadPoolExecutor(len(apps)) as pool:
        for answers in pool.map(ask, apps):
            for worker, queues in answers.items():
                for queue in queues:
                    served.setdefault(queue["name"], []).append(worker)
    return served
