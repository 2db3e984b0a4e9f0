"""A short run of benchmarks.delivery: kills, a restart of Redis, a freeze and a drain at once.

The long one, beside stock Celery, is `python -m benchmarks.delivery`.
"""

from pathlib import Path

import pytest

from benchmarks.trial import Faults, Trial
from infra.local.s3 import S3Server
from tests.crew import Crew
from tests.waiting import wait_until
from tests.warm import WarmProcess

pytestmark = pytest.mark.integration

JOBS = 100


def test_nothing_is_lost_and_nothing_is_there_twice(s3: S3Server, tmp_path: Path) -> None:
    trial = Trial("jamak", s3, tmp_path / tmp_path.name, seed=3, process=WarmProcess)
    report = trial.run(JOBS, Faults(worker_kills=4, redis_kills=1, freezes=1, drains=1))
    assert len(trial.killed) >= 4
    assert (report.jobs, report.lost_before_reconcile, report.lost) == (JOBS, 0, 0)
    assert (report.published_twice, report.rejected_healthy) == (0, 0)
    assert report.silent_workers == 0
    assert report.recovery_p50_s is not None
    assert report.recovery_p50_s <= 12


def test_without_the_condition_a_death_before_the_ack_writes_twice(
    s3: S3Server, tmp_path: Path
) -> None:
    """So the count of double writes, above, can be other than none."""
    crew = Crew(s3, tmp_path / tmp_path.name, conditional=False)
    try:
        crew.start(crash="before_ack:1")
        crew.send(["job"])
        wait_until(lambda: crew.fleet.workers[0].poll() is not None, 30, "its death")
        crew.start()
        wait_until(lambda: crew.fleet.versions() == {"job": 2}, 30, "the second write")
    finally:
        crew.fleet.close()


@pytest.mark.soak
def test_the_count_of_double_writes_can_rise(s3: S3Server, tmp_path: Path) -> None:
    trial = Trial(
        "control", s3, tmp_path / tmp_path.name, seed=3, conditional=False, process=WarmProcess
    )
    report = trial.run(60, Faults(worker_kills=3, redis_kills=0, freezes=0, drains=0))
    assert report.published_twice > 0
