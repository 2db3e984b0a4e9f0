"""Beside a training job: says in the bucket how far it is, and hears there that it shall end, or
rest, or that another worker has begun it.

While the bucket is away nothing is said and nothing heard, and the training goes on.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from shared import telemetry
from shared.bucket.checkpoints import Checkpoints
from shared.bucket.training import TrainingRecords
from shared.errors import Cancelled, JamakError, LeaseLost, Paused
from shared.training import TrainJob, TrainProgress
from workers.delivery.lease import Lease

LOOK_S = 3.0
"""Between two looks at whether the job is still wanted."""
TELL_S = 15.0
"""Between two words about how far it is: each is a version of an object where buckets keep them."""

log = telemetry.get_logger("jamak.training")


@contextmanager
def watched(
    job: TrainJob, records: TrainingRecords, checkpoints: Checkpoints, lease: Lease
) -> Iterator["Watch"]:
    """Around the training."""
    watch = Watch(job, records, checkpoints, lease)
    thread = threading.Thread(target=watch.look_until_done, name="training-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        thread.join()


class Watch:
    def __init__(
        self, job: TrainJob, records: TrainingRecords, checkpoints: Checkpoints, lease: Lease
    ) -> None:
        self._job, self._records, self._lease = job, records, lease
        self._checkpoints = checkpoints
        self.paused: Paused | None = None
        """It shall rest, once what it has learned is kept."""
        self._since = datetime.now(UTC)
        self._event: dict[str, Any] = {}
        self._told: TrainProgress | None = None
        self._told_at = -TELL_S
        self.done = threading.Event()

    def on_event(self, event: dict[str, Any]) -> None:
        """A word of the subprocess about how far it is."""
        self._event = event

    def look_until_done(self) -> None:
        while True:
            try:
                self._look()
            except JamakError as error:
                log.warning("the bucket does not hear about this job", message=str(error))
            except Exception:
                log.exception("the bucket does not hear about this job")
            if self.done.wait(LOOK_S):
                return

    def _look(self) -> None:
        try:
            self._records.check_wanted(self._job.id)
            self._checkpoints.check()
        except (Cancelled, LeaseLost) as error:
            self._lease.progress.stop(error)
            return
        except Paused as error:
            self.paused = error
            return
        now, progress = time.monotonic(), self._progress()
        new_stage = self._told is None or self._told.stage != progress.stage
        if self._moved(progress) and (new_stage or now - self._told_at >= TELL_S):
            self._records.tell(progress)
            self._told, self._told_at = progress, now

    def _progress(self) -> TrainProgress:
        stage, event = self._lease.progress.stage, self._event
        counted = event if event.get("stage") == stage else {}
        return TrainProgress(
            job_id=self._job.id,
            worker=self._lease.delivery.lease.rpartition(".")[0],
            attempt=self._lease.delivery.history.attempt,
            since=self._since,
            stage=stage,
            step=counted.get("step", 0),
            steps=counted.get("steps", 0),
            loss=counted.get("loss"),
            updated_at=datetime.now(UTC),
        )

    def _moved(self, progress: TrainProgress) -> bool:
        if self._told is None:
            return True
        return progress != self._told.model_copy(update={"updated_at": progress.updated_at})
