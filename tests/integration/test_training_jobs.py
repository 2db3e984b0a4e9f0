"""Training jobs seen and ended from outside: over a real Redis, a real S3 API and the real task."""

import json
import os
import pty
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from typer.testing import CliRunner

from producer.jobs.training import Training
from producer.verbs.training import train
from shared.broker.apps import TRAIN_QUEUE
from shared.broker.leased_queues import History
from shared.broker.transport import checked
from shared.bucket.training import TrainingRecords
from shared.errors import BrokerRefuses, BrokerUnavailable, Cancelled, LeaseLost, Reject, UsageError
from shared.settings import Settings
from shared.training import TrainJob, TrainOutcome, TrainProgress
from tests.trainer import Trainer, held, job_for, running, said
from tests.training import trained
from tests.waiting import wait_until
from tests.world import World
from workers.jobs.training import TrainWork
from workers.train.gpu import prove_gpu

pytestmark = pytest.mark.integration


def test_a_job_is_followed_from_the_queue_to_its_cancelling(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_for(place)
    training.submit(job)
    waits = said(place, "status", job.id)
    assert (waits["state"], waits["worker"], waits["progress"]) == ("queued", None, None)
    assert waits["asked"]["job"] == job.model_dump(mode="json")

    with running(trainer, records, job, tmp_path, monkeypatch) as thread:
        (runs,) = said(place, "list")["jobs"]
        assert (runs["job_id"], runs["state"]) == (job.id, "running")
        assert runs["worker"] == trainer.queues.worker == runs["progress"]["worker"]
        told = TrainProgress.model_validate(runs["progress"])
        assert (told.stage, told.step, told.steps, told.loss) == ("train", 3, 100, 0.5)
        assert told.since <= told.updated_at <= datetime.now(UTC)
        lines = CliRunner().invoke(train, ["status", job.id], env=place.env).stdout
        assert "train 3 of 100" in lines
        children = psutil.Process().children(recursive=True)
        assert any("workers.train.run" in child.cmdline() for child in children)

        assert said(place, "cancel", job.id) == {"job_id": job.id, "state": "cancelling"}
        thread.join(60)
        assert not thread.is_alive()

    outcome = records.outcome(job.id)
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("cancelled", "cancelled")
    assert outcome.seconds > 0
    assert list(place.registry.manifests()) == []
    assert trainer.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
    children = psutil.Process().children(recursive=True)
    assert not any("workers.train.run" in child.cmdline() for child in children)
    assert said(place, "list")["jobs"][0]["state"] == "cancelled"
    assert [one.how for one in trainer.leases.spending.end().spent] == ["failures"]
    with pytest.raises(Reject, match="has ended already: cancelled"):
        said(place, "cancel", job.id)


def test_a_queued_job_is_taken_out_of_the_queue(
    place: World, training: Training, records: TrainingRecords, trainer: Trainer
) -> None:
    unwanted, wanted = job_for(place), job_for(place)
    training.submit(unwanted)
    training.submit(wanted)
    assert said(place, "cancel", unwanted.id)["state"] == "cancelled"
    assert trainer.queues.waiting(TRAIN_QUEUE) == 1
    outcome = records.outcome(unwanted.id)
    assert outcome is not None
    assert outcome.status == "cancelled"
    assert json.loads(checked(trainer.take())["body"])[0][0]["id"] == wanted.id


def test_a_job_that_waits_for_another_try_is_taken_out_too(
    training: Training, place: World, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    delivery = trainer.take()
    trainer.leases.release(trainer.leases.of(delivery.lease), 600.0)
    trainer.leases.finished(delivery.lease)
    assert trainer.leases.flush(10)
    assert training.job(job.id).state == "delayed"
    assert training.cancel(job.id) == "cancelled"
    assert trainer.queues.counts()["delayed"] == 0


def test_a_cancelled_job_that_comes_back_ends_as_cancelled(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its worker dies before it hears of it, and the message goes to another one."""
    monkeypatch.setattr("workers.jobs.training.run_train_job", None)  # nothing may be begun
    job = job_for(place)
    training.submit(job)
    delivery = trainer.take()
    assert training.cancel(job.id) == "cancelling"
    assert training.job(job.id).state == "cancelling"
    trainer.leases.release(trainer.leases.of(delivery.lease), tried=False)
    trainer.leases.finished(delivery.lease)
    trainer.run()
    assert training.job(job.id).state == "cancelled"
    assert trainer.queues.counts()["in_flight"] == 0


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_job_that_comes_again_never_undoes_a_rollback(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    rolled_back: bool,
) -> None:
    """Its worker put the adapter to use, and died before it could write that the job has ended."""
    monkeypatch.setattr("workers.train.job.train_apart", lambda *args: trained(*args, "content"))
    job, base = job_for(place), "a" * 64
    training.submit(job)

    class Died(BaseException):
        pass

    def die(*args: Any, **ended: Any) -> None:
        raise Died

    delivery = trainer.take()
    with monkeypatch.context() as patch:
        patch.setattr(TrainWork, "_write", die)
        with pytest.raises(Died):
            trainer.task.push_request(properties={"delivery_tag": delivery.lease})
            trainer.task.run(job.model_dump(mode="json"))
    trainer.task.pop_request()
    in_use = place.registry.pointer(base).version
    assert in_use is not None
    if rolled_back:
        place.registry.rollback(base)
    trainer.leases.release(trainer.leases.of(delivery.lease), tried=False)
    trainer.leases.finished(delivery.lease)
    trainer.run()
    outcome = records.outcome(job.id)
    assert outcome is not None
    assert (outcome.version, outcome.activated) == (in_use, not rolled_back)
    assert ("somebody has changed" in str(outcome.why_not_activated)) is rolled_back
    assert place.registry.pointer(base).version == (None if rolled_back else in_use)
    assert place.registry.pointer(base).generation == (2 if rolled_back else 1)
    spent = trainer.leases.spending.end().spent
    assert [(one.how, one.adapter, one.jobs) for one in spent] == [("training", in_use, 2)]


@pytest.mark.parametrize("named", [True, False])
def test_what_a_job_saw_is_kept_where_the_next_one_finds_it(
    place: World,
    training: Training,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    """In the folder for temporary files that the settings name, or as long as the worker runs."""
    told: list[dict[str, Any]] = []

    def saw(job: TrainJob, settings: Settings, workdir: Path, *_: Any) -> Any:
        told.append(json.loads((workdir / "features.json").read_text()))
        raise Reject("that is enough")

    monkeypatch.setattr("workers.train.job.train_apart", saw)
    (tmp_path / "worker").mkdir()
    trainer = Trainer(
        place,
        tmp_path / "worker",
        scratch_dir=tmp_path if named else None,
        train_features_mib=3,
    )
    training.submit(job_for(place))
    trainer.run()
    trainer.leases.leave()
    where = tmp_path if named else tmp_path / "worker"
    assert told == [{"folder": str(where / "features"), "most_bytes": 3 << 20}]


def test_a_job_that_redis_forgot_is_seen_and_can_be_cancelled(
    place: World, training: Training, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    trainer.queues.redis.delete(f"{trainer.queues.prefix}{TRAIN_QUEUE}")
    assert [(one.id, one.state) for one in training.jobs(20)[0]] == [(job.id, "not in Redis")]
    assert training.cancel(job.id) == "cancelled"
    assert training.job(job.id).state == "cancelled"


def test_without_redis_the_bucket_still_tells_and_still_cancels(
    place: World, training: Training, records: TrainingRecords, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    away = replace(place, redis_url="redis://127.0.0.1:1/0")
    without = Training(away.settings, away.store, away.training)
    assert [one.state for one in without.jobs(20)[0]] == ["open"]
    assert without.cancel(job.id) == "cancelling"
    assert records.outcome(job.id) is None
    trainer.run()  # it is in the queue yet, and ends as it begins
    assert training.job(job.id).state == "cancelled"


def test_a_job_that_was_cancelled_and_that_redis_lost_has_ended(
    place: World, training: Training, records: TrainingRecords, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    away = replace(place, redis_url="redis://127.0.0.1:1/0")
    assert Training(away.settings, away.store, away.training).cancel(job.id) == "cancelling"
    assert training.send_lost() == ([], [])
    assert training.job(job.id).state == "cancelling"  # it is in the queue yet
    trainer.queues.redis.delete(f"{trainer.queues.prefix}{TRAIN_QUEUE}")
    assert "`jamak reconcile`" in str(training._why_it_rests(job.id))
    assert training.send_lost(dry_run=True) == ([], [])
    assert records.outcome(job.id) is None
    assert training.send_lost() == ([], [])
    assert training.job(job.id).state == "cancelled"


@pytest.mark.parametrize("refused", [False, True])
def test_a_job_that_cannot_be_sent_has_failed(place: World, refused: bool) -> None:
    stranger = place.redis_url.replace("://", "://stranger:wrong@")
    away = replace(place, redis_url=stranger if refused else "redis://127.0.0.1:1/0")
    app = away.training
    app.conf.task_publish_retry_policy = {"max_retries": 0}
    job = job_for(place)
    with pytest.raises(BrokerRefuses if refused else BrokerUnavailable):
        Training(away.settings, away.store, app).submit(job)
    found = Training(place.settings, place.store, place.training).job(job.id)
    assert found.state == "failed"


def test_a_job_is_cancelled_also_where_redis_lets_nobody_remove_it(
    place: World, training: Training, trainer: Trainer
) -> None:
    job = job_for(place)
    training.submit(job)
    with redis.Redis.from_url(place.redis_url) as client:
        client.acl_setuser(
            "reader", enabled=True, nopass=True, keys=["*"], categories=["+@read", "+@connection"]
        )
        reader = replace(place, redis_url=place.redis_url.replace("://", "://reader:any@"))
        asker = Training(reader.settings, reader.store, reader.training)
        try:
            assert asker.cancel(job.id) == "cancelling"
        finally:
            client.acl_deluser("reader")
    trainer.run()
    assert training.job(job.id).state == "cancelled"


def test_a_job_is_cancelled_or_published_but_never_both(
    training: Training, records: TrainingRecords
) -> None:
    def won(ask: Any, job_id: str) -> bool:
        try:
            ask(job_id)
        except (Reject, Cancelled):
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            asks = (records.cancel, lambda job_id: records.about_to_publish(job_id, held))
            wins = list(pool.map(won, asks, (f"race-{number}",) * 2))
            assert sum(wins) == 1
            assert (records.decision(f"race-{number}").wanted == "cancel") == wins[0]


def test_what_is_being_published_is_too_late_to_cancel_unless_it_is_begun_again(
    records: TrainingRecords,
) -> None:
    records.begin("j", held)
    records.about_to_publish("j", held)
    records.about_to_publish("j", held)  # before the pointer moves
    with pytest.raises(Reject, match="too late to cancel"):
        records.cancel("j")
    records.begin("j", held)  # that worker died
    records.cancel("j")
    records.cancel("j")
    for refused in (records.begin, records.about_to_publish):
        with pytest.raises(Cancelled):
            refused("j", held)


@pytest.mark.parametrize("late", ["begin", "about_to_publish"])
def test_a_worker_that_lost_the_job_decides_nothing_for_the_next_one(
    records: TrainingRecords, late: str
) -> None:
    """Its lease ends between its last look and its write."""
    begun_again = []

    def lost() -> None:
        if begun_again:
            raise LeaseLost("somebody else has it")
        records.begin("j", held)
        if late == "begin":
            records.about_to_publish("j", held)
        begun_again.append(True)

    records.begin("j", held)
    with pytest.raises(LeaseLost):
        getattr(records, late)("j", lost)
    if late == "about_to_publish":
        records.cancel("j")
    else:
        with pytest.raises(Reject, match="too late to cancel"):
            records.cancel("j")


def test_a_cancel_at_the_last_moment_keeps_everything_out_of_the_bucket(
    place: World,
    training: Training,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_for(place)

    def trained(job: TrainJob, settings: Any, workdir: Path, *_: Any) -> Any:
        training.cancel(job.id)
        (workdir / "adapter").mkdir()
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            (workdir / "adapter" / name).write_text("content")
        base = {"id": "tests/tiny", "revision": "1", "weights_sha256": "d" * 64}
        return {"base": base, "metrics": {}, "libraries": {}}

    monkeypatch.setattr("workers.train.job.train_apart", trained)
    # Nobody hears of it in between.
    monkeypatch.setattr("workers.jobs.training_watch.Watch._look", lambda self: None)
    training.submit(job)
    trainer.run()
    assert training.job(job.id).state == "cancelled"
    assert list(place.registry.manifests()) == []


GPU = """
import sys
from unittest.mock import MagicMock
if "workers.train.run" in sys.orig_argv or {lost}:
    print("CUDA error: unspecified launch failure")
    raise SystemExit(75)
ones = MagicMock()
"""
"""What the subprocesses import for torch."""


def test_a_gpu_that_is_lost_costs_a_training_no_attempt_and_one_that_computes_does(
    place: World,
    trainer: Trainer,
    training: Training,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.delivery.asking.FIRST_LOOK_S", 0.0)
    (tmp_path / "path").mkdir()
    torch = tmp_path / "path" / "torch.py"
    monkeypatch.setenv("PYTHONPATH", str(torch.parent))
    trainer.leases.machine.check("device", prove_gpu)
    training.submit(job_for(place))
    torch.write_text(GPU.format(lost=True))
    trainer.run()
    assert "the GPU does not compute: CUDA error" in trainer.leases.pauses.told["device"]
    torch.write_text(GPU.format(lost=False))
    wait_until(lambda: not trainer.leases.pauses, 60, "the GPU to compute")
    delivery = trainer.take()
    assert delivery.history == History()
    trainer.run(delivery)
    assert not trainer.leases.pauses
    (delayed,) = trainer.queues.redis.zrange(f"{trainer.queues.prefix}delayed", 0, -1)
    assert History.parse(delayed.decode().split("\n")[4]).attempt == 2


def test_the_list_says_how_fast_a_job_is_how_long_it_takes_and_what_it_cost(
    place: World, training: Training, records: TrainingRecords, trainer: Trainer
) -> None:
    job, now = job_for(place), datetime.now(UTC)
    training.submit(job)
    trainer.take()
    progress = TrainProgress(
        job_id=job.id,
        worker=trainer.queues.worker,
        attempt=1,
        since=now,
        stage="train",
        step=12,
        steps=100,
        loss=0.5,
        tokens_per_s=1812.4,
        seconds_left=75.0,
        spent_s=7500.0,
        usd=1.2,
        updated_at=now,
    )
    records.tell(progress)
    shown = CliRunner().invoke(train, ["list"], env=place.env).stdout
    figures = ("running", "train 12 of 100", "0.5000", "1,812", "1 min 15 s", "2 h 5 min, $1.20")
    assert [one for one in figures if one not in shown] == []
    columns = ("loss", "tokens/s", "left", "spent")
    assert [one for one in columns if one not in shown] == []


def test_the_list_is_bounded_and_the_newest_come_first(
    place: World, training: Training, records: TrainingRecords
) -> None:
    ended = [f"20260101-00000{number}-aaaaaa" for number in range(5)]
    for job_id in ended:
        records.end(
            TrainOutcome(
                job_id=job_id,
                status="published",
                version="0123456789ab",
                why_not_activated="1 video is held out",
                seconds=1.0,
                created_at=datetime.now(UTC),
            )
        )
    oldest = job_for(place, id="20250101-000000-aaaaaa")
    training.submit(oldest)
    told = said(place, "list", "--limit", "2")
    ids = [job["job_id"] for job in told["jobs"]]
    assert ids == [ended[4], ended[3], oldest.id]  # what waits is never left out
    assert told["more"] == 3
    assert [job["state"] for job in told["jobs"]] == ["published", "published", "queued"]
    training.pause(oldest.id)  # Redis does not have it any more
    told = said(place, "list", "--limit", "2")
    assert [job["job_id"] for job in told["jobs"]] == ids
    assert (told["jobs"][-1]["state"], told["more"]) == ("paused", 3)
    shown = CliRunner().invoke(train, ["status", ended[0]], env=place.env).stdout
    assert "adapter 0123456789ab is published, not put to use: 1 video is held out" in shown


def test_a_job_that_nobody_sent_is_named(place: World) -> None:
    for verb in ("status", "cancel"):
        with pytest.raises(UsageError, match="there is no training job unheard-of"):
            said(place, verb, "unheard-of")


def test_ctrl_c_ends_the_waiting_and_not_the_job(
    place: World, training: Training, records: TrainingRecords, trainer: Trainer
) -> None:
    data = f"s3://{place.output}/{place.prefix}set/manifest.jsonl"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "producer.cli", "train", "sft", "--data", data, "--wait", "--json"],
        env={**os.environ, **place.env, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with process:
        try:
            wait_until(lambda: list(records.ids()), 60, "the job")
            ((job_id, _),) = records.ids()
            now = datetime.now(UTC)
            records.tell(
                TrainProgress(
                    job_id=job_id,
                    worker="w",
                    attempt=1,
                    since=now,
                    stage="train",
                    step=7,
                    steps=9,
                    updated_at=now,
                )
            )
            while b"train 7 of 9" not in shown:  # it waits, and says how far the job is
                shown += os.read(ours, 4096)
            process.send_signal(signal.SIGINT)
            while b"jamak train cancel" not in shown:
                shown += os.read(ours, 4096)
            assert process.wait(30) == 128 + signal.SIGINT
        finally:
            process.kill()
            os.close(ours)
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == {"job_id": job_id, "status": "goes on"}
    assert f"jamak train status {job_id}".encode() in shown
    assert training.job(job_id).state == "queued"
