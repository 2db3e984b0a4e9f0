"""The workers of benchmarks.fairness, and who sends them jobs: Jamak's, and plain Celery's.

A job takes a fixed time and no CPU, and notes whose it was, and when it began and ended.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from shared.broker.apps import CAPTION_TASK
from shared.errors import BrokerUnavailable

QUEUE, BULK = "caption.t4", "caption.t4.bulk"
BUCKET = "videos"
URL = os.environ.get("BENCH_REDIS_URL", "")
JOB_S = float(os.environ.get("BENCH_JOB_S", "0.05"))
THREADS = 8


def _work(tenant: str) -> None:
    began = time.monotonic()
    time.sleep(JOB_S)
    line = f"{tenant} {began:.6f} {time.monotonic():.6f} {time.process_time():.6f}\n"
    log = os.open(os.environ["BENCH_LOG"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(log, line.encode())
    os.close(log)


def _caption(job: dict[str, Any]) -> None:
    _work(job["video"]["key"].partition("/")[0])


def jamak() -> Any:
    from celery import bootsteps

    from shared.broker.apps import caption_app
    from shared.settings import Settings
    from workers.delivery.health import WorkerHealth
    from workers.delivery.lifecycle import Lifecycle

    settings = Settings()
    app = caption_app(settings)
    app.conf.worker_concurrency = THREADS

    class Runtime(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            Lifecycle(worker, settings, [QUEUE, BULK], WorkerHealth()).start()

    app.steps["worker"].add(Runtime)
    app.task(_caption, name=CAPTION_TASK)
    return app


def celery(queues: list[str]) -> Any:
    from celery import Celery
    from kombu import Queue

    app = Celery("stock", broker=URL)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_queues=[Queue(queue) for queue in queues],
        task_default_queue=queues[0],
        worker_pool="threads",
        worker_concurrency=THREADS,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        broker_transport_options={"priority_steps": [0], "queue_order_strategy": "round_robin"},
    )
    app.task(_work, name="work")
    return app


def __getattr__(name: str) -> Any:
    """`jamak_app`; of plain Celery `celery_app`, one queue, and `queues_app`, one a tenant."""
    if name == "jamak_app":
        made = jamak()
    elif name == "celery_app":
        made = celery(["celery"])
    elif name == "queues_app":
        made = celery(os.environ["BENCH_TENANTS"].split(","))
    else:
        raise AttributeError(name)
    globals()[name] = made
    return made


class JamakSender:
    """As a backlog would: no more than a tenant's list has room for, each tenant for itself."""

    def __init__(self, settings: Any) -> None:
        from producer.jobs.high_water_marks import HighWaterMarks
        from shared.broker.apps import caption_prefix, leased_queues
        from shared.messages import Recipe

        self._new_queues = lambda: leased_queues(settings, caption_prefix(settings))
        self._marks = HighWaterMarks
        self._recipe = Recipe(prompt="x", model="m", revision="1")

    def send(self, tenant: str, count: int) -> None:
        threading.Thread(target=self._send, args=(tenant, count), daemon=True).start()

    def _send(self, tenant: str, count: int) -> None:
        from producer.jobs.send import send_as_room_allows
        from shared.messages import CaptionJob, Video

        queues = self._new_queues()
        jobs = [
            CaptionJob(
                video=Video(bucket=BUCKET, key=f"{tenant}/{n}.mp4", etag="e", size_bytes=1),
                recipe=self._recipe,
            )
            for n in range(count)
        ]
        with suppress(BrokerUnavailable):  # it is over
            send_as_room_allows(queues, QUEUE, jobs, self._marks(queues).room)


class CelerySender:
    """One call a job, into one queue or into each tenant's."""

    def __init__(self, app: Any, queue_of: Callable[[str], str]) -> None:
        self._app, self._queue_of = app, queue_of

    def send(self, tenant: str, count: int) -> None:
        queue = self._queue_of(tenant)
        with self._app.producer_or_acquire() as producer:
            for _ in range(count):
                self._app.send_task("work", args=(tenant,), queue=queue, producer=producer)
