"""What do many workers and many keys cost Redis and the feeder? Measured for 10 and 100 workers.

    python -m benchmarks.growth [--json] [--quick] [--into FILE]

Real Celery workers with real leases over a real Redis, whose tasks only wait, as long as captions
do; and the real feeder over a backlog of ten million keys that nobody has to write. What a thousand
workers cost is the straight line through these two, and is told as such.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, parser_of
from benchmarks.scale import Computed, Shards
from infra.local.processes import Process, stop
from infra.local.redis import start_redis
from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.jobs.high_water_marks import HighWaterMarks
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.leased_queues import LeasedQueues
from shared.settings import Settings

ROOT = Path(__file__).parent.parent
KEYS = 10_000_000
SIZES, QUICK_SIZES = (10, 100), (2, 4)
ROWS, JOB_S = 14, 9.6
"""Of a worker: an L4 has 14 rows, and does a caption in 0.69 s when all are in use."""
QUICK_ROWS, QUICK_JOB_S = 4, 0.5
IDLE_S, WARM_S, BUSY_S = 20.0, 20.0, 40.0
QUICK_S = 1.0
START_S = 120.0
FAR = 1000
"""Workers."""


class Sample:
    """What Redis has done and holds, at a moment."""

    def __init__(self, client: redis.Redis, queues: LeasedQueues, queue: str) -> None:
        told: Any = client.info("everything")
        self.at = time.monotonic()
        self.commands: int = told["total_commands_processed"]
        self.scripts: int = told["cmdstat_evalsha"]["calls"]
        self.cpu_s: float = told["used_cpu_user"] + told["used_cpu_sys"]
        self.mib = told["used_memory"] / 2**20
        self.taken = queues.taken(queue)

    def since(self, before: "Sample") -> dict[str, float]:
        lasted = self.at - before.at
        return {
            "commands_per_s": round((self.commands - before.commands) / lasted, 1),
            "scripts_per_s": round((self.scripts - before.scripts) / lasted, 1),
            "jobs_per_s": round((self.taken - before.taken) / lasted, 2),
            "redis_cpu_share": round((self.cpu_s - before.cpu_s) / lasted, 4),
            "redis_mib": round(self.mib, 2),
        }


class Backlogged:
    """The feeder, as `jamak feed` runs it, in this process: so its CPU can be told."""

    def __init__(self, settings: Settings, queues: LeasedQueues, keys: int) -> None:
        backlog = Shards(Computed(settings, keys), settings, "growth", keys)
        self._feed = Feed(backlog, queues)
        self._room = HighWaterMarks(queues).room
        self.queue = self._feed.queue
        self.cpu_s = 0.0
        self.fed = 0

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            cpu_s = time.thread_time()
            fed = feed_round([self._feed], self._room)
            self.cpu_s += time.thread_time() - cpu_s
            self.fed += fed
            if not fed:
                time.sleep(Feeder.IDLE_S)


def measure(folder: Path, count: int, *, quick: bool) -> dict[str, Any]:
    """So many workers with nothing to do, and then with more than they can do."""
    server = start_redis(folder / "redis")
    settings = Settings(redis_url=SecretStr(server.url))
    queues = leased_queues(settings, caption_prefix(settings))
    rows, job_s = (QUICK_ROWS, QUICK_JOB_S) if quick else (ROWS, JOB_S)
    idle_s, warm_s, busy_s = (QUICK_S,) * 3 if quick else (IDLE_S, WARM_S, BUSY_S)
    crew = Process(
        "workers",
        [sys.executable, "-m", "benchmarks.growth_workers", str(count), str(rows), str(job_s)],
        log=folder / "workers.log",
        env={
            **os.environ,
            "BENCH_REDIS_URL": server.url,
            "TMPDIR": str(folder),
            "OMP_NUM_THREADS": "1",
        },
        cwd=ROOT,
    )
    try:
        with redis.Redis.from_url(server.url) as client:
            crew.wait_until(lambda: len(queues.workers()) >= count, START_S)
            backlog = Backlogged(settings, queues, KEYS)
            time.sleep(idle_s / 4)
            before = Sample(client, queues, backlog.queue)
            time.sleep(idle_s)
            idle = Sample(client, queues, backlog.queue).since(before)
            backlog.run(warm_s)
            cpu_s = backlog.cpu_s
            before = Sample(client, queues, backlog.queue)
            backlog.run(busy_s)
            busy = Sample(client, queues, backlog.queue).since(before)
            crew.check()
    finally:
        stop([crew])
        server.stop()
    return {
        "workers": count,
        "idle": {name: value for name, value in idle.items() if name != "jobs_per_s"},
        "busy": {
            **busy,
            "feeder_cpu_share": round((backlog.cpu_s - cpu_s) / busy_s, 4),
            # Of all that was fed: of few workers the queue stays full for minutes.
            "feeder_cpu_ms_per_job": round(1000 * backlog.cpu_s / backlog.fed, 3),
        },
    }


def line(small: Mapping[str, Any], large: Mapping[str, Any], far: int) -> dict[str, Any]:
    """The straight line through two sizes, at a third. Nobody has run that many."""
    steps = (far - large["workers"]) / (large["workers"] - small["workers"])
    told: dict[str, Any] = {"workers": far, "extrapolated": True}
    for state in ("idle", "busy"):
        told[state] = {
            name: round(max(0.0, value + (value - small[state][name]) * steps), 3)
            for name, value in large[state].items()
        }
    told["busy"]["feeder_cpu_ms_per_job"] = large["busy"]["feeder_cpu_ms_per_job"]
    return told


def main() -> None:
    parser = parser_of("growth", __doc__, quick="a few workers, for a second")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the result there, dated")
    arguments = begin(parser)
    telemetry.configure_logging("warning")
    sizes = QUICK_SIZES if arguments.quick else SIZES
    measured: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="jamak-growth-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        bar = bars.add_task("workers", total=sum(sizes))
        for count in sizes:
            measured.append(measure(Path(folder) / str(count), count, quick=arguments.quick))
            bars.advance(bar, count)
    result = {"keys": KEYS, "measured": measured, "far": line(*measured, FAR)}
    show([*measured, result["far"]])
    if arguments.into is not None:
        told = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} CPU cores",
            "command": "python -m benchmarks.growth --json --into FILE",
        }
        arguments.into.write_text(f"{json.dumps({**told, 'result': result}, indent=1)}\n")
    if arguments.json:
        print(json.dumps(result))


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    heads = (f"{one['workers']:,}{'*' if 'extrapolated' in one else ''}" for one in rows)
    grid = Table("workers", *heads, box=SIMPLE)
    for state in ("idle", "busy"):
        for name in rows[0][state]:
            values = (f"{one[state][name]:,.4g}" for one in rows)
            grid.add_row(f"{state}: {name.replace('_', ' ')}", *values)
    out = Console(file=sys.stdout)
    out.print(grid)
    out.print("* the straight line through the others", highlight=False)


if __name__ == "__main__":
    main()
