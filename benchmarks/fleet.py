"""A fleet that can be hurt: Redis, an S3 API and workers as processes of our own.

Knows how to kill, stop, drain and replace; what came of it is read from what workers noted.
"""

import os
import signal
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from infra.local.processes import Process, stop
from infra.local.redis import start_redis
from infra.local.s3 import OUTPUT_BUCKET, S3Server
from shared.settings import Settings

ROOT = Path(__file__).parent.parent
SKEW = Path(__file__).parent / "skew"
"""Its sitecustomize sets the clock of a process."""


@dataclass(frozen=True)
class Note:
    """What a worker wrote down."""

    at: float
    """time.monotonic()"""
    what: str
    job: str
    pid: int


class Fleet:
    """Args:
    app: `jamak` or `stock`.
    size: workers, each with `threads` threads.
    timeout_s: the visibility timeout.
    conditional: False = records are written without the condition, and not looked for.
    process: how a worker is started.
    """

    def __init__(
        self,
        app: str,
        s3: S3Server,
        folder: Path,
        *,
        size: int,
        threads: int,
        timeout_s: float,
        drain_s: float = 3.0,
        conditional: bool = True,
        process: type[Process] = Process,
    ) -> None:
        self.app, self.s3, self.folder, self.size = app, s3, folder, size
        self._process = process
        self.prefix = f"{folder.name}/"
        self.notes_folder = folder / "notes"
        self.notes_folder.mkdir(parents=True)
        (folder / "tmp").mkdir()
        self.redis = start_redis(folder / "redis")
        self.env = {
            **s3.env,
            "JAMAK_REDIS_URL": self.redis.url,
            "JAMAK_OUTPUT": f"s3://{OUTPUT_BUCKET}/{self.prefix}",
            "JAMAK_VISIBILITY_TIMEOUT_S": str(timeout_s),
            "JAMAK_CONCURRENCY": str(threads),
            "JAMAK_DRAIN_S": str(drain_s),
            "JAMAK_LOG_LEVEL": "warning",
            "BENCH_FOLDER": str(self.notes_folder),
            "BENCH_CONDITIONAL": "yes" if conditional else "no",
            "TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
        }
        self.settings = Settings(
            redis_url=SecretStr(self.redis.url), output=f"s3://{OUTPUT_BUCKET}/{self.prefix}"
        )
        self.workers: list[Process] = []
        self.ended: list[Process] = []
        self._started = 0

    def start_worker(self, crash: str = "", clock_s: float = 0, metrics_port: int = 0) -> Process:
        """With a named point to end itself at, a clock that is wrong by so much, a port."""
        self._started += 1
        command = [
            sys.executable,
            "-m",
            "celery",
            "--app",
            f"benchmarks.delivery_worker:{self.app}",
        ]
        command += ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        command += ["--hostname", f"{self._started}@bench", "--loglevel", "WARNING"]
        # Only an interpreter that starts anew reads sitecustomize.
        process = Process if clock_s else self._process
        worker = process(
            f"worker {self._started}",
            command,
            log=self.folder / "logs" / f"worker-{self._started}.log",
            env={
                **os.environ,
                **self.env,
                "BENCH_CRASH": crash,
                "BENCH_CLOCK_S": str(clock_s),
                "JAMAK_METRICS_PORT": str(metrics_port),
                "PYTHONPATH": str(SKEW) if clock_s else "",
            },
            cwd=ROOT,
        )
        self.workers.append(worker)
        return worker

    def fill_up(self, crash: str = "") -> None:
        """Replace what ended, as an orchestrator would."""
        self.ended += [worker for worker in self.workers if worker.poll() is not None]
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < self.size:
            self.start_worker(crash)
            crash = ""

    def kill_redis(self) -> None:
        self.redis.kill()

    def restart_redis(self) -> None:
        self.redis = start_redis(
            self.folder / "redis", port=self.redis.port, password=self.redis.password
        )

    def notes(self) -> list[Note]:
        found = []
        for file in self.notes_folder.glob("*.log"):
            for line in file.read_text().splitlines():
                at, what, job = line.split(" ")
                found.append(Note(float(at), what, job, int(file.stem)))
        return sorted(found, key=lambda note: note.at)

    def versions(self) -> dict[str, int]:
        """Record key -> how often it was written."""
        return self._versions("records/")

    def failures(self) -> dict[str, int]:
        return self._versions("failures/")

    def _versions(self, kind: str) -> dict[str, int]:
        counts: dict[str, int] = defaultdict(int)
        pages = self.s3.s3().get_paginator("list_object_versions")
        prefix = f"{self.prefix}{kind}"
        for page in pages.paginate(Bucket=OUTPUT_BUCKET, Prefix=prefix):
            for version in page.get("Versions", []):
                counts[version["Key"].removeprefix(prefix)] += 1
        return dict(counts)

    def close(self) -> None:
        for worker in self.workers:
            worker.signal_group(signal.SIGCONT)
        stop(self.workers, patience_s=10)
        self.redis.stop()
