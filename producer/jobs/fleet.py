"""How the whole fleet stands, read from Redis for Prometheus: queues, workers, backlogs.

Only the feeder exports it. Every process could, and then all of them would say the same, and cost
Redis as often. Knows nothing of S3: which backlogs there are it is told.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from prometheus_client.metrics_core import Metric
from redis.exceptions import NoPermissionError

from shared.broker.apps import CAPTION_QUEUES, TRAIN_QUEUE
from shared.broker.backlog_progress import NOWHERE, BacklogProgress
from shared.broker.leased_queues import LeasedQueues, WorkerSeen, split_item
from shared.cards import CLASSES
from shared.telemetry import metrics
from shared.telemetry.reading import Reading

MOST_BACKLOGS = 50
"""Each is a label of its own; the newest are shown."""
MOST_REASONS = 20
"""Of failures, for one backlog; the rest is `other`. Workers write them, of any version."""
OTHER = "other"
TRAIN_CLASS = "train"
CAPTIONS, TRAINING = "captions", "training"
QUEUES = {CAPTIONS: CAPTION_QUEUES, TRAINING: [TRAIN_QUEUE]}


def fleet_reading(
    captions: LeasedQueues, training: LeasedQueues, backlogs: Callable[[], Mapping[str, int]]
) -> Reading:
    """Args:
    backlogs: name -> how many videos, the newest last.
    """

    def read() -> Iterable[Metric]:
        sides = {CAPTIONS: captions}
        try:
            trainers = training.workers()
            sides[TRAINING] = training
        except NoPermissionError:  # a producer's user has no part in training
            trainers = []
        yield from _queues(sides)
        yield from _workers(captions.workers(), trainers)
        yield from _backlogs(captions, backlogs())

    return Reading("redis", read)


def _queues(sides: Mapping[str, LeasedQueues]) -> Iterable[Metric]:
    messages, oldest = metrics.QUEUE_MESSAGES.family(), metrics.QUEUE_OLDEST.family()
    served, in_flight = metrics.QUEUE_WORKERS.family(), metrics.IN_FLIGHT.family()
    delayed, poison = metrics.DELAYED.family(), metrics.SET_ASIDE.family()
    for work, side in sides.items():
        serving, counts = side.serving(), side.counts()
        for queue in QUEUES[work]:
            waiting, alone, age_s = _waiting(side, queue)
            messages.add_metric([queue, "waiting"], waiting)
            messages.add_metric([queue, "alone"], alone)
            oldest.add_metric([queue], age_s)
            served.add_metric([queue], len(serving.get(queue, ())))
        in_flight.add_metric([work], counts["in_flight"])
        delayed.add_metric([work], counts["delayed"])
        poison.add_metric([work], counts["poison"])
    return messages, oldest, served, in_flight, delayed, poison


def _waiting(side: LeasedQueues, queue: str) -> tuple[int, int, float]:
    """How many wait, how many of them to run alone, and for how long the next ones have, in s."""
    lists = f"{side.prefix}{queue}", f"{side.prefix}{queue}:alone"
    with side.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        for one in lists:
            pipe.llen(one)
            pipe.lrange(one, -1, -1)
        (seconds, micros), waiting, head, alone, head_alone = pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    # What others pushed may lack its time.
    since_ms = [enqueued for item in (*head, *head_alone) if (enqueued := split_item(item)[0])]
    age_s = max((now_ms - min(since_ms, default=now_ms)) / 1000, 0.0)
    return waiting, alone, age_s


def _workers(captioners: Iterable[WorkerSeen], trainers: Iterable[WorkerSeen]) -> Iterable[Metric]:
    live, slots = Counter[str](), Counter[str]()
    seen = [(worker, _class(worker.about)) for worker in captioners]
    for worker, name in (*seen, *((worker, TRAIN_CLASS) for worker in trainers)):
        live[name] += 1
        told = worker.about.get("slots")
        slots[name] += told if isinstance(told, int) else 0
    workers, all_slots = metrics.LIVE_WORKERS.family(), metrics.WORKER_SLOTS.family()
    for name in dict.fromkeys((*CLASSES, TRAIN_CLASS, *live)):
        workers.add_metric([name], live[name])
        all_slots.add_metric([name], slots[name])
    return workers, all_slots


def _class(about: Mapping[str, Any]) -> str:
    """By what a worker says of itself, which may be anything."""
    name = about.get("card")
    return name if isinstance(name, str) and name in CLASSES else OTHER


def _backlogs(queues: LeasedQueues, backlogs: Mapping[str, int]) -> Iterable[Metric]:
    videos, fed = metrics.BACKLOG_VIDEOS.family(), metrics.BACKLOG_FED.family()
    ended, known = metrics.BACKLOG_ENDED.family(), metrics.BACKLOGS.family()
    remembered = _remembered(queues, backlogs)
    known.add_metric([], len(remembered))
    for name in islice(reversed(remembered), MOST_BACKLOGS):
        progress, lines = BacklogProgress(queues, name), backlogs[name]
        videos.add_metric([name], lines)
        so_far = remembered[name]
        if so_far != NOWHERE:
            fed.add_metric([name], min(so_far, lines))
        counts = progress.counts()
        ended.add_metric([name, "done", ""], counts.done)
        for reason, count in _most(counts.failed).items():
            ended.add_metric([name, "failed", reason], count)
    return known, videos, fed, ended


def _most(failed: Mapping[str, int]) -> Mapping[str, int]:
    shown = Counter(failed).most_common(MOST_REASONS)
    rest = sum(failed.values()) - sum(count for _, count in shown)
    return dict(shown) | ({OTHER: rest} if rest else {})


def _remembered(queues: LeasedQueues, names: Iterable[str]) -> dict[str, int]:
    """Name -> lines that were fed, of the backlogs of which Redis still knows."""
    with queues.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(f"{queues.prefix}backlog:{name}:fed")
        found = pipe.execute()
    return {name: int(fed) for name, fed in zip(names, found, strict=True) if fed is not None}
