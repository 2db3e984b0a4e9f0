"""The two Celery apps, with every reliability setting once and the reason beside it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from shared.broker.connections import Reach
from shared.broker.leased_queues import LeasedQueues
from shared.broker.refusals import meaning
from shared.cards import CLASSES, GPU_CLASSES
from shared.errors import ConfigError
from shared.settings import Settings
from shared.tenants import Tenants

if TYPE_CHECKING:
    from celery import Celery

_importing = threading.Lock()
CAPTION_TASK = "jamak.caption"
TRAIN_TASK = "jamak.train"
TRAIN_QUEUE = "train"

CAPTION_QUEUES = [
    queue for name in GPU_CLASSES for queue in (CLASSES[name].queue, f"{CLASSES[name].queue}.bulk")
]


def caption_app(settings: Settings) -> "Celery":
    return _app(settings, caption_prefix(settings), CAPTION_QUEUES)


def train_app(settings: Settings) -> "Celery":
    """Under a prefix of its own, so that captions and training can have separate users."""
    return _app(settings, train_prefix(settings), [TRAIN_QUEUE])


def queues_of(app: "Celery") -> LeasedQueues:
    """What is under an app of ours."""
    queues: LeasedQueues = app.conf.broker_transport_options["queues"]
    return queues


def caption_prefix(settings: Settings) -> str:
    return settings.redis.prefix_of(settings.redis_prefix)


def train_prefix(settings: Settings) -> str:
    return settings.redis.prefix_of(f"{settings.redis_prefix}-train")


@contextmanager
def reaching_redis() -> Iterator[None]:
    """Around what talks to the broker. Raises BrokerUnavailable, BrokerRefuses."""
    try:
        yield
    except _errors() as error:
        raise meaning(error) from error


def _errors() -> tuple[type[Exception], ...]:
    from kombu.exceptions import OperationalError

    return OperationalError, redis.RedisError


def leased_queues(settings: Settings, prefix: str) -> LeasedQueues:
    """Raises ConfigError: the URL is none of Redis, or there are no such credentials."""
    try:
        return LeasedQueues(
            settings.redis_url.get_secret_value(),
            prefix,
            settings.visibility_timeout_s,
            Reach.of(settings),
            Tenants(settings.tenants),
        )
    except ValueError as error:
        raise ConfigError(
            f"JAMAK_REDIS_URL: {error}", cure="redis://user:password@host:port/db, or rediss://"
        ) from error


def _app(settings: Settings, prefix: str, queues: list[str]) -> "Celery":
    # Most verbs of `jamak` talk to Redis alone: Celery is imported by those who have an app. By one
    # thread at a time: it and kombu put another module in their own place while they are imported,
    # and who asks in between finds nothing in it (5.7; findings/celery-in-two-threads.sh).
    with _importing:
        import kombu
        from celery import Celery

    from shared.broker.transport import SCHEME

    url = settings.redis
    host, port = url.places[0]
    # What Celery shows people: without the password.
    app = Celery(
        "jamak",
        broker=f"{SCHEME}://{host}:{port}/{url.database}",
        set_as_current=False,
    )
    app.conf.update(
        broker_transport_options={"queues": leased_queues(settings, prefix)},
        # A message is acknowledged after its effect is in the bucket, never before.
        task_acks_late=True,
        # The result is the object in S3.
        task_ignore_result=True,
        result_backend=None,
        # JSON only: unpickling a message would run whatever its sender wants.
        task_serializer="json",
        accept_content=["json"],
        # A mistyped queue must fail at the sender; it would be a list that nobody reads.
        task_queues=[
            kombu.Queue(name, exchange=kombu.Exchange(""), routing_key=name) for name in queues
        ],
        task_create_missing_queues=False,
        task_default_queue=queues[0],
        # Jobs share one model in one process, so they are threads of it.
        worker_pool="threads",
        # Nothing is fetched ahead of a free thread: it would be hidden from other workers. Our
        # leases count the slots; Celery's own count must not be smaller.
        worker_prefetch_multiplier=1,
        # Broadcasts need a connection of their own that can fall silent; `jamak status` reads
        # what workers say about themselves in their beats.
        worker_enable_remote_control=False,
        # Ride out a Redis that is not there yet. Later on the transport sees to it.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={
            "max_retries": 20,
            "interval_start": 0.2,
            "interval_step": 0.2,
            "interval_max": 1.0,
        },
        # Our logging is configured by the composition root.
        worker_hijack_root_logger=False,
    )
    return app
