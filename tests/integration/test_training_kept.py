"""What people read of a training job: over a real Redis, a real S3 API and the real task."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from producer.jobs.training import Training
from producer.verbs.training import train
from shared.bucket.training import TrainingRecords
from shared.bucket.training_files import TrainingFiles
from shared.errors import KillsWorkers, LeaseLost
from shared.prices import Price
from shared.training import TrainOutcome, TrainProgress
from shared.training_report import TrainReport
from tests.trainer import Trainer, job_for, running, said
from tests.training import trained
from tests.waiting import wait_until
from tests.world import World
from workers.jobs.training import TrainWork

pytestmark = pytest.mark.integration

SECRET = "a-token-that-nobody-shall-read"
FAILS = """
import json, os, sys
from pathlib import Path
told = Path(sys.argv[2]) / "told"
told.mkdir()
held_out = [{"id": "eval", "reference": "고양이"}]
(told / "data.json").write_text(json.dumps(dict(summary=dict(train_rows=1), held_out=held_out)))
(told / "before.json").write_text(json.dumps(["강아지"]))
for step in range(1, 4):
    print(json.dumps(dict(stage="train", step=step, steps=9, loss=1 / step, lr=1e-3, grad_norm=2.0,
        tokens=100, seconds=0.5, metrics={"rewards/margins": 0.5})), flush=True)
print("loading https://hub/file?X-Amz-Signature=abc with", os.environ["MY_TOKEN"], flush=True)
print("\\x1b[2Jin", os.path.expanduser("~"), "and", sys.argv[2], flush=True)
raise RuntimeError("the driver is too old")
"""


@pytest.fixture
def files(place: World) -> TrainingFiles:
    return TrainingFiles(place.store, place.output, place.prefix)


def _instead_of_torch(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "path").mkdir(exist_ok=True)
    (folder / "path" / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "path"))


def test_a_failed_job_keeps_its_log_its_report_its_plot_and_its_reason(
    place: World,
    training: Training,
    files: TrainingFiles,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    monkeypatch.setenv("MY_PRIVATE_KEY", "-----BEGIN-----\nhidden in lines\n")
    _instead_of_torch(FAILS, tmp_path, monkeypatch)
    job = job_for(place)
    training.submit(job)
    trainer.run()
    told = said(place, "status", job.id)
    assert told["state"] == "failed"
    assert "RuntimeError: the driver is too old" in told["outcome"]["message"]
    assert sorted(told["files"]) == ["log.txt", "plot.png", "report.json"]

    log = files.log(job.id)
    lines = [line[21:] for line in log.splitlines()]
    assert lines[0] == f"try 1, worker {trainer.queues.worker}"
    step = "train 1 of 9: loss 1.0000, learning rate 0.001, 200 tokens/s, rewards/margins 0.5"
    assert step in lines
    assert "RuntimeError: the driver is too old" in lines
    assert any(line.startswith("ended: rejected: the training of job") for line in lines)
    assert "loading https://hub/file?*** with ***" in lines
    assert r"\x1b[2Jin ~ and WORKDIR" in lines
    for hidden in (SECRET, str(Path.home()), "jamak-train-", "Signature=abc"):
        assert hidden not in log + told["outcome"]["message"]

    report = files.report(job.id)
    assert report is not None
    assert [(one.step, one.loss, one.tokens) for one in report.steps] == [
        (1, 1.0, 100),
        (2, 0.5, 100),
        (3, pytest.approx(1 / 3), 100),
    ]
    assert report.job == job
    assert report.data is not None
    assert report.data.train_rows == 1
    assert [one.model_dump() for one in report.held_out] == [
        {"id": "eval", "reference": "고양이", "before": "강아지", "after": None}
    ]
    assert str(report.ended).startswith("ended: rejected")
    uri = told["files"]["plot.png"].removeprefix(f"s3://{place.output}/")
    assert place.store.get(place.output, uri, 1 << 20).startswith(b"\x89PNG")
    shown = CliRunner().invoke(train, ["status", job.id], env=place.env).stdout
    for uri in told["files"].values():
        assert uri in "".join(shown.split())


def test_a_job_with_bad_data_keeps_its_reason_without_having_trained(
    place: World, training: Training, files: TrainingFiles, trainer: Trainer
) -> None:
    place.store.put(place.output, f"{place.prefix}set/manifest.jsonl", b"{}")
    job = job_for(place)
    training.submit(job)
    trainer.run()
    told = said(place, "logs", job.id)["lines"]
    assert any("ended: bad_data: line 1: " in line for line in told)
    report = files.report(job.id)
    assert report is not None
    assert (report.data, report.steps, report.job) == (None, (), job)
    assert sorted(said(place, "status", job.id)["files"]) == ["log.txt", "report.json"]


def test_the_next_try_goes_on_with_the_log_and_the_steps_of_the_one_before(
    place: World,
    training: Training,
    files: TrainingFiles,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a worker died and a checkpoint was left; and what both tries spent is summed up."""
    job = job_for(place)
    training.submit(job)
    earlier = TrainReport(
        job=job,
        worker="dead",
        attempt=1,
        written_at=datetime.now(UTC),
        steps=[{"step": step, "loss": 9.0} for step in range(1, 6)],
    )
    files.put(job.id, "report.json", earlier.model_dump_json().encode())
    files.put(job.id, "log.txt", b"2026-11-30 00:00:00  try 1, worker dead\n")
    now = datetime.now(UTC)
    records.tell(
        TrainProgress(
            job_id=job.id,
            worker="dead",
            attempt=1,
            since=now,
            stage="train",
            step=5,
            spent_s=3600.0,
            usd=2.0,
            updated_at=now,
        )
    )
    trainer.work = TrainWork(place.settings, place.store, tmp_path, price=Price(3600.0))
    monkeypatch.setattr("workers.jobs.training_kept.drawn", lambda report, scratch: b"")
    with running(trainer, records, job, tmp_path, monkeypatch) as thread:
        told = said(place, "status", job.id)["progress"]
        assert told["spent_s"] > 3600
        assert told["usd"] == pytest.approx(2.0 + (told["spent_s"] - 3600.0), abs=0.01)
        said(place, "cancel", job.id)
        thread.join(60)
    outcome = records.outcome(job.id)
    assert outcome is not None
    assert outcome.seconds > 3600
    assert [line[21:].split(",")[0] for line in files.log(job.id).splitlines()][:2] == [
        "try 1",
        "try 1",
    ]
    report = files.report(job.id)
    assert report is not None
    assert [(one.step, one.loss) for one in report.steps] == [(1, 9.0), (2, 9.0), (3, 0.5)]
    assert report.ended == f"ended: cancelled: training job {job.id} was cancelled\n" + (
        "Nothing to do: send it again if it is still wanted."
    )


def test_the_last_try_of_a_job_is_told_as_such(
    place: World,
    training: Training,
    files: TrainingFiles,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its process is killed for lack of memory, as often as a job is tried."""
    monkeypatch.setattr("workers.tasks.MAX_ATTEMPTS", 1)
    _instead_of_torch(
        FAILS.replace("raise", "os.kill(os.getpid(), 9); raise"), tmp_path, monkeypatch
    )
    monkeypatch.setenv("MY_TOKEN", f"{SECRET}\nits second line")
    job = job_for(place)
    training.submit(job)
    trainer.run()
    report = files.report(job.id)
    assert report is not None
    assert str(report.ended).startswith("ended: out_of_resources: the training of job")
    assert (report.data is not None, len(report.steps), len(report.held_out)) == (True, 3, 1)
    log = files.log(job.id)
    assert "ended: out_of_resources" in log
    for hidden in (SECRET, "its second line"):
        assert hidden not in log + str(report.ended)


def test_a_job_that_is_refused_before_it_is_begun_keeps_its_reason_and_what_was_there(
    place: World,
    training: Training,
    files: TrainingFiles,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tries before told of their data and steps; this one is none any more."""
    monkeypatch.setattr("workers.jobs.training_kept.drawn", lambda report, scratch: b"")

    def refuse(history: Any) -> None:
        raise KillsWorkers("3 workers died with it")

    monkeypatch.setattr("workers.tasks._refuse_dangerous", refuse)
    job = job_for(place)
    training.submit(job)
    earlier = TrainReport(
        job=job,
        worker="dead",
        attempt=1,
        written_at=datetime.now(UTC),
        data={"train_rows": 7},
        held_out=[{"id": "eval", "reference": "고양이", "before": "강아지"}],
        steps=[{"step": 1, "loss": 9.0}],
    )
    files.put(job.id, "report.json", earlier.model_dump_json().encode())
    files.put(job.id, "log.txt", b"2026-11-30 00:00:00  try 1, worker dead\n")
    trainer.run()
    lines = [line[21:] for line in files.log(job.id).splitlines()]
    assert lines[:2] == ["try 1, worker dead", "ended: kills_workers: 3 workers died with it"]
    report = files.report(job.id)
    assert report is not None
    assert (report.data, report.held_out, report.steps) == (
        earlier.data,
        earlier.held_out,
        earlier.steps,
    )
    assert str(report.ended).startswith("ended: kills_workers")


def test_who_lost_the_job_writes_nothing_more_of_it(
    place: World,
    training: Training,
    files: TrainingFiles,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*args: Any) -> Any:
        raise LeaseLost("somebody else has it")

    monkeypatch.setattr("workers.jobs.training_kept.LOG_S", 1e9)
    monkeypatch.setattr("workers.jobs.training_kept.Kept.keep", lambda self: None)
    monkeypatch.setattr("workers.train.job.train_apart", lost)
    job = job_for(place)
    training.submit(job)
    trainer.run()
    assert files.found(job.id) == {}


def test_a_bucket_that_takes_no_log_fails_no_training(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("no more of it")

    monkeypatch.setattr(TrainingFiles, "put", refuse)
    monkeypatch.setattr("workers.train.job.train_apart", lambda *args: trained(*args, "content"))
    job = job_for(place)
    training.submit(job)
    trainer.run()
    outcome = records.outcome(job.id)
    assert outcome is not None
    assert outcome.status == "published"


def test_a_log_is_followed_to_the_end_of_its_job(
    place: World,
    training: Training,
    files: TrainingFiles,
    records: TrainingRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producer.jobs.training.FOLLOW_S", 0.02)
    job = job_for(place)
    training.submit(job)
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend(training.log(job.id, follow=True)))
    written = ""
    following = training.log(job.id, follow=True)
    files.put(job.id, "log.txt", b"one\n")
    assert next(following) == "one"
    thread.start()
    for line in ("two", "three"):
        written = f"one\ntwo\n{'three' if line == 'three' else ''}".rstrip() + "\n"
        files.put(job.id, "log.txt", written.encode())
        assert next(following) == line
    files.put(job.id, "log.txt", f"{written}[... 7 lines are left out ...]\nlast\n".encode())
    records.end(
        TrainOutcome(job_id=job.id, status="failed", seconds=1.0, created_at=datetime.now(UTC))
    )
    assert list(following) == ["[... 7 lines are left out ...]", "last"]
    thread.join(30)
    wait_until(lambda: not thread.is_alive(), 30, "the follower")
    assert seen[-1] == "last"
    assert len(seen) == len(set(seen))


def test_nothing_was_said_of_a_job_that_nobody_began(place: World, training: Training) -> None:
    job = job_for(place)
    training.submit(job)
    done = CliRunner().invoke(train, ["logs", job.id], env=place.env)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no trainer has said anything" in done.stderr
    assert said(replace(place), "status", job.id)["files"] == {}
