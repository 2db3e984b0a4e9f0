"""One fleet, one list of faults, one report: what benchmarks.delivery repeats on each system."""

import random
import signal
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu import Queue

from benchmarks.delivery_jobs import job_of
from benchmarks.fleet import Fleet, Note
from infra.local.processes import Process
from infra.local.s3 import S3Server
from shared.broker.apps import CAPTION_TASK, caption_app

QUEUE = "caption.t4"
WORKERS, THREADS = 3, 8
TIMEOUT_S = 6.0
GAP_S = 3.0
"""Between two faults, or half a timeout if that is less; after a restart of Redis RESUME_S."""
RESUME_S, SILENT_S = 10.0, 30.0
RESUME_PORTIONS = 3
FROZEN_TIMEOUTS = 1.5
LONGEST_STILL_S = 180.0
CRASHES = {
    "jamak": ("after_take", "before_ack", "in_beat"),
    "stock": ("after_take", "before_ack"),
    "control": ("before_ack",),
}


@dataclass(frozen=True)
class Faults:
    worker_kills: int
    redis_kills: int
    freezes: int
    drains: int

    @property
    def total(self) -> int:
        return self.worker_kills + self.redis_kills + self.freezes + self.drains


@dataclass
class Report:
    jobs: int
    lost_before_reconcile: int = 0
    lost: int = 0
    published_twice: int = 0
    run_twice: int = 0
    rejected_healthy: int = 0
    recovery_p50_s: float | None = None
    recovery_max_s: float | None = None
    recovery_default_p50_s: float | None = None
    silent_workers: int = 0
    resumed_in_process: float | None = None
    """Share of the workers that took work again within 10 s of a restart of Redis."""
    watchdog_exits: int = 0
    drained_with_code: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Trial:
    """One fleet, one list of faults, one report."""

    def __init__(
        self,
        name: str,
        s3: S3Server,
        folder: Path,
        seed: int,
        advance: Callable[[], None] = lambda: None,
        **fleet: Any,
    ) -> None:
        app = "stock" if name == "stock" else "jamak"
        self.name, self.app, self.random, self.advance = name, app, random.Random(seed), advance  # noqa: S311
        options = {"size": WORKERS, "threads": THREADS, "timeout_s": TIMEOUT_S, **fleet}
        self.fleet = Fleet(app, s3, folder, **options)
        self.timeout_s, self.threads = options["timeout_s"], options["threads"]
        self.celery = caption_app(self.fleet.settings) if app == "jamak" else self._stock()
        self.jobs: list[str] = []
        self.sizes: dict[str, int] = {}
        self.killed: list[tuple[float, int]] = []
        self.restarts: list[tuple[float, set[int]]] = []
        self.frozen: list[tuple[float, int]] = []
        self.drains: list[Process] = []
        self.silenced: set[int] = set()

    def run(self, jobs: int, faults: Faults) -> Report:
        started = time.monotonic()
        try:
            self.fleet.fill_up()
            self._wait_for_workers()
            self._hurt(jobs, faults)
            missing = self._settle()
            report = Report(jobs=jobs, lost_before_reconcile=len(missing))
            if missing:
                self._send(sorted(missing))
                missing = self._settle()
            report.lost = len(missing)
            self._count(report)
        finally:
            self.fleet.close()
        report.seconds = round(time.monotonic() - started, 1)
        return report

    def _stock(self) -> Celery:
        app = Celery("stock", broker=self.fleet.redis.url, set_as_current=False)
        app.conf.update(
            task_queues=[Queue(QUEUE)],
            task_ignore_result=True,
            broker_transport_options={"global_keyprefix": "stock:", "priority_steps": [0]},
            task_publish_retry_policy={"max_retries": None, "interval_max": 1.0},
        )
        return app

    # Work and faults.

    def _enqueue(self, count: int, longer_s: float = 0.0) -> None:
        names = [f"{len(self.jobs) + i:05}" for i in range(count)]
        for name in names:
            self.sizes[name] = round(1000 * (longer_s or self.random.uniform(0.2, 1.4)))
        self.jobs += names
        self._send(names)

    def _send(self, names: list[str]) -> None:
        with self.celery.producer_or_acquire() as producer:
            for name in names:
                payload = job_of(name, self.sizes[name]).model_dump(mode="json")
                self.celery.send_task(CAPTION_TASK, args=(payload,), queue=QUEUE, producer=producer)

    def _hurt(self, jobs: int, faults: Faults) -> None:
        plan = ["kill"] * faults.worker_kills + ["redis"] * faults.redis_kills
        plan += ["freeze"] * faults.freezes + ["drain"] * faults.drains
        self.random.shuffle(plan)
        long = jobs // 100
        # After a restart of Redis there is work for all slots, again and again: who takes none of
        # it does not hear.
        slots = self.fleet.size * self.threads
        self.portion = min(slots, jobs // (2 * RESUME_PORTIONS * max(faults.redis_kills, 1)))
        resuming = self.portion * RESUME_PORTIONS * faults.redis_kills
        chunk = (jobs - long - resuming) // (len(plan) + 1)
        self._enqueue(jobs - long - resuming - chunk * len(plan))
        gap_s = min(GAP_S, self.timeout_s / 2)
        for fault in plan:
            self._pause(gap_s * self.random.uniform(0.5, 1.5))
            self._enqueue(chunk)
            getattr(self, f"_{fault}")()
            self.advance()
        # No job outlives this rate of kills if it is much longer than the pause between two. That
        # longer ones are not run again while their worker lives shows when the killing is over.
        self._enqueue(long, longer_s=2 * self.timeout_s)
        self._replace()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.2)
            self._replace()

    def _replace(self, crash: str = "") -> None:
        for worker in self.fleet.workers:
            if worker.poll() is not None:
                self.killed.append((time.monotonic(), worker.pid))
        self.fleet.fill_up(crash)

    def _anyone(self) -> Process:
        """But not who is on its way out already."""
        alive = [worker for worker in self.fleet.workers if worker.poll() is None]
        return self.random.choice([worker for worker in alive if worker not in self.drains])

    def _someone_who_works(self) -> Process:
        """On a slow machine the one that replaced the last one may be starting still."""
        until = time.monotonic() + self.timeout_s * 3  # or there is nothing to do
        while time.monotonic() < until:
            holding: dict[int, set[str]] = defaultdict(set)
            for note in self.fleet.notes():
                if note.what == "take":
                    holding[note.pid].add(note.job)
                elif note.what in ENDS:
                    holding[note.pid].discard(note.job)
            alive = [one for one in self.fleet.workers if one.poll() is None]
            working = [one for one in alive if holding[one.pid] and one not in self.drains]
            if working:
                return self.random.choice(working)
            time.sleep(0.1)
            self._replace()
        return self._anyone()

    def _kill(self) -> None:
        crash = ""
        if self.random.random() < 0.5 or self.name == "control":
            # The next one ends itself, at a point that random moments rarely meet.
            point = self.random.choice(CRASHES[self.name])
            few = point == "in_beat" or self.name == "control"
            crash = f"{point}:{self.random.randint(1, 3 if few else 12)}"
        victim = self._someone_who_works()
        victim.kill()
        self._replace(crash)

    def _freeze(self) -> None:
        victim = self._anyone()
        victim.signal_group(signal.SIGSTOP)
        self.frozen.append((time.monotonic(), victim.pid))

        def thaw() -> None:
            victim.signal_group(signal.SIGCONT)

        timer = threading.Timer(FROZEN_TIMEOUTS * self.timeout_s, thaw)
        timer.daemon = True
        timer.start()

    def _drain(self) -> None:
        victim = self._anyone()
        victim.signal_group(signal.SIGTERM)
        self.drains.append(victim)

    def _redis(self) -> None:
        # Who is still starting, or ending, or frozen, has nothing to resume.
        ready = {note.pid for note in self.fleet.notes() if note.what == "ready"}
        ready -= {worker.pid for worker in self.drains}
        self.fleet.kill_redis()
        time.sleep(self.random.uniform(1.0, 3.0))
        self.fleet.restart_redis()
        frozen = {
            pid
            for at, pid in self.frozen
            if time.monotonic() - at < FROZEN_TIMEOUTS * self.timeout_s
        }
        pids = {worker.pid for worker in self.fleet.workers if worker.poll() is None}
        self.restarts.append((time.monotonic(), (pids & ready) - frozen))
        for _ in range(RESUME_PORTIONS):
            self._enqueue(self.portion)
            self._pause(RESUME_S / RESUME_PORTIONS)

    # What came of it.

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + 60
        while sum(note.what == "ready" for note in self.fleet.notes()) < self.fleet.size:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers do not start: see {self.fleet.folder}/logs")
            time.sleep(0.2)

    def _settle(self) -> set[str]:
        """Wait until all is done or nothing moves any more; what has neither record nor failure."""
        last, moved = -1, time.monotonic()
        while True:
            self._replace()
            notes = self.fleet.notes()
            ended = {note.job for note in notes if note.what == "done"}
            if set(self.jobs) <= ended:
                break
            if len(notes) != last:
                last, moved = len(notes), time.monotonic()
            waits, returning = self._in_flight()
            still_s = time.monotonic() - moved
            if still_s > SILENT_S and waits:
                # Work waits, and nobody takes it: an operator would start them again.
                for worker in self.fleet.workers:
                    self.silenced.add(worker.pid)
                    worker.signal_group(signal.SIGKILL)
                moved = time.monotonic()
            elif (
                still_s > self.timeout_s * 3 + 5 and not waits and not returning
            ) or still_s > LONGEST_STILL_S:
                break
            time.sleep(0.2)
        found = {*self.fleet.versions(), *self.fleet.failures()}
        return set(self.jobs) - found

    def _in_flight(self) -> tuple[int, int]:
        """How many anybody could take, and how many will be there again."""
        prefix = f"{self.app}:"
        with redis.Redis.from_url(self.fleet.redis.url) as client:
            waits, alone = client.llen(f"{prefix}{QUEUE}"), client.llen(f"{prefix}{QUEUE}:alone")
            held = client.hlen(f"{prefix}unacked")
            return waits, alone + held + client.zcard(f"{prefix}delayed")  # type: ignore[return-value]

    def _count(self, report: Report) -> None:
        notes = self.fleet.notes()
        starts = Counter(note.job for note in notes if note.what == "start")
        report.run_twice = sum(count > 1 for count in starts.values())
        report.published_twice = sum(count > 1 for count in self.fleet.versions().values())
        report.rejected_healthy = len(self.fleet.failures()) + self._poisoned()
        recovered = recoveries(notes, self.killed)
        if recovered:
            report.recovery_p50_s = round(statistics.median(recovered), 1)
            report.recovery_max_s = round(max(recovered), 1)
        resumed, silent = resumptions(notes, self.restarts, self.killed)
        report.resumed_in_process = resumed
        report.silent_workers = len(silent | self.silenced)
        report.drained_with_code = dict(Counter(str(worker.poll()) for worker in self.drains))
        report.watchdog_exits = sum(worker.poll() == 70 for worker in self.fleet.ended)

    def _poisoned(self) -> int:
        with redis.Redis.from_url(self.fleet.redis.url) as client:
            return int(client.llen("jamak:poison"))  # type: ignore[arg-type]


def recoveries(notes: list[Note], killed: list[tuple[float, int]]) -> list[float]:
    """Seconds from the death of a worker until somebody else took each job that it had."""
    found = []
    for at, pid in killed:
        held = {note.job for note in notes if note.pid == pid and note.what == "take"}
        held -= {note.job for note in notes if note.pid == pid and note.what in ENDS}
        for job in held:
            later = [
                note.at
                for note in notes
                if note.job == job and note.what == "take" and note.at > at and note.pid != pid
            ]
            if later:
                found.append(later[0] - at)
    return found


ENDS = ("done", "found", "conflict")


def resumptions(
    notes: list[Note], restarts: list[tuple[float, set[int]]], killed: list[tuple[float, int]]
) -> tuple[float | None, set[int]]:
    """Which workers took work again after a restart of Redis: share within 10 s, and who did not
    within 30 s although it lived. Who died before, or had nothing to take, is not judged."""
    deaths = {pid: at for at, pid in killed}
    last = max((note.at for note in notes if note.what == "take"), default=0.0)
    resumed = judged = 0
    silent = set()
    for at, pids in restarts:
        for pid in pids:
            takes = [note.at for note in notes if note.pid == pid and note.what == "take"]
            after = min((take - at for take in takes if take > at), default=None)
            lived = min(deaths.get(pid, last), last) - at
            if after is None and lived < RESUME_S:
                continue
            judged += 1
            resumed += after is not None and after <= RESUME_S
            if (after is None or after > SILENT_S) and lived > SILENT_S:
                silent.add(pid)
    return (round(resumed / judged, 3) if judged else None), silent
