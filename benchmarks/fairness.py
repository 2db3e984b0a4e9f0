"""Whether tenants get what their weights say while one of them floods and one comes late.

    python -m benchmarks.fairness [--json] [--quick] [--rounds N]

Real workers, a real Redis. Three tenants send at once, the first of them far more than is done; a
fourth comes later. Counted is what is done in the seconds in which all of them have work, beside
plain Celery with one queue and plain Celery with a queue for each tenant. Then what tenants cost:
CPU of a worker and of Redis for a job that does nothing, with a hundred of them and with none, in
turn; and what taking a message costs Redis with ten, a hundred and a thousand. `--json` ends with
one object.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.fairness_workers import BUCKET, QUEUE, CelerySender, JamakSender
from benchmarks.programs import begin, need, parser_of
from infra.local.processes import Process, stop
from infra.local.redis import start_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.sharing import Share
from shared.settings import Settings
from shared.tenants import Tenants

ROOT = Path(__file__).parent.parent
MODULE = "benchmarks.fairness_workers"
WORKERS, JOB_S = 2, 0.05
PREFIX = "bench"
FLOOD, LATE = "flood", "late"
WEIGHTS = {"gold": 4.0, "silver": 2.0, FLOOD: 1.0, LATE: 2.0}
SYSTEMS = ("jamak", "celery", "queues")
SETTLE_S = 0.5
"""After the last jobs were sent: what is in hand by then was taken before."""
TENTHS = 10
"""Who has nothing done in one of these parts of the time starves."""


@dataclass(frozen=True)
class Load:
    """How many seconds, and how many jobs each sends."""

    alone_s: float
    together_s: float
    jobs: dict[str, int]


FULL = Load(4, 12, {FLOOD: 9000, "gold": 4000, "silver": 2000, LATE: 1500})
QUICK = Load(0.7, 1.5, {FLOOD: 900, "gold": 600, "silver": 400, LATE: 300})


@dataclass(frozen=True)
class Got:
    name: str
    weight: float
    share: float
    wanted_share: float
    ratio: float


class System:
    """Workers of one system on a Redis of its own."""

    def __init__(self, name: str, folder: Path, tenants: dict[str, float], **env: str) -> None:
        folder.mkdir(parents=True)
        self.name, self.log = name, folder / "ran.log"
        self.log.touch()
        self.redis = start_redis(folder / "redis")
        told = ",".join(f"s3://{BUCKET}/{one}/={one}:{w:g}" for one, w in tenants.items())
        self.env = {
            "BENCH_REDIS_URL": self.redis.url,
            "BENCH_LOG": str(self.log),
            "BENCH_TENANTS": ",".join(tenants),
            "BENCH_JOB_S": str(JOB_S),
            "JAMAK_REDIS_URL": self.redis.url,
            "JAMAK_REDIS_PREFIX": PREFIX,
            "JAMAK_TENANTS": told,
            "JAMAK_LOG_LEVEL": "warning",
            "OMP_NUM_THREADS": "1",
            **env,
        }
        self.settings = Settings(
            redis_url=SecretStr(self.redis.url),
            redis_prefix=PREFIX,
            tenants={
                f"s3://{BUCKET}/{one}/": f"{one}:{weight:g}" for one, weight in tenants.items()
            },
        )
        self._folder = folder
        self.workers: list[Process] = []

    def start(self, count: int) -> None:
        command = [sys.executable, "-m", "celery", "--app", f"{MODULE}:{self.name}_app", "worker"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command += ["--loglevel", "WARNING"]
        self.workers += [
            Process(
                f"{self.name} {number}",
                [*command, "--hostname", f"{number}@bench"],
                log=self._folder / f"worker-{number}.log",
                env={**os.environ, **self.env},
                cwd=ROOT,
            )
            for number in range(count)
        ]

    def ran(self) -> list[tuple[str, float, float]]:
        """Whose, when it ended, and the CPU seconds of its process by then; in that order."""
        rows = (line.split() for line in self.log.read_text().splitlines())
        return sorted(((whose, float(end), float(cpu)) for whose, _, end, cpu in rows), key=_ended)

    def wait_for(self, count: int, patience_s: float = 120) -> None:
        (first, *_) = self.workers
        first.wait_until(lambda: len(self.log.read_bytes().splitlines()) >= count, patience_s)

    def close(self) -> None:
        stop(self.workers)
        self.redis.stop()


def _ended(row: tuple[str, float, float]) -> float:
    return row[1]


def sender_of(system: System) -> Any:
    if system.name == "jamak":
        return JamakSender(system.settings)
    os.environ.update(system.env)
    from benchmarks import fairness_workers

    fairness_workers.URL = system.redis.url
    if system.name == "celery":
        return CelerySender(fairness_workers.celery(["celery"]), lambda tenant: "celery")
    return CelerySender(fairness_workers.celery(list(WEIGHTS)), lambda tenant: tenant)


def under_load(name: str, folder: Path, load: Load) -> dict[str, Any]:
    """One system through all of it."""
    system = System(name, folder, WEIGHTS)
    try:
        sender = sender_of(system)
        system.start(WORKERS)
        sender.send(FLOOD, WORKERS)  # until both are there
        system.wait_for(WORKERS)
        for tenant in (FLOOD, "gold", "silver"):
            sender.send(tenant, load.jobs[tenant])
        time.sleep(load.alone_s)
        came = time.monotonic()
        sender.send(LATE, load.jobs[LATE])
        start = time.monotonic() + SETTLE_S
        time.sleep(SETTLE_S + load.together_s)
        return told_of(system.ran(), came, start, start + load.together_s)
    finally:
        system.close()


def told_of(
    ran: list[tuple[str, float, float]], came: float, start: float, end: float
) -> dict[str, Any]:
    """Args:
    came: when the late one did.
    start: until `end` all of them have work.
    """
    done = [(whose, at) for whose, at, _ in ran if start <= at < end]
    counts = Counter(whose for whose, _ in done)
    parts = {(whose, int((at - start) / (end - start) * TENTHS)) for whose, at in done}
    whole = sum(WEIGHTS.values())
    tenants = []
    for name, weight in WEIGHTS.items():
        share, wanted = counts[name] / max(len(done), 1), weight / whole
        tenants.append(Got(name, weight, share, wanted, share / wanted))
    late = [at for whose, at, _ in ran if whose == LATE]
    return {
        "tenants": [
            {
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in one.items()
            }
            for one in map(asdict, tenants)
        ],
        "least_ratio": round(min(one.ratio for one in tenants), 4),
        "starved": [
            name for name in WEIGHTS if any((name, part) not in parts for part in range(TENTHS))
        ],
        "late_first_s": round(min(late) - came, 3) if late else None,
        "jobs_per_s": round(len(done) / (end - start), 1),
    }


# What tenants cost.

MANY = 100


def cost_of(folder: Path, tenants: int, jobs: int) -> dict[str, float]:
    """A job that does nothing, in one worker: CPU of the worker and of Redis."""
    names = {f"t{number}": 1.0 for number in range(tenants)}
    system = System("jamak", folder, names, BENCH_JOB_S="0")
    try:
        queues = queues_of(system)
        fill(queues, tenants, jobs)
        system.start(1)
        system.wait_for(jobs // 10)
        with redis.Redis.from_url(system.redis.url) as client:
            before, began = used(client), system.ran()[-1]
            system.wait_for(jobs)
            after, ran = used(client), system.ran()
        count = len([one for one in ran if one[1] > began[1]])
        return {
            "worker_cpu_ms": 1000 * (ran[-1][2] - began[2]) / count,
            "redis_cpu_ms": 1000 * (after["cpu_s"] - before["cpu_s"]) / count,
            "redis_calls": (after["calls"] - before["calls"]) / count,
        }
    finally:
        system.close()


def queues_of(system: System) -> LeasedQueues:
    told = Tenants(system.settings.tenants)
    return LeasedQueues(system.redis.url, f"{PREFIX}:", 30.0, tenants=told)


def fill(queues: LeasedQueues, tenants: int, jobs: int) -> None:
    from producer.jobs.send import messages
    from shared.messages import CaptionJob, Recipe, Video

    recipe = Recipe(prompt="x", model="m", revision="1")
    for start in range(0, jobs, 500):
        made = [
            CaptionJob(
                video=Video(
                    bucket=BUCKET, key=f"t{n % max(tenants, 1)}/{n}.mp4", etag="e", size_bytes=1
                ),
                recipe=recipe,
            )
            for n in range(start, min(start + 500, jobs))
        ]
        uris = [job.video.uri for job in made]
        queues.put(QUEUE, queues.sharing.groups(QUEUE, uris, messages(made)))


def used(client: redis.Redis) -> dict[str, float]:
    """By Redis so far: CPU seconds, and calls of commands, also those inside scripts."""
    cpu: Any = client.info("cpu")
    stats: Any = client.info("commandstats")
    return {
        "cpu_s": cpu["used_cpu_sys"] + cpu["used_cpu_user"],
        "calls": sum(one["calls"] for one in stats.values()),
    }


def take_us(queues: LeasedQueues, tenants: int, messages: int) -> float:
    """What the script of a take costs Redis with so many tenants that wait, in microseconds."""
    per = max(1, messages // max(tenants, 1))
    if tenants:
        for number in range(tenants):
            queues.put(QUEUE, {Share(f"t{number}", 1.0): ["m" * 1000] * per})
    else:
        queues.put(QUEUE, ["m" * 1000] * messages)
    queues.redis.config_resetstat()
    for _ in range(min(messages, per * max(tenants, 1))):
        lease = queues.new_lease()
        queues.take(lease, [QUEUE, f"{QUEUE}.bulk"])
    stats: Any = queues.redis.info("commandstats")
    spent = float(stats["cmdstat_evalsha"]["usec_per_call"])
    queues.redis.flushdb()
    return spent


def costs(folder: Path, rounds: int, jobs: int, most: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    for number in track(range(rounds), "costs", console=Console(stderr=True)):
        found["without"].append(cost_of(folder / f"without-{number}", 0, jobs))
        found["with"].append(cost_of(folder / f"with-{number}", MANY, jobs))
    pairs = list(zip(found["with"], found["without"], strict=True))
    server = start_redis(folder / "takes")
    try:
        queues = LeasedQueues(server.url, f"{PREFIX}:", 30.0)
        counts = [count for count in (0, 10, 100, 1000) if count <= most]
        takes = [
            {n: take_us(queues, n, max(n, jobs // 3)) for n in counts} for _ in range(rounds or 1)
        ]
    finally:
        server.stop()
    return {
        **{name: _medians(some) for name, some in found.items() if some},
        "tenants": MANY,
        "ratio": {
            key: round(statistics.median(one[key] / other[key] for one, other in pairs), 3)
            for key in (pairs[0][0] if pairs else ())
        },
        "take_us_by_tenants": {
            str(count): round(statistics.median(one[count] for one in takes), 1) for count in counts
        },
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(one[key] for one in rounds), 4) for key in rounds[0]}


def main() -> None:
    parser = parser_of("fairness", __doc__, quick="Jamak alone, for three seconds")
    parser.add_argument("--rounds", type=int, default=5, help="of what tenants cost")
    arguments = begin(parser)
    need("celery")
    systems = SYSTEMS[:1] if arguments.quick else SYSTEMS
    with tempfile.TemporaryDirectory(prefix="jamak-fairness-") as place:
        folder = Path(place)
        load = QUICK if arguments.quick else FULL
        shown = track(systems, "systems", console=Console(stderr=True))
        told = {name: under_load(name, folder / name, load) for name in shown}
        sizes = (0, 300, 100) if arguments.quick else (arguments.rounds, 3000, 1000)
        cost = costs(folder, *sizes)
    grid = Table("", "weight", *systems)
    for at, (name, weight) in enumerate(WEIGHTS.items()):
        ratios = (f"{one['tenants'][at]['ratio']:.3f}" for one in told.values())
        grid.add_row(name, f"{weight:g}", *ratios)
    grid.add_row(
        "the late one's first after, s", "", *(str(one["late_first_s"]) for one in told.values())
    )
    out = Console(file=sys.stdout)
    out.print(grid)
    out.print_json(data=cost)
    if arguments.json:
        ours, *_ = told.values()
        peers = {name: one for name, one in told.items() if name != "jamak"}
        print(json.dumps({**ours, "peers": peers, "cost": cost}))


if __name__ == "__main__":
    main()
