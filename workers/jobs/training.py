"""The life of a training job: run it, and write down how it ended, once."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared import telemetry
from shared.bucket.keys import training_key
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict, JamakError
from shared.messages import TrainJob, TrainOutcome
from shared.settings import Settings
from workers.delivery.leases import Lease
from workers.train.job import run_train_job

log = telemetry.get_logger("jamak.training")


class TrainWork:
    """Everything a training job needs, handed in by the composition root."""

    def __init__(self, settings: Settings, store: ObjectStore, scratch: Path) -> None:
        self._settings, self._store = settings.model_copy(update={"scratch_dir": scratch}), store
        self._registry = Registry(store, settings.output_bucket, settings.output_prefix)

    def run(self, job: TrainJob, lease: Lease) -> None:
        """Train, publish, and write the outcome. What can be tried again is raised.

        Raises:
            LeaseLost: somebody else does it now; the training was stopped.
            Retry: the job is fine, the world is not.
        """
        key = training_key(self._settings.output_prefix, job.id)
        if self._store.exists(self._settings.output_bucket, key):
            log.info("already trained", job=job.id)
            return
        started = time.monotonic()
        manifest, activated = run_train_job(
            job, self._settings, self._store, self._registry, lease.progress, lease.check
        )
        self._write(
            job,
            lease,
            time.monotonic() - started,
            status="published",
            version=manifest.version,
            activated=activated,
            metrics=manifest.metrics,
        )

    def fail(self, job: TrainJob, lease: Lease, error: JamakError) -> None:
        """Raises LeaseLost: nothing was written."""
        self._write(
            job,
            lease,
            0.0,
            status="failed",
            reason=error.reason,
            message=str(error),
            cure=error.cure,
        )

    def _write(self, job: TrainJob, lease: Lease, seconds: float, **ended: Any) -> None:
        outcome = TrainOutcome(
            job_id=job.id, seconds=round(seconds, 3), created_at=datetime.now(UTC), **ended
        )
        lease.check()
        try:
            self._store.put(
                self._settings.output_bucket,
                training_key(self._settings.output_prefix, job.id),
                outcome.model_dump_json(indent=2).encode(),
                content_type="application/json",
                if_none_match=True,
            )
        except Conflict:
            log.info("the outcome was written already", job=job.id)
        telemetry.TRAIN_JOBS.labels(outcome.status, outcome.reason or "").inc()
        if outcome.status == "published":
            telemetry.TRAIN_JOB.observe(seconds)
        log.info("training ended", **outcome.model_dump(mode="json"))
