"""What Celery is given, and what of kombu and Celery that rests on."""

import base64
import inspect
import json
from importlib.metadata import version
from typing import Any

import celery.worker.loops
import pytest
from celery.exceptions import QueueNotFound
from kombu.transport import TRANSPORT_ALIASES, virtual

from shared.broker.apps import CAPTION_TASK, caption_app
from shared.broker.leased_queues import Delivery, History
from shared.broker.transport import SCHEME, Channel, Transport, checked
from shared.settings import Settings


def test_kombu_is_still_what_the_transport_was_written_for() -> None:
    """When this fails, read the transport against the new kombu before raising the pin."""
    assert version("kombu").startswith("5.7."), "pyproject pins kombu 5.7"
    assert version("celery").startswith("5.7."), "pyproject pins celery 5.7"
    for owner, name, parameters in [
        (virtual.Channel, "_put", ["self", "queue", "message"]),
        (virtual.Channel, "_size", ["self", "queue"]),
        (virtual.Channel, "drain_events", ["self", "timeout", "callback"]),
        (virtual.QoS, "ack", ["self", "delivery_tag"]),
        (virtual.QoS, "reject", ["self", "delivery_tag", "requeue"]),
        (virtual.Transport, "drain_events", ["self", "connection", "timeout"]),
        (virtual.Transport, "_deliver", ["self", "message", "queue"]),
    ]:
        found = list(inspect.signature(getattr(owner, name)).parameters)
        assert found == parameters, f"{owner.__qualname__}.{name} has other parameters"
    # Not asynchronous: Celery then consumes in its plain loop, and never sees a connection break.
    assert not Transport.implements.asynchronous
    loop = inspect.getsource(celery.worker.loops.synloop)
    assert "connection.drain_events(timeout=" in loop
    assert "except socket.timeout" in loop
    assert TRANSPORT_ALIASES[SCHEME] == "shared.broker.transport:Transport"
    assert Channel.do_restore is False


def test_a_mistyped_queue_is_an_error_where_it_is_named() -> None:
    app = caption_app(Settings())
    with pytest.raises(QueueNotFound, match="t5"):
        app.send_task(CAPTION_TASK, args=({},), queue="caption.t5")


def test_no_password_is_shown() -> None:
    settings = Settings(redis_url="redis://user:secret@example.org:7/0")  # type: ignore[arg-type]
    app = caption_app(settings)
    assert app.connection().as_uri().endswith("@example.org:7/0")
    assert "secret" not in app.connection().as_uri(include_password=True)


BODY = [[{"a": 1}], {}, {"callbacks": None}]
MESSAGE: dict[str, Any] = {
    "body": json.dumps(BODY),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"id": "x", "task": "t", "eta": None, "expires": None},
    "properties": {"body_encoding": "utf-8", "delivery_tag": "its own"},
}


def delivered(message: Any) -> Delivery:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Delivery("the lease", "q", False, 0, History(), raw)


def test_a_message_carries_its_lease() -> None:
    for encoded in (
        MESSAGE,
        {
            **MESSAGE,
            "body": base64.b64encode(MESSAGE["body"].encode()).decode(),
            "properties": {"body_encoding": "base64"},
        },
    ):
        found = checked(delivered(encoded))
        assert json.loads(found["body"])[:2] == BODY[:2]
        assert found["properties"]["delivery_tag"] == "the lease"
        assert found["headers"]["task"] == "t"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"{}",
        {**MESSAGE, "body": "not JSON"},
        {**MESSAGE, "body": json.dumps([1, 2, 3])},
        {**MESSAGE, "body": json.dumps({})},
        {**MESSAGE, "headers": None},
        {**MESSAGE, "headers": {"id": 1, "task": "t"}},
        {**MESSAGE, "headers": {**MESSAGE["headers"], "eta": "2999-01-01T00:00:00"}},
        {**MESSAGE, "headers": {**MESSAGE["headers"], "expires": 5}},
        {**MESSAGE, "properties": {"body_encoding": "base64"}, "body": "%%%"},
        {**MESSAGE, "properties": []},
    ],
)
def test_what_is_no_call_of_a_task_is_refused(message: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked(delivered(message))
