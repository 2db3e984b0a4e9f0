"""The life of a training job: run it, say how far it is, and write down how it ended, once."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared import telemetry
from shared.bucket.checkpoints import Checkpoints, clear
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.bucket.training import TrainingRecords
from shared.bucket.training_files import TrainingFiles
from shared.errors import Cancelled, Conflict, Draining, JamakError, Paused
from shared.prices import Price
from shared.settings import Settings
from shared.training import TrainJob, TrainOutcome
from workers.delivery.lease import Lease
from workers.jobs.training_kept import Kept
from workers.jobs.training_watch import watched
from workers.train.job import run_train_job

FREE = Price(None)

log = telemetry.get_logger("jamak.training")


class TrainWork:
    """Everything a training job needs, handed in by the composition root."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        scratch: Path,
        draining: Callable[[], bool] = lambda: False,
        price: Price = FREE,
    ) -> None:
        """Args:
        draining: whether this worker is to end soon.
        price: of this machine's card.
        """
        self._draining, self._price, self._scratch = draining, price, scratch
        self._settings, self._store = settings.model_copy(update={"scratch_dir": scratch}), store
        # As the limits of cards: in a folder that everybody may write to, anybody could.
        self._features = (settings.scratch_dir or scratch) / "features"
        self._registry = Registry(store, settings.output_bucket, settings.output_prefix)
        self._records = TrainingRecords(store, settings.output_bucket, settings.output_prefix)
        self._files = TrainingFiles(store, settings.output_bucket, settings.output_prefix)
        self._kept: Kept | None = None
        """Of the last try."""

    def run(self, job: TrainJob, lease: Lease) -> None:
        """Train, publish, and write the outcome. What can be tried again is raised.

        Raises:
            LeaseLost: somebody else does it now; the training was stopped.
            Draining: this worker is to end; the next one goes on from the last checkpoint.
            Cancelled: the job is not wanted any more; nothing was published.
            Paused: it is not wanted now; it goes on from its last checkpoint when it is.
            Retry: the job is fine, the world is not.
        """
        lease.say(lambda: {"messaging.message.id": job.id, "jamak.source": job.data})
        if self._records.outcome(job.id) is not None:
            lease.account.how = "duplicates"
            log.info("it has ended already", job=job.id)
            return
        self._records.begin(job.id, lease.check)
        seen = self._records.started(job.id, self._registry.pointers)
        kept = self._kept = Kept(job, self._files, lease, self._scratch)

        def on_kept() -> None:
            lease.advance()
            kept.report_soon()

        checkpoints = Checkpoints(
            self._store,
            self._settings.output_bucket,
            self._settings.output_prefix,
            job.id,
            lease.delivery.lease.rpartition(".")[0],
            lease.check,
            on_kept,
        )

        def ours() -> None:
            lease.check()
            checkpoints.check()

        def check() -> None:
            self._records.about_to_publish(job.id, ours)

        try:
            with (
                kept.of_this_try(),
                watched(job, self._records, checkpoints, lease, kept, self._price) as watch,
            ):

                def ending() -> JamakError | None:
                    if self._draining():
                        return Draining("the next worker goes on with it")
                    return watch.paused

                manifest, why_not_activated = run_train_job(
                    job,
                    self._settings,
                    self._store,
                    self._registry,
                    lease.progress,
                    check,
                    seen,
                    checkpoints,
                    watch.on_event,
                    ending,
                    self._features,
                    kept.on_line,
                    kept.reading,
                )
        except Paused:
            # What is known of it was kept first, which takes a minute: it may be cancelled by now.
            self._records.check_wanted(job.id)
            raise
        lease.account.how, lease.account.adapter = "training", manifest.version
        lease.say(lambda: {"jamak.adapter": manifest.version})
        self._write(
            job,
            lease,
            status="published",
            version=manifest.version,
            activated=why_not_activated is None,
            why_not_activated=why_not_activated,
            notes=manifest.notes,
            metrics=manifest.metrics,
        )

    def fail(self, job: TrainJob, lease: Lease, error: JamakError) -> bool:
        """False: it has no other effect than this. Raises LeaseLost: nothing was written."""
        # Whatever else went wrong with a job that is not wanted any more.
        cancelled = isinstance(error, Cancelled) or self._cancelled(job)
        kept = self._kept
        if kept is None or not kept.tells(lease):
            kept = Kept(job, self._files, lease, self._scratch)
        kept.job_ended(error)
        self._write(
            job,
            lease,
            status="cancelled" if cancelled else "failed",
            reason=error.reason,
            message=str(error),
            cure=error.cure,
        )
        return False

    def _cancelled(self, job: TrainJob) -> bool:
        try:
            return self._records.decision(job.id).wanted == "cancel"
        except UNREADABLE:
            return False  # then nobody knows

    def _write(self, job: TrainJob, lease: Lease, **ended: Any) -> None:
        seconds = round(max(sum(lease.progress.timings_s().values()), self._spent_s(job)), 3)
        outcome = TrainOutcome(
            job_id=job.id, seconds=seconds, created_at=datetime.now(UTC), **ended
        )
        lease.check()
        try:
            self._records.end(outcome)
        except Conflict:
            log.info("the outcome was written already", job=job.id)
            return
        telemetry.TRAIN_JOBS.labels(outcome.status, outcome.reason or "").inc()
        if outcome.status == "published":
            telemetry.TRAIN_JOB.observe(seconds)
        log.info("training ended", **outcome.model_dump(mode="json"))
        self._clear(job)

    def _spent_s(self, job: TrainJob) -> float:
        """By all tries, as the last one told."""
        try:
            told = self._records.progress(job.id)
        except UNREADABLE:
            return 0.0
        return told.spent_s if told else 0.0

    def _clear(self, job: TrainJob) -> None:
        """Nobody goes on with it. What cannot be deleted ends by the bucket's rule."""
        try:
            clear(self._store, self._settings.output_bucket, self._settings.output_prefix, job.id)
        except JamakError as error:
            log.warning("its checkpoints stay", job=job.id, message=str(error))
