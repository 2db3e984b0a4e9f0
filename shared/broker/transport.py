"""The kombu transport over leased queues, `jamak://`: what makes Celery lose nothing.

A virtual transport (kombu.transport.virtual), which is how kombu itself adds brokers; nothing of
kombu's Redis code is used. Celery consumes in its plain loop, one blocking call after the other,
and never sees a connection break: while Redis is away asking goes on, and what runs keeps
running. No exchanges, priorities or broadcasts.

Whoever consumes hands its leases in (the transport option `leases`); a producer needs none.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kombu.transport import TRANSPORT_ALIASES, virtual
from redis import exceptions

from shared.broker.leased_queues import Delivery, LeasedQueues

SCHEME = "jamak"
VIDEO = "video"
"""The header in which a sender may name the video's address, by which its tenant is known."""
TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"


class Leases(Protocol):
    """What one process holds."""

    def receive(self, queues: list[str], timeout_s: float) -> Delivery | None:
        """The next message, if there are one and a free slot for it; None = ask again."""

    def finished(self, lease: str) -> None:
        """Its task has ended: acknowledge the message, unless that was decided otherwise."""

    def refuse(self, lease: str, reason: str) -> None:
        """It is no message of ours: set it aside."""


class QoS(virtual.QoS):
    channel: "Channel"
    restore_at_shutdown = False  # whoever drains gives back; a closed channel does not

    def ack(self, delivery_tag: str) -> None:
        self.channel.leases.finished(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Celery rejects what it cannot run: a task that it does not know."""
        self.channel.leases.refuse(delivery_tag, "Celery cannot run it")
        super().ack(delivery_tag)


class Channel(virtual.Channel):
    QoS = QoS
    do_restore = False
    body_encoding = "utf-8"  # readable in Redis: JSON in JSON
    from_transport_options = (*virtual.Channel.from_transport_options, "queues", "leases")

    queues: LeasedQueues
    leases: Leases

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self.queues.redis.ping()

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        headers = dict(message["headers"])  # kombu has them for its next try
        uri = headers.pop(VIDEO, "")
        told = json.dumps({**message, "headers": headers})
        self.queues.put(queue, self.queues.sharing.groups(queue, [uri], [told]))

    def _size(self, queue: str) -> int:
        return self.queues.waiting(queue)

    def drain_events(
        self, timeout: float | None = None, callback: Callable[..., None] | None = None
    ) -> None:
        """Deliver one message, or raise socket.timeout."""
        delivery = self.leases.receive(self._active_queues, timeout or 1.0)
        if delivery is None:
            raise TimeoutError
        try:
            message = checked(delivery)
        except ValueError as error:
            self.leases.refuse(delivery.lease, str(error))
            raise TimeoutError from error
        self.connection._deliver(message, delivery.queue)


class Transport(virtual.Transport):
    Channel = Channel
    driver_type = driver_name = SCHEME
    connection_errors = (
        *virtual.Transport.connection_errors,
        exceptions.ConnectionError,
        exceptions.TimeoutError,
    )
    channel_errors = (*virtual.Transport.channel_errors, exceptions.RedisError)

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        consuming = [channel for channel in self.channels or () if channel._consumers]
        if not consuming:
            raise TimeoutError
        consuming[0].drain_events(timeout)


def rendered(task: str, name: str, payload: str, headers: Mapping[str, str] = {}) -> str:
    """A call of a task with one JSON argument, as a message: Celery's second protocol.

    For those who send many: `send_task` takes half a millisecond for each.

    Args:
        headers: of the message, besides those that Celery wants.
    """
    return json.dumps(
        {
            "body": f"[[{payload}], {{}}, {{}}]",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": name, "task": task, "lang": "py", **headers},
            "properties": {"body_encoding": "utf-8"},
        }
    )


def checked(delivery: Delivery) -> dict[str, Any]:
    """The message as kombu wants it, tagged with its lease; made anew from what was checked.

    Celery acknowledges what it cannot decode, holds what has an ETA in its memory, and dies of
    some oddities: none of them may reach it.

    Raises:
        ValueError: it is not a call of a task, in Celery's second protocol and JSON, for now.
    """
    try:
        message = json.loads(delivery.message)
        headers, encoding = message["headers"], message["properties"].get("body_encoding")
        body = message["body"]
        args, kwargs, _ = json.loads(base64.b64decode(body) if encoding == "base64" else body)
        task, name = headers["task"], headers["id"]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it lacks what a message has: {error!r}") from error
    if not (isinstance(task, str) and isinstance(name, str)):
        raise ValueError("its task or its id is no text")
    if not (isinstance(args, list) and isinstance(kwargs, dict)):
        raise ValueError("its arguments are no list and object")
    for unused in ("eta", "expires"):
        if headers.get(unused) is not None:
            raise ValueError(f"it has {unused}, which Jamak does not use")
    return {
        "body": json.dumps([args, kwargs, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": name, "task": task, "lang": "py", "argsrepr": "", "kwargsrepr": ""},
        "properties": {
            "body_encoding": "utf-8",
            "delivery_tag": delivery.lease,
            "delivery_info": {"exchange": "", "routing_key": delivery.queue},
        },
    }
