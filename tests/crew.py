"""A fleet and the jobs that are sent to it, for tests that hurt it.

The fleet is that of benchmarks.delivery: real tasks, leases, drain and watchdog, with a body that
sleeps where captioning would be.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.delivery_jobs import job_of
from benchmarks.fleet import Fleet
from infra.local.processes import Process
from infra.local.s3 import OUTPUT_BUCKET, S3Server
from shared.broker.apps import CAPTION_TASK, caption_app, queues_of
from shared.broker.leased_queues import LeasedQueues
from tests.waiting import wait_until
from tests.warm import WarmProcess

QUEUE = "caption.t4"
TIMEOUT_S = 3.0


class Crew:
    def __init__(self, s3: S3Server, folder: Path, *, conditional: bool = True) -> None:
        self.fleet = Fleet(
            "jamak",
            s3,
            folder,
            size=1,
            threads=4,
            timeout_s=TIMEOUT_S,
            drain_s=2.0,
            conditional=conditional,
            process=WarmProcess,
        )
        self.app = caption_app(self.fleet.settings)

    @property
    def queues(self) -> LeasedQueues:
        return queues_of(self.app)

    def send(self, names: Sequence[str], ms: int = 100) -> None:
        for name in names:
            payload = job_of(name, ms).model_dump(mode="json")
            self.app.send_task(CAPTION_TASK, args=(payload,), queue=QUEUE)

    def start(self, **env: str) -> Process:
        worker = self.fleet.start_worker(**env)
        worker.wait_until(lambda: (worker.pid, "ready", "-") in self.noted(), 60)
        return worker

    def noted(self) -> set[tuple[int, str, str]]:
        return {(note.pid, note.what, note.job) for note in self.fleet.notes()}

    def wait_for(self, what: str, *jobs: str, within_s: float = 30) -> None:
        def seen() -> bool:
            return {(what, job) for job in jobs} <= {
                (note.what, note.job) for note in self.fleet.notes()
            }

        wait_until(seen, within_s, f"{what} of {jobs}")

    def failure(self, job: str) -> dict[str, object]:
        key = f"{self.fleet.prefix}failures/{job}"
        body = self.fleet.s3.s3().get_object(Bucket=OUTPUT_BUCKET, Key=key)["Body"].read()
        return dict(json.loads(body))
