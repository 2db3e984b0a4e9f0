"""Training jobs: put one on the train queue, and wait for how it ends."""

import time
import uuid
from typing import TYPE_CHECKING

from shared.broker.apps import TRAIN_QUEUE, TRAIN_TASK, reaching_redis
from shared.bucket.keys import parse_uri, training_key
from shared.bucket.storage import ObjectStore
from shared.errors import Missing, UsageError
from shared.messages import TrainJob, TrainOutcome, decode
from shared.settings import Settings

if TYPE_CHECKING:
    from celery import Celery


def submit(app: "Celery", store: ObjectStore, job: TrainJob) -> None:
    """Raises UsageError: the data is not there. BrokerUnavailable: Redis does not take it."""
    if not store.exists(*parse_uri(job.data)):
        raise UsageError(f"{job.data} does not exist", cure="See docs/training.md.")
    with reaching_redis():
        app.send_task(TRAIN_TASK, args=(job.model_dump(mode="json"),), queue=TRAIN_QUEUE)


def new_job_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def read_outcome(store: ObjectStore, settings: Settings, job_id: str) -> TrainOutcome | None:
    try:
        body = store.get(settings.output_bucket, training_key(settings.output_prefix, job_id))
    except Missing:
        return None
    return decode(TrainOutcome, body)


def wait_for(store: ObjectStore, settings: Settings, job_id: str) -> TrainOutcome:
    """Look once a second until the job has ended."""
    while (outcome := read_outcome(store, settings, job_id)) is None:
        time.sleep(1)
    return outcome
