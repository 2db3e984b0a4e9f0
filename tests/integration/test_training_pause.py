"""Training jobs that rest, paused and resumed: over a real Redis, a real S3 API and the task."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from producer.jobs.training import Training
from shared.broker.apps import TRAIN_QUEUE
from shared.broker.transport import checked
from shared.bucket.training import TrainingRecords
from shared.errors import BrokerUnavailable, Paused, Reject, UsageError
from tests.trainer import Trainer, held, job_for, running, said
from tests.world import World
from workers.jobs.training_kept import Kept
from workers.progress import Progress

pytestmark = pytest.mark.integration


def test_a_job_is_paused_while_it_runs_and_goes_on_when_it_is_resumed(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_for(place)
    training.submit(job)
    with running(trainer, records, job, tmp_path, monkeypatch) as thread:
        assert said(place, "pause", job.id) == {"job_id": job.id, "state": "pausing"}
        thread.join(60)
        assert not thread.is_alive()
    children = psutil.Process().children(recursive=True)
    assert not any("workers.train.run" in child.cmdline() for child in children)
    assert records.outcome(job.id) is None
    assert trainer.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
    told = said(place, "status", job.id)
    assert (told["state"], told["worker"]) == ("paused", None)
    assert told["decision"]["wanted"] == "pause"

    assert said(place, "resume", job.id) == {"job_id": job.id, "state": "queued"}
    assert training.job(job.id).state == "queued"
    delivery = trainer.take()
    assert json.loads(checked(delivery)["body"])[0] == [job.model_dump(mode="json")]
    assert delivery.history.attempt == 1
    records.begin(job.id, held)
    with pytest.raises(Reject, match="nobody has paused"):
        said(place, "resume", job.id)


def test_a_job_that_is_cancelled_while_its_pause_is_written_down_has_ended(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To keep its log and plot takes a while, and nobody else would end it."""
    job = job_for(place)
    training.submit(job)
    said_so: list[str] = []
    end = Kept._end

    def slowly(kept: Kept, how: str) -> None:
        end(kept, how)
        if not said_so:
            said_so.append(training.cancel(job.id))

    monkeypatch.setattr(Kept, "_end", slowly)
    with running(trainer, records, job, tmp_path, monkeypatch) as thread:
        training.pause(job.id)
        thread.join(60)
    assert said_so == ["cancelling"]
    assert training.job(job.id).state == "cancelled"


def test_a_job_is_paused_while_its_videos_are_fetched(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That may take hours, and nothing is lost by it."""
    fetches = threading.Event()

    def fetch(job: Any, rows: Any, store: Any, workdir: Any, progress: Progress, *_: Any) -> None:
        for _ in range(3_000):
            progress.tick("download")
            fetches.set()
            time.sleep(0.01)

    monkeypatch.setattr("workers.jobs.training_watch.LOOK_S", 0.05)
    monkeypatch.setattr("workers.train.job._fetch_videos", fetch)
    job = job_for(place)
    training.submit(job)
    delivery = trainer.take()
    lease = trainer.leases.of(delivery.lease)
    thread = threading.Thread(target=trainer.run, args=(delivery,))
    thread.start()
    try:
        assert fetches.wait(30)
        assert training.pause(job.id) == "pausing"
        thread.join(10)
        assert not thread.is_alive()
    finally:
        lease.progress.stop(KeyboardInterrupt())
        thread.join(10)
    assert training.job(job.id).state == "paused"
    assert records.outcome(job.id) is None


def test_a_paused_job_outlives_redis_and_is_sent_by_nobody_but_who_resumes_it(
    place: World, training: Training, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.jobs.training.just_asked", lambda at: False)
    job = job_for(place)
    training.submit(job)
    assert said(place, "pause", job.id)["state"] == "paused"
    assert said(place, "pause", job.id)["state"] == "paused"  # again is harmless
    assert trainer.queues.waiting(TRAIN_QUEUE) == 0
    for key in trainer.queues.redis.scan_iter(f"{place.redis_prefix}*"):
        trainer.queues.redis.delete(key)
    assert training.job(job.id).state == "paused"
    assert training.send_lost() == ([], [])

    def resumed(_: int) -> bool:
        try:
            training.resume(job.id)
        except Reject:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(resumed, range(2))) == [False, True]
    assert trainer.queues.waiting(TRAIN_QUEUE) == 1


def test_a_worker_that_gets_a_paused_job_leaves_it_alone(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis did not answer when it was paused, so its message is in the queue yet."""
    monkeypatch.setattr("workers.jobs.training.run_train_job", None)  # nothing may be begun
    job = job_for(place)
    training.submit(job)
    away = replace(place, redis_url="redis://127.0.0.1:1/0")
    without = Training(away.settings, away.store, away.training)
    assert without.pause(job.id) == "pausing"
    with pytest.raises(BrokerUnavailable):
        without.resume(job.id)
    assert training.job(job.id).state == "pausing"
    trainer.run()
    assert training.job(job.id).state == "paused"
    assert records.outcome(job.id) is None
    assert [one.how for one in trainer.leases.spending.end().spent] == ["handed_back"]


def test_what_is_still_in_a_hand_is_not_sent_to_another(
    place: World, training: Training, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    delivery = trainer.take()
    assert training.pause(job.id) == "pausing"
    with pytest.raises(Reject, match="is being paused yet"):
        said(place, "resume", job.id)
    trainer.run(delivery)
    said(place, "resume", job.id)
    assert trainer.queues.waiting(TRAIN_QUEUE) == 1


def test_a_paused_job_is_cancelled_and_a_cancelled_one_is_not_paused(
    place: World, training: Training, records: TrainingRecords
) -> None:
    job = job_for(place)
    training.submit(job)
    training.pause(job.id)
    assert said(place, "cancel", job.id)["state"] == "cancelled"
    outcome = records.outcome(job.id)
    assert outcome is not None
    assert outcome.message == "it was cancelled while it was paused"
    for verb in ("pause", "resume"):
        with pytest.raises(Reject, match="has ended already: cancelled"):
            said(place, verb, job.id)
    records.cancel("j")
    for refused in (records.pause, records.resume):
        with pytest.raises(Reject, match="was cancelled"):
            refused("j")


def test_a_pause_is_before_the_publishing_or_too_late(records: TrainingRecords) -> None:
    def won(ask: Any, job_id: str) -> bool:
        try:
            ask(job_id)
        except (Reject, Paused):
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            asks = (records.pause, lambda job_id: records.about_to_publish(job_id, held))
            assert sum(pool.map(won, asks, (f"race-{number}",) * 2)) == 1
    records.about_to_publish("j", held)
    with pytest.raises(Reject, match="too late to pause"):
        records.pause("j")
    records.begin("j", held)  # that worker died
    records.pause("j")
    for refused in (records.begin, records.about_to_publish):
        with pytest.raises(Paused):
            refused("j", held)


def test_only_a_pause_is_more_than_an_older_jamak_reads(
    place: World, records: TrainingRecords
) -> None:
    def version() -> int:
        key = f"{place.prefix}training/j/decision.json"
        return int(json.loads(place.store.get(place.output, key, 1000))["v"])

    records.begin("j", held)
    assert version() == 1
    records.pause("j")
    assert version() == 2
    records.resume("j")
    assert version() == 1


def test_a_job_that_nobody_sent_is_neither_paused_nor_resumed(place: World) -> None:
    for verb in ("pause", "resume"):
        with pytest.raises(UsageError, match="there is no training job unheard-of"):
            said(place, verb, "unheard-of")
