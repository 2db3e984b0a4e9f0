"""The checkpoints of a training job in S3, and the run that may write them.

    <prefix>training/<job>/epoch.json                     TrainRun: who may write, what is whole
    <prefix>training/<job>/checkpoints/<step>-<epoch>/…   files

A run takes the next epoch when it begins. A checkpoint is its files, and then its line in
`epoch.json`, written by compare-and-swap over what this run wrote there last: so a run that was
overtaken, by a worker that got the job after it, adds no line, whatever it still uploads. What has
no line is not there; what was lost or changed since is passed over for the one before.
"""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from shared.bucket.keys import training_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read, read_with_etag
from shared.bucket.swaps import swaps
from shared.errors import Conflict, JamakError, LeaseLost, Missing, TooLarge
from shared.messages import decode
from shared.telemetry import get_logger
from shared.training_runs import STATE_FILE, TENSORS_FILE, Checkpoint, TrainRun, TrainState

KEPT = 2
"""Checkpoints: the last one, and the one before, in case the last was damaged."""
MOST_BYTES = {STATE_FILE: 64 << 20, TENSORS_FILE: 12 << 30}
"""Of a 7B model at rank 16: three quarters of a GiB, what is trained and two moments of it."""

log = get_logger("jamak.checkpoints")


class Checkpoints:
    """Of one run of a job, which begins here: from now on no earlier run writes any.

    Args:
        worker: whose run it is.
        check: raises if the job is not ours any more; asked between the look and the write.
        on_kept: called after each checkpoint that is whole.
    """

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        prefix: str,
        job_id: str,
        worker: str,
        check: Callable[[], None],
        on_kept: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._bucket, self._on_kept = store, bucket, on_kept
        self._key = f"{training_folder(prefix)}{job_id}/epoch.json"
        self._folder = _folder(prefix, job_id)
        self._run, self._etag = self._take(worker, check)

    @property
    def epoch(self) -> int:
        return self._run.epoch

    def check(self) -> None:
        """Raises LeaseLost: a later run has begun."""
        try:
            now = read(self._store, TrainRun, self._bucket, self._key).epoch
        except Missing:
            now = None
        if now != self.epoch:
            raise self._overtaken(now)

    def fetch(self, data_sha256: str, directory: Path, on_chunk: Callable[[], None]) -> int:
        """The newest whole checkpoint into a directory that is not there yet; its step, or 0: there
        is none.

        Args:
            data_sha256: of what is trained on. A checkpoint of something else is none of this
                training.
            on_chunk: called after each piece that came.
        """
        for one in reversed(self._run.checkpoints):
            if one.data_sha256 != data_sha256:
                log.warning("a checkpoint is of another training", step=one.step)
                continue
            why = self._why_not(one, directory, on_chunk)
            if why is None:
                return one.step
            shutil.rmtree(directory)
            log.warning("a checkpoint is passed over", step=one.step, epoch=one.epoch, message=why)
        return 0

    def add(self, step: int, data_sha256: str, directory: Path, check: Callable[[], None]) -> None:
        """The files, and then the line that makes them a checkpoint. Again is harmless.

        Args:
            check: raises if nobody wants it any more; asked before the line.

        Raises:
            LeaseLost: a later run has begun; there is no such line.
        """
        files = {}
        for name in MOST_BYTES:
            with (directory / name).open("rb") as file:
                files[name] = hashlib.file_digest(file, "sha256").hexdigest()
        one = Checkpoint(step=step, epoch=self.epoch, data_sha256=data_sha256, files=files)
        for name in files:
            self._store.upload(directory / name, self._bucket, self._place(one) + name)
        before = self._run.checkpoints
        for _ in swaps(f"s3://{self._bucket}/{self._key}"):
            others = [other for other in self._run.checkpoints if other != one]
            kept = (*others, one)[-KEPT:]
            run = self._run.model_copy(update={"checkpoints": kept, "at": datetime.now(UTC)})
            check()
            try:
                self._etag = self._write(run, self._etag)
            except Conflict:
                self._take_up()
                continue
            break
        self._run = run
        self._on_kept()
        for old in before:
            if old not in kept:
                for name in old.files:
                    self._store.delete(self._bucket, self._place(old) + name)

    def _take_up(self) -> None:
        """What is there, if it is ours: the answer to what we wrote last got lost.

        Raises:
            LeaseLost: it is a later run's.
        """
        now, etag = self._look()
        if now is None or (now.epoch, now.worker) != (self.epoch, self._run.worker):
            raise self._overtaken(now.epoch if now else None)
        self._run, self._etag = now, str(etag)

    def _take(self, worker: str, check: Callable[[], None]) -> tuple[TrainRun, str]:
        for _ in swaps(f"s3://{self._bucket}/{self._key}"):
            before, etag = self._look()
            run = TrainRun(
                epoch=before.epoch + 1 if before else 1,
                worker=worker,
                at=datetime.now(UTC),
                checkpoints=before.checkpoints if before else (),
            )
            check()
            with suppress(Conflict):
                return run, self._write(run, etag)
        raise AssertionError("the last swap returns or raises")

    def _look(self) -> tuple[TrainRun | None, str | None]:
        try:
            return read_with_etag(self._store, TrainRun, self._bucket, self._key)
        except Missing:
            return None, None

    def _write(self, run: TrainRun, etag: str | None) -> str:
        return self._store.put(
            self._bucket,
            self._key,
            run.model_dump_json(indent=2).encode(),
            content_type="application/json",
            if_none_match=etag is None,
            if_match=etag,
        )

    def _why_not(
        self, one: Checkpoint, directory: Path, on_chunk: Callable[[], None]
    ) -> str | None:
        """Fetch it; why it cannot be used, or None: it can."""
        directory.mkdir(exist_ok=True)
        for name, most in MOST_BYTES.items():
            path = directory / name
            try:
                key = self._place(one) + name
                self._store.download(self._bucket, key, path, most, on_chunk)
            except (Missing, TooLarge) as error:
                return str(error)
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != one.files.get(name):
                    return f"{name} is not the file that was written"
        try:
            decode(TrainState, (directory / STATE_FILE).read_bytes())
        except JamakError as error:
            return str(error)  # a newer Jamak wrote it
        return None

    def _place(self, one: Checkpoint) -> str:
        return f"{self._folder}{one.step}-{one.epoch}/"

    def _overtaken(self, now: int | None) -> LeaseLost:
        return LeaseLost(f"run {self.epoch} of the training was overtaken by run {now}")


def clear(store: ObjectStore, bucket: str, prefix: str, job_id: str) -> None:
    """The job has ended, so nobody goes on with it: the files of all its runs are deleted."""
    for item in list(store.list(bucket, _folder(prefix, job_id))):
        store.delete(bucket, item.key)


def _folder(prefix: str, job_id: str) -> str:
    return f"{training_folder(prefix)}{job_id}/checkpoints/"
