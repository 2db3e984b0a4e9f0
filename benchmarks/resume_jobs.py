"""The jobs of benchmarks.resume: each trained once in peace and once with kills, and compared."""

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resume_faults import Faults, Worker, events_of
from benchmarks.sickness_fronts import HttpFront
from infra.demo.clips import write_film
from infra.local.stack import LocalStack
from producer.jobs.training import Training
from shared.broker.apps import train_app
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.prompts import BASE_PROMPT
from shared.rows import Stage
from shared.settings import Settings
from shared.training import TrainJob, TrainOutcome

COLOURS = {"빨간": (200, 30, 30), "파란": (30, 30, 200), "초록색": (30, 160, 30)}
TIMEOUT_S = 4.0
"""Of a lease. A job whose worker died waits so long for the next one."""
LOOK_S = 0.05
LONGEST_S = 900.0
"""Of one training, with all its kills, on a machine that is busy."""


@dataclass(frozen=True)
class Planned:
    name: str
    stage: Stage
    quantized: bool
    faults: Sequence[str]
    """In their order; of resume_faults.Faults."""
    steps: int = 160
    save_every: int = 20


QUICK = (Planned("sft", "sft", False, ("training",), steps=24, save_every=6),)
FULL = (
    Planned("sft", "sft", False, ("worker", "before its files", "last line")),
    Planned("sft nf4", "sft", True, ("training", "worker")),
    Planned("dpo", "dpo", False, ("worker", "frozen", "behind its files", "before the manifest")),
    Planned("dpo nf4", "dpo", True, ("worker", "behind the manifest")),
)


@dataclass
class Report:
    name: str
    steps: int
    kills: list[str] = field(default_factory=list)
    frozen: int = 0
    bit_equal: bool = False
    repeated: int = 0
    published: int = 0
    first_step_s: float = 0.0
    """From the model to the first step of whoever went on from a checkpoint, the longest; 0: nobody
    did, as of one killed before its first and after its last."""


def told(reports: Sequence[Report]) -> dict[str, Any]:
    return {
        "kills": sum(len(one.kills) for one in reports),
        "bit_equal": all(one.bit_equal for one in reports),
        "steps_repeated_max": max(one.repeated for one in reports),
        "published": max(reports, key=lambda one: abs(one.published - 1)).published,
        "first_step_s_max": max(one.first_step_s for one in reports),
        "frozen": sum(one.frozen for one in reports),
        "jobs": [vars(one) for one in reports],
    }


def run_all(plans: Sequence[Planned], seed: int, say: Callable[[str], object]) -> list[Report]:
    """Args:
    seed: of the steps at which is killed.
    """
    chance = random.Random(seed)  # noqa: S311
    with LocalStack(processes=(), extra_env={"JAMAK_LOG_LEVEL": "debug"}) as stack:
        os.environ.update(stack.s3.env)
        store = ObjectStore()
        _put_films(stack, store)
        return [_report(stack, store, plan, chance, say) for plan in plans]


def _report(
    stack: LocalStack,
    store: ObjectStore,
    plan: Planned,
    chance: random.Random,
    say: Callable[[str], object],
) -> Report:
    name = plan.name.replace(" ", "-")
    peace = Trained(stack, store, plan, f"{name}-peace")
    killed = Trained(stack, store, plan, f"{name}-killed")
    faults = Faults(plan.faults, chance, plan.steps)
    with ThreadPoolExecutor(2) as pool:
        for one in (
            pool.submit(peace.train, Faults([], chance, plan.steps)),
            pool.submit(killed.train, faults),
        ):
            one.result()
    report = Report(
        plan.name,
        plan.steps,
        kills=faults.done,
        frozen=faults.thawed,
        bit_equal=killed.result == peace.result and killed.said <= peace.said,
        repeated=killed.repeated,
        published=len(killed.versions),
        first_step_s=killed.first_step_s,
    )
    say(f"{plan.name}: {report}")
    return report


class Trained:
    """One job, in an output and on a queue of its own."""

    def __init__(self, stack: LocalStack, store: ObjectStore, plan: Planned, name: str) -> None:
        self._stack, self._store, self._plan, self.name = stack, store, plan, name
        output = f"{stack.output}{name}/"
        self._env = {**stack.environ, "JAMAK_OUTPUT": output, "JAMAK_REDIS_PREFIX": name}
        self._env["JAMAK_VISIBILITY_TIMEOUT_S"] = str(TIMEOUT_S)
        with _environment(self._env):
            self._settings = Settings()
        bucket, prefix = self._settings.output_bucket, self._settings.output_prefix
        self._records = TrainingRecords(store, bucket, prefix)
        self._registry = Registry(store, bucket, prefix)
        self.losses: tuple[float, ...] = ()
        """Of all steps, as the last checkpoint has them."""
        self.said: set[tuple[int, float]] = set()
        """Step and loss, as the workers said them."""
        self.repeated = 0
        """Steps that were trained once more, the most after one kill."""
        self.first_step_s = 0.0
        """Of those that went on: from the model's being there to the end of their first step."""

    def train(self, faults: Faults) -> None:
        """Until it has ended, whoever is killed meanwhile."""
        job = TrainJob(
            id=self.name,
            stage=self._plan.stage,
            data=f"s3://{self._stack.videos_bucket}/set/{self._plan.stage}.jsonl",
            model=self._settings.model,
            revision=self._settings.model_revision,
            prompt=BASE_PROMPT,
            quantized=self._plan.quantized,
            frames=2,
            steps=self._plan.steps,
            save_every=self._plan.save_every,
            batch_size=4,
            learning_rate=1e-3,
            rank=4,
        )
        Training(self._settings, self._store, train_app(self._settings)).submit(job)
        workers: list[Worker] = []
        with ExitStack() as cleanup:
            front = HttpFront(self._stack.s3.port)
            cleanup.callback(front.close)
            faults.stand_before(front, self._store, self._settings, self._heard)
            environment = {**self._env, "AWS_ENDPOINT_URL": front.endpoint}
            deadline = time.monotonic() + LONGEST_S
            while self._outcome() is None:
                if not workers or workers[-1].ended or faults.wants_another:
                    log = self._stack.directory / "logs" / f"{self.name}-{len(workers)}.log"
                    workers.append(Worker(environment, log))
                    cleanup.callback(workers[-1].end)
                    faults.begin(workers[-1])
                faults.look()
                time.sleep(LOOK_S)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.name} has not ended; see {workers[-1].log}")
            faults.finish()
        outcome = self._outcome()
        if outcome is None or outcome.status != "published":
            raise RuntimeError(f"{self.name} ended as {outcome}")
        self._read([worker.log for worker in workers])

    @property
    def versions(self) -> list[str]:
        return sorted(one.version for one in self._registry.manifests())

    @property
    def result(self) -> tuple[list[str], tuple[float, ...]]:
        """The names of adapters are hashes of their bytes."""
        return self.versions, self.losses

    def _outcome(self) -> TrainOutcome | None:
        return self._records.outcome(self.name)

    def _heard(self, losses: tuple[float, ...]) -> None:
        if len(losses) == self._plan.steps:
            self.losses = losses

    def _read(self, logs: Sequence[Path]) -> None:
        self.first_step_s = max(map(_first_step_s, logs))
        reached = 0
        told = [event for log in logs for event in events_of(log)]
        for event in sorted(told, key=lambda one: datetime.fromisoformat(one["timestamp"])):
            if event["event"] == "training begins":
                self.repeated = max(self.repeated, reached - event["after_step"])
                reached = event["after_step"]
            elif event["event"] == "training" and event["stage"] == "train":
                reached = max(reached, event["step"])
                self.said.add((event["step"], event["loss"]))


def _first_step_s(log: Path) -> float:
    """0 of a worker that began the job, or got to no step."""
    after, ready = 0, None
    for event in events_of(log):
        if event["event"] == "training begins":
            after = event["after_step"]
        elif event["event"] == "training":
            at = datetime.fromisoformat(event["timestamp"])
            if event["stage"] == "load":
                ready = at
            elif event["stage"] == "train" and after and ready is not None:
                return round((at - ready).total_seconds(), 2)
    return 0.0


def _put_films(stack: LocalStack, store: ObjectStore) -> None:
    generator = np.random.default_rng(0)
    captions, preferences = [], []
    for colour, rgb in COLOURS.items():
        for number in range(4):
            name = f"{colour}{number}"
            noise = generator.integers(-20, 20, (8, 48, 80, 3))
            path = stack.directory / f"{name}.mp4"
            write_film(path, np.clip(np.array(rgb) + noise, 0, 255).astype(np.uint8), fps=8)
            store.upload(path, stack.videos_bucket, f"set/{name}.mp4")
            row = {"id": name, "videos": [{"uri": f"{name}.mp4"}]}
            row["split"] = "eval" if number == 3 else "train"
            said = f"{colour} 배경에 아무것도 없습니다."
            captions.append({**row, "completion": said})
            preferences.append({**row, "chosen": said, "rejected": f"{said} 그리고 고양이"})
    for stage, rows in (("sft", captions), ("dpo", preferences)):
        body = "\n".join(json.dumps(row) for row in rows).encode()
        store.put(stack.videos_bucket, f"set/{stage}.jsonl", body)


class _environment:
    """In the block, settings are read from these variables."""

    def __init__(self, wanted: dict[str, str]) -> None:
        self._wanted = wanted

    def __enter__(self) -> None:
        self._before = dict(os.environ)
        os.environ.update(self._wanted)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._before)
