"""Many light workers, forked from one process: a worker's real life, and a task that only waits.

    python -m benchmarks.growth_workers COUNT ROWS JOB_S

Each is a Celery worker of its own process with leases, beats and drain. Its tasks hold a row for so
many seconds, as captions do, and tick as they go. What is imported is imported once for all.
"""

import ctypes
import os
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any, NoReturn

from celery import bootsteps
from celery.apps import worker as _worker  # noqa: F401  # once, before there are many
from celery.bin import celery as _command  # noqa: F401
from celery.concurrency import thread as _pool  # noqa: F401
from pydantic import SecretStr

from infra.local.tied import PR_SET_PDEATHSIG
from shared.broker.apps import caption_app
from shared.cards import CLASSES, served_queues
from shared.errors import JamakError
from shared.messages import CaptionJob
from shared.settings import Settings
from workers.delivery.health import WorkerHealth
from workers.delivery.lease import Lease
from workers.delivery.lifecycle import Lifecycle
from workers.tasks import register_caption

CARD = "t4"
TICK_S = 3.0
OPTIONS = ["worker", "--without-gossip", "--without-mingle", "--without-heartbeat"]


def app_of(settings: Settings, rows: int, job_s: float) -> Any:
    class Work:
        def run(self, job: CaptionJob, lease: Lease) -> None:
            until = time.monotonic() + job_s
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, TICK_S))
                lease.progress.tick("work")
            lease.check()

        def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> None:
            raise error

    class Runtime(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            queues = served_queues(CLASSES[CARD])
            own.life = Lifecycle(worker, settings, queues, WorkerHealth(), card=CARD)
            own.life.start()

    own = SimpleNamespace()
    app = caption_app(settings)
    app.conf.worker_concurrency = rows
    app.steps["worker"].add(Runtime)
    register_caption(app, lambda: own.life.leases, Work)  # type: ignore[arg-type, return-value]
    return app


def one_worker(number: int, rows: int, job_s: float) -> NoReturn:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = Settings(redis_url=SecretStr(os.environ["BENCH_REDIS_URL"]))
    app = app_of(settings, rows, job_s)
    app.worker_main([*OPTIONS, "--loglevel", "WARNING", "--hostname", f"{number}@growth"])
    os._exit(0)


def main() -> None:
    count, rows, job_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number in range(count):
        if not os.fork():
            one_worker(number, rows, job_s)
        time.sleep(0.02)  # a machine that starts a hundred at once starts none of them
    while True:
        _, status = os.wait()
        if status:
            sys.exit(f"a worker ended with {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
