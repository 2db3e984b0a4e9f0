"""One captioner of benchmarks.worker: its process, the jobs that it is sent, and what they took.

Everything is as it is elsewhere: a Celery worker, Redis, an S3 API, decoder processes. What it
costs is the CPU time of the worker and of all processes that it starts.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local.metrics import is_ready, read_metrics
from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT
from infra.local.s3 import OUTPUT_BUCKET
from infra.local.stack import START_S, LocalStack
from producer.jobs.send import queue_of, send
from shared.broker.apps import caption_app, queues_of
from shared.bucket.keys import record_key
from shared.messages import Caption, CaptionJob, decode
from shared.settings import Settings

LOOK_S, LONGEST_STILL_S = 0.25, 300.0
MADE, FAILED = ("jamak_caption_e2e_seconds_count", ""), "jamak_caption_failures_total"
APPS = {"jamak": "workers.app", "one_at_a_time": "benchmarks.worker_one_at_a_time"}


@dataclass
class Done:
    """What some jobs took."""

    cpu_s: float
    """A caption, as all that follows."""
    decoding_cpu_s: float
    """Of it, that of the decoder processes."""
    wall_s: float
    tokens_per_s: float
    stages_s: dict[str, float]
    """Of a caption, waiting included."""
    engine_s: dict[str, float]
    """State of the engine -> share of the time."""
    rows_mean: float
    """Captions that it worked on at once, while it worked at all."""
    first_token_s: float
    hit_share: float
    """Of the looks at frames, those that needed no decoding and no vision."""
    texts: dict[str, str]
    """Number of the video -> its caption."""


@dataclass
class Counts:
    """Of a worker, so far."""

    own_s: float
    all_s: float
    metrics: defaultdict[tuple[str, str], float]
    """By name and label."""
    at: float = field(default_factory=time.monotonic)


class Side:
    """Args:
    name: of APPS.
    env: over everything else.
    """

    def __init__(self, name: str, stack: LocalStack, env: Mapping[str, str]) -> None:
        self.name, self._stack = name, stack
        self._prefix, self._port = f"{name}/", free_port()
        self._env = {
            **stack.environ,
            "JAMAK_REDIS_PREFIX": name,
            "JAMAK_OUTPUT": f"s3://{OUTPUT_BUCKET}/{self._prefix}",
            "JAMAK_METRICS_PORT": str(self._port),
            "JAMAK_ADAPTER_POLL_S": "60",
            **env,
        }
        settings = Settings(
            redis_url=stack.redis_url,  # type: ignore[arg-type]
            redis_prefix=name,
            output=f"s3://{OUTPUT_BUCKET}/{self._prefix}",
        )
        self._queues = queues_of(caption_app(settings))
        self._s3 = stack.s3.s3()
        self._process = Process(
            name,
            [sys.executable, "-m", "celery", "--app", f"{APPS[name]}:captions", "worker"],
            log=stack.directory / "logs" / f"{name}.log",
            env=self._env,
            cwd=ROOT,
        )

    def wait(self) -> None:
        """Until it takes work."""
        self._process.wait_until(lambda: is_ready(self._port), START_S)

    def close(self) -> None:
        stop([self._process])

    def make(self, jobs: Mapping[str, CaptionJob]) -> Done:
        """Number of the video -> its job."""
        before = self._counts()
        wanted = before.metrics[MADE] + len(jobs)
        send(self._queues, queue_of("t4", bulk=False), list(jobs.values()))
        made, moved_at = before.metrics[MADE], time.monotonic()
        while made < wanted:
            time.sleep(LOOK_S)
            self._process.check()
            metrics = self._metrics()
            now = time.monotonic()
            moved_at = now if metrics[MADE] > made else moved_at
            made = metrics[MADE]
            failed = any(metrics[one] for one in metrics if one[0] == FAILED)
            if failed or now - moved_at > LONGEST_STILL_S:
                log = self._stack.directory / "logs" / f"{self.name}.log"
                raise RuntimeError(f"{self.name} fails: {log.read_text()[-4000:]}")
        after = self._counts()
        keys = {number: record_key(self._prefix, job) for number, job in jobs.items()}
        return done(before, after, {one: self._caption(key) for one, key in keys.items()})

    def _caption(self, key: str) -> Caption:
        body = self._s3.get_object(Bucket=OUTPUT_BUCKET, Key=key)["Body"].read()
        return decode(Caption, body)

    def _counts(self) -> Counts:
        worker = psutil.Process(self._process.pid)
        own = worker.cpu_times()
        each = [own, *(child.cpu_times() for child in worker.children(recursive=True))]
        whole = sum(one.user + one.system + one.children_user + one.children_system for one in each)
        return Counts(own.user + own.system, whole, self._metrics())

    def _metrics(self) -> defaultdict[tuple[str, str], float]:
        found: defaultdict[tuple[str, str], float] = defaultdict(float)
        for sample in read_metrics(self._port):
            found[sample.name, "/".join(sample.labels.values())] += sample.value
        return found


def done(before: Counts, after: Counts, captions: Mapping[str, Caption]) -> Done:
    count = len(captions)

    def grew(name: str) -> dict[str, float]:
        """Label -> by how much."""
        return {
            label: value - before.metrics.get((one, label), 0.0)
            for (one, label), value in after.metrics.items()
            if one == name
        }

    own_s, all_s = after.own_s - before.own_s, after.all_s - before.all_s
    engine = grew("jamak_engine_seconds_total")
    whole = sum(engine.values()) or 1.0
    stages = grew("jamak_caption_stage_seconds_sum")
    looks = grew("jamak_features_total")
    first = sum(grew("jamak_engine_first_token_seconds_sum").values())
    tokens = sum(one.tokens.generated for one in captions.values())
    return Done(
        cpu_s=all_s / count,
        decoding_cpu_s=(all_s - own_s) / count,
        wall_s=(after.at - before.at) / count,
        tokens_per_s=tokens / (after.at - before.at),
        stages_s={stage: seconds / count for stage, seconds in stages.items()},
        engine_s={state: seconds / whole for state, seconds in engine.items()},
        rows_mean=stages["generate"] / (engine.get("busy") or 1.0),
        first_token_s=first / count,
        hit_share=looks.get("hit", 0.0) / (sum(looks.values()) or 1.0),
        texts={number: one.text for number, one in captions.items()},
    )


def environment(checkpoint: Path, new_tokens: int) -> dict[str, str]:
    """What both sides of a case have in common."""
    return {
        "JAMAK_MODEL": "benchmark",
        "JAMAK_MODEL_REVISION": "1",
        "JAMAK_MODEL_PATH": str(checkpoint),
        "JAMAK_MAX_NEW_TOKENS": str(new_tokens),
        "JAMAK_LOG_LEVEL": "warning",
    }
