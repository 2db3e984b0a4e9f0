"""The fleet of `sickness_fleet` with stock Celery in place of ours, on the same servers.

Its producer never gives up: what Celery's client refuses is sent again until it is taken.
"""

import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from celery import Celery
from celery.exceptions import OperationalError
from redis.exceptions import RedisError

from benchmarks.delivery_jobs import PEER_TASK
from benchmarks.sickness_fleet import ARCHIVE_BUCKET, Fleet
from benchmarks.sickness_members import Member
from infra.local.processes import Process
from infra.local.procfile import ROOT
from infra.local.s3 import OUTPUT_BUCKET, VIDEOS_BUCKET

RECORDS = "peer/"
AGAIN_S = 0.5


@dataclass
class PeerMember(Member):
    @property
    def ready(self) -> bool:
        """Celery has no probe: it lives."""
        return self.process.poll() is None

    @property
    def taken(self) -> float:
        notes = self.scratch / f"{self.process.pid}.ended"
        return notes.stat().st_size if notes.exists() else 0


class PeerFleet(Fleet):
    def _start(self) -> None:
        self._jobs: queue.Queue[tuple[str, str, str, str]] = queue.Queue()
        env = self._environ()
        self._producer = Celery("peer", broker=env["JAMAK_REDIS_URL"], set_as_current=False)
        self._producer.conf.broker_transport_options = {
            "global_keyprefix": "stock:",
            "priority_steps": [0],
        }
        for number in range(self._captioners):
            self.members[f"captioner-{number + 1}"] = self._worker(number + 1, env)
        self._make_films()
        threading.Thread(target=self._send, daemon=True).start()
        time.sleep(5)  # nothing says that it is ready

    def _worker(self, number: int, env: dict[str, str]) -> Member:
        name = f"captioner-{number}"
        notes = self.folder / "notes" / name
        notes.mkdir(parents=True)
        command = [sys.executable, "-m", "celery", "--app", "benchmarks.sickness_peer:app"]
        command += ["worker", "--hostname", f"{number}@bench", "--loglevel", "WARNING"]
        starts = 0

        def start() -> Process:
            nonlocal starts
            starts += 1
            return Process(
                name,
                [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"],
                log=self.folder / "logs" / f"{name}-{starts}.log",
                env={**env, "BENCH_FOLDER": str(notes)},
                cwd=ROOT,
            )

        return PeerMember(name, 0, start, start(), notes)

    def _send(self) -> None:
        while True:
            bucket, key, output, record = self._jobs.get()
            while True:
                try:
                    self._producer.send_task(
                        PEER_TASK, args=(bucket, key, output, record), queue="captions"
                    )
                except (OperationalError, RedisError, OSError):
                    time.sleep(AGAIN_S)
                else:
                    break

    def upload(self, case: str, numbers: range, bucket: str = VIDEOS_BUCKET) -> list[str]:
        keys = super().upload(case, numbers, bucket)
        for key in keys:
            self._jobs.put((bucket, key, OUTPUT_BUCKET, f"{RECORDS}{key}"))
        return keys

    def backlog(self, case: str, count: int) -> list[str]:
        """Celery has none: they are sent one by one."""
        return self.upload(f"{case}-backlog", range(count), ARCHIVE_BUCKET)

    def _held(self, kind: str, case: str) -> Iterator[tuple[str, str]]:
        if kind == "records":  # it writes no failures: what it gave up is lost
            for key in self._keys(f"{RECORDS}{case}"):
                yield key.removeprefix(RECORDS), key
