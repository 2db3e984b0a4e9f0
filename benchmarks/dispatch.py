"""What safety costs: no-op tasks through one worker process, on four systems over one Redis.

    python -m benchmarks.dispatch [--json] [--quick] [--tasks N] [--rounds N]

Tasks a second and CPU per task of a worker that has a queue to empty; commands a second of one
that has nothing to do; and how long a task waits that is sent to an idle worker. Rounds are
interleaved; the ratio is of CPU seconds, in each round against stock Celery. `--json` ends with
one object: system -> figures.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.programs import begin, need, parser_of
from infra.local.processes import Process, stop
from infra.local.redis import start_redis

ROOT = Path(__file__).parent.parent
MODULE = "benchmarks.dispatch_workers"
CELERY = ["celery", "--app", "{app}", "worker", "--without-gossip", "--without-mingle"]
CELERY += ["--without-heartbeat", "--loglevel", "WARNING"]
COMMANDS = {
    "jamak": CELERY,
    "celery": CELERY,
    "dramatiq": ["dramatiq", "{app}", "--processes", "1", "--threads", "32"],
    "taskiq": ["taskiq", "worker", "{app}", "--workers", "1", "--max-threadpool-threads", "32"],
}
WARM_TASKS = 100
"""Not counted."""
IDLE_S, PINGS, PING_PAUSE_S, LONGEST_S = 5.0, 40, 0.25, 120.0


class System:
    """One worker on an empty Redis of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.name, self.folder, self.log = name, folder, folder / "ran.log"
        self.log.touch()
        self.redis = start_redis(folder / "redis")
        self.env = {
            **os.environ,
            "BENCH_REDIS_URL": self.redis.url,
            "BENCH_LOG": str(self.log),
            "OMP_NUM_THREADS": "1",
        }
        self.sent = 0
        self.worker: Process | None = None

    def start(self) -> None:
        command = [part.format(app=f"{MODULE}:{self.name}_app") for part in COMMANDS[self.name]]
        self.worker = Process(
            self.name,
            [sys.executable, "-m", *command],
            log=self.folder / "worker.log",
            env=self.env,
            cwd=ROOT,
        )

    def send(self, count: int, pause_s: float = 0.0) -> dict[int, float]:
        """Task -> when it was sent."""
        done = subprocess.run(
            [sys.executable, "-m", MODULE, self.name, str(self.sent), str(count), str(pause_s)],
            env=self.env,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        self.sent += count
        rows = (line.split() for line in done.stdout.splitlines())
        return {int(number): float(at) for number, at in rows}

    def ran(self) -> dict[int, tuple[float, float]]:
        """Task -> when it ran, and the CPU seconds of its process by then."""
        rows = (line.split() for line in self.log.read_text().splitlines())
        return {int(number): (float(at), float(cpu)) for number, at, cpu in rows}

    def wait(self) -> None:
        """Until all that was sent has run."""
        assert self.worker is not None
        self.worker.wait_until(lambda: len(self.ran()) >= self.sent, LONGEST_S)

    def close(self) -> None:
        if self.worker is not None:
            stop([self.worker])
        self.redis.stop()


def measure(name: str, folder: Path, tasks: int, pings: int, idle_s: float) -> dict[str, float]:
    """One round of one system."""
    system = System(name, folder)
    try:
        system.send(tasks)
        system.start()
        system.wait()
        ran = sorted(system.ran().values())[WARM_TASKS:]
        (start, cpu_before), (end, cpu_after) = ran[0], ran[-1]
        commands = commands_per_s(system, idle_s)
        sent = system.send(pings, pause_s=PING_PAUSE_S)
        system.wait()
        ran_at = system.ran()
        return {
            "tasks_per_s": len(ran) / (end - start),
            "cpu_ms_per_task": 1000 * (cpu_after - cpu_before) / len(ran),
            "idle_commands_per_s": commands,
            "start_ms_p50": 1000
            * statistics.median(ran_at[number][0] - at for number, at in sent.items()),
        }
    finally:
        system.close()


def commands_per_s(system: System, idle_s: float) -> float:
    """What clients send; what a script does inside is none of it."""
    url, count = system.redis.url, 0
    patient = redis.Redis.from_url(url, socket_timeout=idle_s + 5)
    with patient as client, redis.Redis.from_url(url) as other:
        end = threading.Timer(idle_s, other.echo, ["the end"])
        with client.monitor() as monitor:
            end.start()
            for command in monitor.listen():
                if "the end" in command["command"]:
                    break
                count += command["client_type"] != "lua"
        end.join()
    return count / idle_s


def figures(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}


def ratios(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Tasks per CPU second against stock Celery's in the same round: median, least, most."""
    found = {}
    for name, ours in rounds.items():
        pairs = zip(rounds["celery"], ours, strict=True)
        each = [theirs["cpu_ms_per_task"] / one["cpu_ms_per_task"] for theirs, one in pairs]
        found[name] = {
            "ratio_of_celery": round(statistics.median(each), 3),
            "ratio_least": round(min(each), 3),
            "ratio_most": round(max(each), 3),
        }
    return found


def main() -> None:
    parser = parser_of("dispatch", __doc__, quick="one short round of two systems")
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = begin(parser)
    systems = ["jamak", "celery"] if arguments.quick else list(COMMANDS)
    need(*(name for name in systems if name != "jamak"))
    count = 1 if arguments.quick else arguments.rounds
    sizes = (150, 2, 0.3) if arguments.quick else (arguments.tasks, PINGS, IDLE_S)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    plan = [(i, name) for i in range(count) for name in systems]
    with tempfile.TemporaryDirectory(prefix="jamak-dispatch-") as folder:
        for i, name in track(plan, "rounds", console=Console(stderr=True)):
            rounds[name].append(measure(name, Path(folder) / f"{name}-{i}", *sizes))
    compared = ratios(rounds)
    found = {name: {**figures(rounds[name]), **compared[name]} for name in systems}
    grid = Table("", *found)
    for name in found["jamak"]:
        grid.add_row(name.replace("_", " "), *(f"{one[name]:,.3g}" for one in found.values()))
    Console(file=sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
