"""The no-op workers of benchmarks.dispatch, one for each system, and who sends them tasks.

Each task notes when it ran and how much CPU its process had used by then.
"""

import asyncio
import os
import sys
import time
from typing import Any

PREFIX = "bench"
QUEUE = "caption.t4"
THREADS = 32
URL = os.environ["BENCH_REDIS_URL"]
_log = os.open(os.environ["BENCH_LOG"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def noop(number: int) -> None:
    os.write(_log, f"{number} {time.monotonic():.6f} {time.process_time():.6f}\n".encode())


def jamak() -> Any:
    from celery import bootsteps
    from pydantic import SecretStr

    from shared.broker.apps import caption_app
    from shared.settings import Settings
    from workers.delivery.health import WorkerHealth
    from workers.delivery.lifecycle import Lifecycle

    settings = Settings(redis_url=SecretStr(URL), redis_prefix=PREFIX)
    app = caption_app(settings)
    app.conf.worker_concurrency = THREADS

    class Runtime(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            Lifecycle(worker, settings, [QUEUE], WorkerHealth()).start()

    app.steps["worker"].add(Runtime)
    app.task(noop, name="noop")
    return app


def celery() -> Any:
    from celery import Celery
    from kombu import Queue

    app = Celery("stock", broker=URL)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        worker_pool="threads",
        worker_concurrency=THREADS,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        broker_transport_options={"priority_steps": [0]},
    )
    app.task(noop, name="noop")
    return app


def dramatiq() -> Any:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=URL)
    dramatiq.set_broker(broker)
    dramatiq.actor(noop, actor_name="noop", queue_name="bench")
    return broker


def taskiq() -> Any:
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(URL, queue_name="bench")
    broker.register_task(noop, task_name="noop")
    return broker


def __getattr__(name: str) -> Any:
    """`jamak_app`, `celery_app`, `dramatiq_app`, `taskiq_app`: only what is asked for."""
    system, _, app = name.partition("_")
    makers = {"jamak": jamak, "celery": celery, "dramatiq": dramatiq, "taskiq": taskiq}
    if app != "app" or system not in makers:
        raise AttributeError(name)
    globals()[name] = made = makers[system]()
    return made


def send(system: str, first: int, count: int, pause_s: float) -> None:
    """Print when each was sent."""
    app = __getattr__(f"{system}_app")
    loop = asyncio.new_event_loop()
    for number in range(first, first + count):
        time.sleep(pause_s)
        print(number, f"{time.monotonic():.6f}", flush=True)
        if system == "dramatiq":
            app.get_actor("noop").send(number)
        elif system == "taskiq":
            loop.run_until_complete(app.find_task("noop").kiq(number))
        else:
            app.send_task("noop", args=(number,), queue=QUEUE)
    loop.close()


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
