"""The two Celery apps, with every reliability setting once and the reason beside it.

Captions and training live under separate key prefixes: the shortest visibility timeout on one set
of keys wins, and a training run takes hours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import kombu
import redis
from celery import Celery

from shared.cards import CLASSES, GPU_CLASSES
from shared.errors import BrokerUnavailable
from shared.settings import Settings

CAPTION_TASK = "jamak.caption"
TRAIN_TASK = "jamak.train"
TRAIN_QUEUE = "train"

CAPTION_QUEUES = [
    queue for name in GPU_CLASSES for queue in (CLASSES[name].queue, f"{CLASSES[name].queue}.bulk")
]

CAPTION_VISIBILITY_S = 900
"""A message whose worker died comes back after this. Longer than any caption may take."""
TRAIN_VISIBILITY_S = 24 * 3600
"""Longer than any training run."""


def caption_app(settings: Settings) -> Celery:
    return _app(settings, caption_prefix(settings), CAPTION_QUEUES, CAPTION_VISIBILITY_S)


def train_app(settings: Settings) -> Celery:
    return _app(settings, train_prefix(settings), [TRAIN_QUEUE], TRAIN_VISIBILITY_S)


def caption_prefix(settings: Settings) -> str:
    return f"{settings.redis_prefix}:"


def train_prefix(settings: Settings) -> str:
    return f"{settings.redis_prefix}-train:"


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Around what talks to the broker. Raises BrokerUnavailable."""
    try:
        yield
    except (kombu.exceptions.OperationalError, redis.RedisError) as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}") from error


def _app(settings: Settings, prefix: str, queues: list[str], visibility_s: int) -> Celery:
    url = settings.redis_url.get_secret_value()
    app = Celery("jamak", broker=url, set_as_current=False)
    app.conf.update(
        # A message is acknowledged after its effect is in the bucket, never before.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # The result is the object in S3.
        task_ignore_result=True,
        result_backend=None,
        # JSON only: unpickling a message would run whatever its sender wants.
        task_serializer="json",
        accept_content=["json"],
        # A mistyped queue must fail at the sender; it would be a list that nobody reads.
        task_queues=[kombu.Queue(name) for name in queues],
        task_create_missing_queues=False,
        task_default_queue=queues[0],
        # Nothing is fetched ahead of a free thread: it would be hidden from other workers.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Ride out a restart of Redis, at the start and in the middle.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={
            "max_retries": 20,
            "interval_start": 0.2,
            "interval_step": 0.2,
            "interval_max": 1.0,
        },
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Our logging is configured by the composition root.
        worker_hijack_root_logger=False,
        broker_transport_options={
            "global_keyprefix": prefix,
            "visibility_timeout": visibility_s,
            # By default a sweep runs every 100 s and its lock lives 300 s.
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            # Priorities would split each queue into four hidden lists.
            "priority_steps": [0],
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
            "health_check_interval": 10,
        },
    )
    tls = _tls(settings, url)
    if tls:
        app.conf.broker_use_ssl = tls
    return app


def _tls(settings: Settings, url: str) -> dict[str, Any] | None:
    if urlsplit(url).scheme != "rediss":
        return None
    tls: dict[str, Any] = {"ssl_cert_reqs": "required"}
    if settings.redis_ca_file:
        tls["ssl_ca_certs"] = str(settings.redis_ca_file)
    return tls
