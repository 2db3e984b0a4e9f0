"""The two fleets of benchmarks.delivery: one task, two systems.

    celery --app benchmarks.delivery_worker:jamak worker
    celery --app benchmarks.delivery_worker:stock worker

A task looks for its record, works for a while, and writes the record once. One whose name begins
with `kills` kills its process, one with `hangs` never comes back, one of size 0 leaves but a note.
Each notes what it does in a file of its process, so that whoever hurts the process can tell what it
had. Both have the same crash points: between taking a message and recording that it is taken,
and between the effect and its acknowledgement; ours also in the middle of a beat.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import kombu.transport.redis
from celery import Celery, bootsteps, signals
from kombu import Queue

from benchmarks.crash import crash_after, crash_before, passing
from shared.broker.apps import CAPTION_TASK, caption_app
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict, JamakError
from shared.messages import CaptionJob
from shared.settings import load_settings
from shared.telemetry import tracing
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from workers.delivery.health import WorkerHealth
from workers.delivery.lease import Lease
from workers.delivery.lifecycle import Lifecycle
from workers.tasks import register_caption

QUEUE = "caption.t4"
CONDITIONAL = os.environ.get("BENCH_CONDITIONAL", "yes") == "yes"
TICK_S = 0.05

settings = load_settings()
store = ObjectStore()
_log = os.open(
    f"{os.environ['BENCH_FOLDER']}/{os.getpid()}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY
)


def note(what: str, job: CaptionJob) -> None:
    os.write(_log, f"{time.monotonic():.3f} {what} {job.video.key}\n".encode())


def body(job: CaptionJob, tick: Callable[[], None], check: Callable[[], None]) -> None:
    """The same on both; a job's size is how long it works, in ms."""
    key = f"{settings.output_prefix}records/{job.video.key}"
    note("take", job)
    if job.video.size_bytes == 0:
        note("done", job)
        return
    if CONDITIONAL and store.exists(settings.output_bucket, key):
        note("found", job)
        return
    note("start", job)
    if job.video.key.startswith("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.video.key.startswith("hangs"):
        time.sleep(3600)
    until = time.monotonic() + job.video.size_bytes / 1000
    while time.monotonic() < until:
        time.sleep(TICK_S)
        tick()
    check()
    try:
        # As a record is, it is like no other one's: else who comes second could not tell.
        body = f"done by {os.getpid()} at {time.time_ns()}".encode()
        store.put(settings.output_bucket, key, body, if_none_match=CONDITIONAL)
    except Conflict:
        note("conflict", job)
        return
    note("done", job)
    passing("before_ack")


# Ours: the real tasks, leases and drain, with this body where captioning would be.


class Work:
    def run(self, job: CaptionJob, lease: Lease) -> None:
        body(job, lambda: lease.progress.tick("work"), lease.check)

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> None:
        lease.check()
        if store.exists(settings.output_bucket, f"{settings.output_prefix}records/{job.video.key}"):
            return
        key = f"{settings.output_prefix}failures/{job.video.key}"
        evidence = {"reason": error.reason, **error.evidence}
        store.put(settings.output_bucket, key, json.dumps(evidence).encode())


class Runtime(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        global _life
        tracing.start("captioner")
        health = WorkerHealth()
        serve(health, registry_of("captioner"), settings.metrics_host, settings.metrics_port)
        _life = Lifecycle(worker, settings, [QUEUE], health)
        _life.start()


_life: Lifecycle
jamak = caption_app(settings)
THREADS = settings.concurrency or 4
jamak.conf.worker_concurrency = THREADS
jamak.steps["worker"].add(Runtime)
register_caption(jamak, lambda: _life.leases, Work)  # type: ignore[arg-type, return-value]
crash_after(LeasedQueues, "take", "after_take")
crash_before(LeasedQueues, "beat", "in_beat")


# Stock: Celery's Redis transport with the settings that lose least.

stock = Celery("stock", broker=settings.redis_url.get_secret_value(), set_as_current=False)
stock.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_queues=[Queue(QUEUE)],
    task_default_queue=QUEUE,
    worker_pool="threads",
    worker_concurrency=THREADS,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": "stock:",
        "visibility_timeout": settings.visibility_timeout_s,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 10,
        "priority_steps": [0],
        "socket_keepalive": True,
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "health_check_interval": 10,
    },
)
crash_before(kombu.transport.redis.QoS, "append", "after_take")


@stock.task(name=CAPTION_TASK, shared=False)
def caption(payload: Any) -> None:
    body(CaptionJob.model_validate(payload), lambda: None, lambda: None)


@signals.worker_ready.connect(weak=False)
def ready(**_: Any) -> None:
    os.write(_log, f"{time.monotonic():.3f} ready -\n".encode())
