"""What who sends a training job and waits for it is told: over a real Redis and a real S3 API."""

import threading
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from producer.jobs.training import Training
from producer.verbs.training import train
from shared.broker.apps import TRAIN_QUEUE
from shared.bucket.training import TrainingRecords
from shared.errors import StoreUnavailable
from shared.training import TrainOutcome
from tests.trainer import Trainer, job_for, said
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration


def test_who_waits_is_told_once_why_a_job_does_not_go_on(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producer.jobs.training.LOOK_S", 0.01)
    monkeypatch.setattr("producer.jobs.training.LOOKS", 1)
    job, words, outcomes = job_for(place), list[str](), list[TrainOutcome]()
    training.submit(job)
    waits = threading.Thread(
        target=lambda: outcomes.append(
            training.wait_for(job.id, lambda progress: None, words.append)
        )
    )
    waits.start()
    said(place, "pause", job.id)
    wait_until(lambda: len(words) == 1, 30, "the word that it is paused")
    said(place, "resume", job.id)
    trainer.queues.redis.delete(f"{trainer.queues.prefix}{TRAIN_QUEUE}")
    wait_until(lambda: len(words) == 2, 30, "the word that Redis lost it")
    with monkeypatch.context() as patch:

        def away(*_: object) -> None:
            raise StoreUnavailable("the store does not answer")

        patch.setattr(TrainingRecords, "progress", away)
        wait_until(lambda: len(words) == 3, 30, "the word that the store is away")
    ended = TrainOutcome(job_id=job.id, status="failed", seconds=1.0, created_at=datetime.now(UTC))
    records.end(ended)
    waits.join(30)
    assert outcomes == [ended]
    assert words[:3] == [
        f"training job {job.id} is paused: `jamak train resume {job.id}` sends it again",
        f"training job {job.id} is not in Redis any more, so it does not run: `jamak reconcile` "
        "sends it again, or cancel it",
        "the store does not answer",
    ]


def test_who_sends_a_job_that_nobody_takes_is_told_at_once(place: World, trainer: Trainer) -> None:
    def sent() -> str:
        data = f"s3://{place.output}/{place.prefix}set/manifest.jsonl"
        done = CliRunner().invoke(train, ["sft", "--data", data], env=place.env)
        assert (done.exit_code, "queued: training job" in done.stdout) == (0, True)
        return done.stderr

    assert "no live worker" not in sent()
    trainer.leases.leave()
    assert "no live worker serves train: its jobs wait until one does" in sent()
