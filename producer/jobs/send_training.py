"""A training job into its queue. Knows nothing of what the bucket says of it."""

from typing import TYPE_CHECKING

from shared.broker.apps import TRAIN_QUEUE, TRAIN_TASK, reaching_redis
from shared.telemetry import tracing
from shared.training import TrainJob

if TYPE_CHECKING:
    from celery import Celery


def send_training(app: "Celery", job: TrainJob) -> None:
    """Again is harmless: what has ended is not begun, and of two who train a job at once the later
    one goes on.

    Raises:
        BrokerUnavailable, BrokerRefuses: Redis does not take it, or its answer got lost.
    """
    with reaching_redis(), tracing.sending(TRAIN_QUEUE, [(job.id, "")]) as headers:
        app.send_task(
            TRAIN_TASK,
            args=(job.model_dump(mode="json"),),
            queue=TRAIN_QUEUE,
            task_id=job.id,
            headers=dict(headers[0]) if headers else None,
        )
