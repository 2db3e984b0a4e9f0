"""How others put many jobs on Redis, each as its manual says: `count` keys in one process.

    python -m benchmarks.enqueue_peers NAME COUNT

Prints one JSON object: wall and CPU seconds of the sending alone. `BENCH_REDIS_URL` says where.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

URL = os.environ.get("BENCH_REDIS_URL", "")


def keys(count: int) -> list[str]:
    return [f"s3://videos/2026/11/{number:08}.mp4" for number in range(count)]


def celery_delay(todo: list[str]) -> Callable[[], None]:
    from celery import Celery

    app = Celery("stock", broker=URL)
    app.conf.update(task_ignore_result=True)

    @app.task(name="caption")
    def caption(key: str) -> None: ...

    def send() -> None:
        for key in todo:
            caption.delay(key)

    return send


def kombu_batch(todo: list[str]) -> Callable[[], None]:
    from celery import Celery

    app = Celery("stock", broker=URL)
    app.conf.update(task_ignore_result=True)

    @app.task(name="caption")
    def caption(key: str) -> None: ...

    def send() -> None:
        with app.producer_or_acquire() as producer, producer.batch(max_size=1000):
            for key in todo:
                caption.apply_async((key,), producer=producer)

    return send


def dramatiq(todo: list[str]) -> Callable[[], None]:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=URL)
    dramatiq.set_broker(broker)

    @dramatiq.actor
    def caption(key: str) -> None: ...

    def send() -> None:
        for key in todo:
            caption.send(key)

    return send


def rq(todo: list[str]) -> Callable[[], None]:
    import redis
    from rq import Queue

    queue = Queue("caption", connection=redis.Redis.from_url(URL))

    def send() -> None:
        for start in range(0, len(todo), 500):
            some = [Queue.prepare_data("app.caption", (key,)) for key in todo[start : start + 500]]
            queue.enqueue_many(some)

    return send


def taskiq(todo: list[str]) -> Callable[[], None]:
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(URL)

    @broker.task
    async def caption(key: str) -> None: ...

    async def send_all() -> None:
        await broker.startup()
        for key in todo:
            await caption.kiq(key)
        await broker.shutdown()

    return lambda: asyncio.run(send_all())


def huey(todo: list[str]) -> Callable[[], None]:
    from huey import RedisHuey

    app = RedisHuey("caption", url=URL, results=False)

    @app.task()
    def caption(key: str) -> None: ...

    def send() -> None:
        for key in todo:
            caption(key)

    return send


PEERS = {
    "celery_delay": celery_delay,
    "kombu_batch": kombu_batch,
    "dramatiq": dramatiq,
    "rq": rq,
    "taskiq": taskiq,
    "huey": huey,
}


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    PEERS[name](keys(100))()  # connections, scripts, imports
    send = PEERS[name](keys(count))
    wall, cpu = time.perf_counter(), time.process_time()
    send()
    print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
