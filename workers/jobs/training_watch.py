"""Beside a training job: says in the bucket how far it is and what it said, and hears there that
it shall end, or rest, or that another worker has begun it.

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
from shared.bucket.stored import UNREADABLE
from shared.bucket.training import TrainingRecords
from shared.errors import Cancelled, JamakError, LeaseLost, Paused
from shared.prices import Price
from shared.training import TrainJob, TrainProgress
from workers.delivery.lease import Lease
from workers.jobs.training_kept import Kept
from workers.jobs.training_pace import Pace

LOOK_S = 3.0
"""Between two looks at whether the job is still wanted."""
TELL_S = 15.0
"""Between two words about how far it is: each is a version of an object where buckets keep them."""
QUIET_S = 60.0
"""Between two while it does not count steps."""

log = telemetry.get_logger("jamak.training")


@contextmanager
def watched(
    job: TrainJob,
    records: TrainingRecords,
    checkpoints: Checkpoints,
    lease: Lease,
    kept: Kept,
    price: Price,
) -> Iterator["Watch"]:
    """Around the training."""
    watch = Watch(job, records, checkpoints, lease, kept, price)
    thread = threading.Thread(target=watch.look_until_done, name="training-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.done.set()
        thread.join()
        watch.say_last()


class Watch:
    def __init__(
        self,
        job: TrainJob,
        records: TrainingRecords,
        checkpoints: Checkpoints,
        lease: Lease,
        kept: Kept,
        price: Price,
    ) -> None:
        self._job, self._records, self._lease = job, records, lease
        self._checkpoints = checkpoints
        self.paused: Paused | None = None
        """It shall rest, once what it has learned is kept."""
        self._kept, self._price, self._pace = kept, price, Pace()
        self._began, self._since = time.monotonic(), datetime.now(UTC)
        self._earlier: TrainProgress | None = None
        """Of the try before: what it spent counts."""
        self._knows_earlier = False
        self._event: dict[str, Any] = {}
        self._told: TrainProgress | None = None
        self._told_at = -TELL_S
        self.done = threading.Event()

    def on_event(self, event: dict[str, Any]) -> None:
        """A word of the subprocess about how far it is."""
        self._event = event
        self._pace.hear(event)
        self._kept.on_event(event)

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
            if not self._event:  # nothing was begun that could be kept
                self._lease.progress.stop(error)
            return
        if not self._knows_earlier:
            self._earlier, self._knows_earlier = self._progress_before(), True
            if self._earlier is not None:
                self._pace.goes_on(self._earlier.after_s)
        self._kept.keep()
        now, progress = time.monotonic(), self._progress()
        new_stage = self._told is None or self._told.stage != progress.stage
        waited_s = now - self._told_at
        # Of what does not count its steps as well: it costs money, and whoever is killed says no
        # last word.
        if (self._moved(progress) and (new_stage or waited_s >= TELL_S)) or waited_s >= QUIET_S:
            self._records.tell(progress)
            self._told, self._told_at = progress, now

    def _progress_before(self) -> TrainProgress | None:
        try:
            return self._records.progress(self._job.id)
        except UNREADABLE:
            return None

    def say_last(self) -> None:
        """When this try ends, so that what it spent is not forgotten."""
        if not self._knows_earlier:
            return
        try:
            self._lease.check()
            self._records.tell(self._progress())
        except JamakError as error:
            log.warning("the bucket does not hear how far this job came", message=str(error))

    def _progress(self) -> TrainProgress:
        stage, event = self._lease.progress.stage, self._event
        counted = event if event.get("stage") == stage else {}
        earlier, spent_s = self._earlier, time.monotonic() - self._began
        usd = earlier.usd if earlier else None
        if self._price.usd_per_hour is not None:
            cards = self._job.processes
            usd = (usd or 0.0) + spent_s / 3600 * self._price.usd_per_hour * cards
        return TrainProgress(
            job_id=self._job.id,
            worker=self._lease.delivery.lease.rpartition(".")[0],
            attempt=self._lease.delivery.history.attempt,
            since=self._since,
            stage=stage,
            step=counted.get("step", 0),
            steps=counted.get("steps", 0),
            loss=counted.get("loss"),
            tokens_per_s=self._pace.tokens_per_s if stage == "train" else None,
            seconds_left=self._pace.seconds_left if stage in ("train", "after") else None,
            after_s=self._pace.after_s,
            spent_s=spent_s + (earlier.spent_s if earlier else 0.0),
            usd=usd,
            updated_at=datetime.now(UTC),
        )

    def _moved(self, progress: TrainProgress) -> bool:
        if self._told is None:
            return True
        return (progress.stage, progress.step) != (self._told.stage, self._told.step)
