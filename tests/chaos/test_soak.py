"""The long chaos run, for before a release: `pytest -m soak`, some four minutes.

The same beside stock Celery, with a table: `python -m benchmarks.delivery`.
"""

from pathlib import Path

import pytest

from benchmarks.trial import Faults, Trial
from infra.local.s3 import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(900)]

JOBS = 1000
FAULTS = Faults(worker_kills=25, redis_kills=6, freezes=3, drains=3)


def test_a_thousand_jobs_survive(s3: S3Server, tmp_path: Path) -> None:
    trial = Trial("jamak", s3, tmp_path / tmp_path.name, seed=7)
    report = trial.run(JOBS, FAULTS)
    assert (report.lost_before_reconcile, report.lost, report.published_twice) == (0, 0, 0)
    assert (report.rejected_healthy, report.silent_workers) == (0, 0)
    assert report.resumed_in_process is not None
    assert report.resumed_in_process >= 0.95
    assert report.recovery_p50_s is not None
    assert report.recovery_p50_s <= 10
    assert set(report.drained_with_code) <= {"0", "-9"}  # some are killed while they drain
