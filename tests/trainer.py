"""A train worker in the test's own process, and what is asked of it from outside.

The subprocess says what a training says and then sleeps, so that it lasts until it is ended.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from typer.testing import CliRunner

from producer.jobs.training import new_job_id
from producer.verbs.training import train
from shared.broker.apps import TRAIN_QUEUE, TRAIN_TASK, queues_of, train_app
from shared.broker.leased_queues import Delivery
from shared.broker.transport import checked
from shared.bucket.training import TrainingRecords
from shared.training import TrainJob
from tests.training import make_job
from tests.waiting import wait_until
from tests.world import World
from workers.delivery.leases import Leases
from workers.jobs.training import TrainWork
from workers.tasks import register_train

SAYS = """
import time
print('{"stage": "load", "step": 1, "steps": 1}', flush=True)
print('{"stage": "train", "step": 3, "steps": 100, "loss": 0.5}', flush=True)
time.sleep(600)
"""


class Trainer:
    """A train worker in this process: the real leases, the real task, the real work."""

    def __init__(self, world: World, scratch: Path, **changed: Any) -> None:
        self.queues = queues_of(train_app(world.settings))
        self.leases = Leases(self.queues, 1, lambda: {"queues": [TRAIN_QUEUE]})
        self.leases.start()
        settings = world.settings.model_copy(update=changed)
        self.work = TrainWork(settings, world.store, scratch, lambda: not self.leases.taking)
        app = Celery(set_as_current=False)
        register_train(app, lambda: self.leases, lambda: self.work)
        self.task = app.tasks[TRAIN_TASK]

    def take(self) -> Delivery:
        delivery = None
        while delivery is None:
            delivery = self.leases.receive([TRAIN_QUEUE], 5)
        return delivery

    def run(self, delivery: Delivery | None = None) -> None:
        """The next message, to its end."""
        delivery = delivery or self.take()
        args, _, _ = json.loads(checked(delivery)["body"])
        self.task.push_request(properties={"delivery_tag": delivery.lease})
        try:
            self.task.run(*args)
        finally:
            self.task.pop_request()
        self.leases.finished(delivery.lease)
        assert self.leases.flush(10)


def job_for(place: World, **fields: Any) -> TrainJob:
    data = f"s3://{place.output}/{place.prefix}set/manifest.jsonl"
    wanted = {"id": new_job_id(), "data": data, "model": "tests/tiny", "revision": "1", **fields}
    return make_job(**wanted)


def held() -> None:
    """The lease is still ours."""


def said(place: World, *arguments: str) -> Any:
    """By a verb, in this process."""
    done = CliRunner().invoke(train, [*arguments, "--json"], env=place.env)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout.splitlines()[-1])  # before it the worker's log may stand


def instead_of_torch(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The subprocess runs this where it would import torch."""
    (folder / "path").mkdir(exist_ok=True)
    (folder / "path" / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "path"))


@contextmanager
def running(
    trainer: Trainer,
    records: TrainingRecords,
    job: TrainJob,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str = SAYS,
) -> Iterator[threading.Thread]:
    """The job, trained by the worker until it is ended."""
    monkeypatch.setattr("workers.jobs.training_watch.LOOK_S", 0.05)
    monkeypatch.setattr("workers.jobs.training_watch.TELL_S", 0.0)
    monkeypatch.setattr("workers.train.own_process.LOOK_S", 0.05)
    instead_of_torch(says, folder, monkeypatch)

    def told() -> bool:
        found = records.progress(job.id)
        return found is not None and found.worker == trainer.queues.worker and found.step > 0

    delivery = trainer.take()
    lease = trainer.leases.of(delivery.lease)
    thread = threading.Thread(target=trainer.run, args=(delivery,))
    thread.start()
    try:
        wait_until(told, 60, "its progress")
        yield thread
    finally:
        lease.progress.stop(KeyboardInterrupt())
        thread.join(60)
