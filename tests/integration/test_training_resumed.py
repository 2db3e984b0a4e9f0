"""A training that outlives its workers: over a real Redis, a real S3 API and the real task."""

import threading
from pathlib import Path

import pytest

from producer.jobs.training import Training
from shared.broker.leased_queues import History
from shared.bucket.checkpoints import Checkpoints
from shared.bucket.keys import training_folder
from shared.bucket.training import TrainingRecords
from shared.bucket.training_files import TrainingFiles
from shared.errors import Cancelled
from shared.training_runs import Before, TrainState
from tests.trainer import Trainer, held, instead_of_torch, job_for, running
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

LEARNS = """
import os, pathlib, signal, sys, time
workdir = pathlib.Path(sys.orig_argv[4])
step = 3 + (workdir / "checkpoint").exists()
def keep(*_):
    folder = workdir / "checkpoints" / str(step)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{state}')
    (folder / "state.safetensors").write_text("tensors")
    print('{{"stage": "train", "step": %d, "steps": 9, "checkpoint": true}}' % step, flush=True)
signal.signal(signal.SIGTERM, lambda *_: (keep(), os._exit(3)))
print('{{"stage": "train", "step": %d, "steps": 9, "loss": 0.5}}' % step, flush=True)
{then}
"""
"""As the real one: it goes on from a checkpoint, and leaves one when it is asked to end."""
STATE = TrainState(
    step=3, base_sha256="", before=Before(captions=(), likely=()), losses=(), rates=(), schedule={}
)


@pytest.mark.parametrize("how", ["drain", "pause"])
def test_a_worker_that_ends_hands_its_training_on_with_what_it_has_learned(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """So does one whose training is paused, to whoever resumes it."""
    job = job_for(place)
    training.submit(job)
    says = LEARNS.format(state=STATE.model_dump_json(), then="time.sleep(600)")
    with running(trainer, records, job, tmp_path, monkeypatch, says) as thread:
        if how == "pause":
            training.pause(job.id)
        else:
            trainer.leases.stop_taking()  # as at SIGTERM
        thread.join(60)
        assert not thread.is_alive()
    assert records.outcome(job.id) is None
    if how == "pause":
        assert training.job(job.id).state == "paused"
        training.resume(job.id)
    assert training.job(job.id).state == "queued"
    other = Trainer(place, tmp_path)
    try:
        delivery = other.take()
        assert delivery.history == History()
        thread = threading.Thread(target=other.run, args=(delivery,))
        thread.start()
        wait_until(lambda: (found := records.progress(job.id)) and found.step == 4, 60, "step 4")
        other.leases.of(delivery.lease).progress.stop(Cancelled("enough"))
        thread.join(60)
    finally:
        other.leases.leave()
    # It has ended: nobody goes on with it.
    assert records.outcome(job.id) is not None
    folder = f"{training_folder(place.prefix)}{job.id}/checkpoints/"
    assert list(place.store.list(place.output, folder)) == []


def test_who_goes_on_from_a_checkpoint_finds_the_steps_before_it_in_the_report(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the report was written a moment before."""
    files = TrainingFiles(place.store, place.output, place.prefix)
    monkeypatch.setattr("workers.jobs.training_kept.drawn", lambda report, scratch: b"")
    monkeypatch.setenv("WRITTEN", str(tmp_path / "written"))
    then = """
while not os.path.exists(os.environ["WRITTEN"]):
    time.sleep(0.02)
step = 4
print('{"stage": "train", "step": 4, "steps": 9, "loss": 0.25}', flush=True)
keep()
time.sleep(600)
"""
    job = job_for(place)
    training.submit(job)
    says = LEARNS.format(state=STATE.model_dump_json(), then=then)
    with running(trainer, records, job, tmp_path, monkeypatch, says) as thread:
        try:
            wait_until(lambda: files.report(job.id) is not None, 60, "the first report")
            (tmp_path / "written").touch()

            def known() -> bool:
                report = files.report(job.id)
                return report is not None and [one.step for one in report.steps][-1:] == [4]

            wait_until(known, 5, "the step before the checkpoint")
        finally:
            training.cancel(job.id)
            thread.join(60)


@pytest.mark.parametrize(
    ("then", "attempt"), [("keep(); os.kill(os.getpid(), 9)", 1), ("os.kill(os.getpid(), 9)", 2)]
)
def test_a_training_that_got_further_and_died_has_used_up_no_attempt(
    place: World,
    training: Training,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
    attempt: int,
) -> None:
    training.submit(job_for(place))
    says = LEARNS.format(state=STATE.model_dump_json(), then=then)
    instead_of_torch(says, tmp_path, monkeypatch)
    trainer.run()
    (delayed,) = trainer.queues.redis.zrange(f"{trainer.queues.prefix}delayed", 0, -1)
    assert History.parse(delayed.decode().split("\n")[4]).attempt == attempt


def test_a_training_that_is_begun_elsewhere_ends_here(
    place: World,
    training: Training,
    records: TrainingRecords,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while Redis tells nobody that the lease was lost."""
    job = job_for(place)
    training.submit(job)
    with running(trainer, records, job, tmp_path, monkeypatch) as thread:
        other = Checkpoints(place.store, place.output, place.prefix, job.id, "other", held)
        thread.join(60)
        assert not thread.is_alive()
    other.check()
    assert records.outcome(job.id) is None
    assert list(place.registry.manifests()) == []
