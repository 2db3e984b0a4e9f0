"""One message, from its queue to its acknowledgement, as Celery does it."""

import json
from typing import Any

from celery import Celery

from shared.broker.apps import CAPTION_TASK
from shared.broker.leased_queues import Delivery, History
from shared.broker.transport import checked
from workers.delivery.leases import Leases
from workers.tasks import register_caption


def run_caption_task(
    leases: Leases, work: object, queue: str, payload: Any, history: History
) -> None:
    """Args:
    work: what a CaptionWork is to the task.
    """
    item = f"0\n{history.dump()}\n{json.dumps(payload)}"
    leases.queues.redis.lpush(f"{leases.queues.prefix}{queue}", item)
    delivery = leases.receive([queue], 5)
    assert delivery is not None
    _run(leases, work, delivery, payload)


def run_next(leases: Leases, work: object, queue: str) -> None:
    """The same with what waits there, or comes back, as it was sent."""
    tries = (leases.receive([queue], 1) for _ in range(30))
    delivery = next(one for one in tries if one is not None)
    args, _, _ = json.loads(checked(delivery)["body"])
    _run(leases, work, delivery, *args)


def _run(leases: Leases, work: object, delivery: Delivery, payload: Any) -> None:
    app = Celery(set_as_current=False)
    register_caption(app, lambda: leases, lambda: work)  # type: ignore[arg-type, return-value]
    task = app.tasks[CAPTION_TASK]
    task.push_request(properties={"delivery_tag": delivery.lease})
    try:
        task.run(payload)
    finally:
        task.pop_request()
    leases.finished(delivery.lease)
    assert leases.flush(5)
