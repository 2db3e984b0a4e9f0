"""What is done to the workers of benchmarks.resume, and when: one fault after the other."""

import json
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.sickness_fronts import Asked, HttpFront
from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from shared.bucket.storage import ObjectStore
from shared.messages import decode
from shared.settings import Settings
from shared.training_runs import STATE_FILE, TENSORS_FILE, TrainRun, TrainState

TRAINING = "workers.train.run"


def events_of(log: Path) -> Iterator[dict[str, Any]]:
    """Lines of a worker's log that are whole."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                yield event


class Worker:
    """A train worker, as the Procfile has it."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._process = Process(
            log.stem,
            ["/bin/sh", "-c", read_procfile()["trainer"]],
            log=log,
            env={**environment, "JAMAK_METRICS_PORT": str(free_port())},
            cwd=ROOT,
        )
        self._read = 0

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def step(self) -> int:
        """The last one that it said."""
        steps = [e["step"] for e in events_of(self.log) if e["event"] == "training"]
        return int(steps[-1]) if steps else 0

    def kill(self) -> None:
        self._process.signal_group(signal.SIGKILL)

    def kill_training(self) -> bool:
        """Whether there was one."""
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if TRAINING in child.cmdline():
                    child.kill()
                    return True
        return False

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        """To the worker and to its training."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)
        self._process.signal_group(number)

    def end(self) -> None:
        self.thaw()
        stop([self._process])


class Faults:
    """Args:
    wanted: in their order.
    steps: of the training.
    """

    def __init__(self, wanted: Sequence[str], chance: random.Random, steps: int) -> None:
        self._wanted, self._chance, self._steps = deque(wanted), chance, steps
        self.done: list[str] = []
        self.thawed = 0
        self.wants_another = False
        """Worker, beside the one that is frozen."""
        self._workers: list[Worker] = []
        self._frozen: Worker | None = None
        self._reached = 0
        self._step = 0
        self._lock = threading.Lock()

    def stand_before(
        self,
        front: HttpFront,
        store: ObjectStore,
        settings: Settings,
        heard: Callable[[tuple[float, ...]], None],
    ) -> None:
        """Between the workers and the store."""
        self._store, self._settings, self._heard = store, settings, heard
        front.rules.append(self._rule)

    def begin(self, worker: Worker) -> None:
        self.wants_another = False
        self._workers.append(worker)
        self._choose()

    def look(self) -> None:
        """Now and then: is it time?"""
        with self._lock:
            fault, worker = self._next, self._workers[-1]
            if fault not in ("worker", "training", "frozen") or self._frozen is not None:
                return
            if worker.ended or worker.step < self._step:
                return
            if fault == "worker":
                worker.kill()
            elif fault == "training":
                if not worker.kill_training():
                    return
            else:
                worker.freeze()
                self._frozen, self.wants_another = worker, True
                return
            self._did(fault)

    def finish(self) -> None:
        """The job has ended. What could not be done until then is not counted."""
        with self._lock:
            if self._frozen is not None:
                self._thaw()

    def _thaw(self) -> None:
        assert self._frozen is not None
        self._frozen.thaw()
        self._frozen, self.thawed = None, self.thawed + 1
        self._wanted.popleft()

    @property
    def _next(self) -> str | None:
        return self._wanted[0] if self._wanted else None

    def _choose(self) -> None:
        """At which step the next one comes: some further than any run has got."""
        left = max(1, (self._steps - self._reached) // max(1, len(self._wanted)))
        self._step = self._reached + self._chance.randint(1, max(1, left))

    def _did(self, fault: str) -> None:
        self._reached = max(self._reached, self._workers[-1].step)
        self._wanted.popleft()
        self.done.append(fault)
        self._choose()

    def _rule(self, asked: Asked) -> bool:
        if asked.method != "PUT":
            return False
        with self._lock:
            if asked.key.endswith("/epoch.json"):
                return self._at_a_line(asked)
            if "/checkpoints/" in asked.key:
                return self._at_a_file(asked)
            if asked.key.endswith("/manifest.json") and "/adapters/" in asked.key:
                return self._at_a_manifest(asked)
        return False

    def _at_a_file(self, asked: Asked) -> bool:
        if self._next == "before its files" and asked.key.endswith(TENSORS_FILE):
            self._kill()
            asked.drop()
            return True
        return False

    def _at_a_line(self, asked: Asked) -> bool:
        """In the list of checkpoints."""
        if self._next == "behind its files" and self._has_files():
            self._kill()
            asked.drop()
            return True
        asked.pass_on()
        run = decode(TrainRun, self._store.get(asked.bucket, asked.key))
        if run.checkpoints:
            newest = run.checkpoints[-1]
            folder = f"{asked.key.removesuffix('epoch.json')}checkpoints/"
            key = f"{folder}{newest.step}-{newest.epoch}/{STATE_FILE}"
            self._heard(decode(TrainState, self._store.get(asked.bucket, key)).losses)
            if newest.epoch == run.epoch and self._frozen is not None:
                self._thaw()  # another one has written: too late for it
            if newest.step == self._steps and self._next == "last line":
                self._kill()
        return True

    def _has_files(self) -> bool:
        """A checkpoint is uploaded that has no line yet; not so when a run begins."""
        return any(e["event"] == "training" for e in events_of(self._workers[-1].log))

    def _at_a_manifest(self, asked: Asked) -> bool:
        if self._next == "before the manifest":
            self._kill()
            asked.drop()
            return True
        if self._next == "behind the manifest":
            asked.answer()
            self._kill()
            asked.drop()
            return True
        return False

    def _kill(self) -> None:
        fault = self._next
        assert fault is not None
        self._workers[-1].kill()
        self._did(fault)
