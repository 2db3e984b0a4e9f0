"""How the whole fleet stands, read from Redis for Prometheus: queues, workers, backlogs.

Only the feeder exports it. Every process could, and then all of them would say the same, and cost
Redis as often. Knows nothing of S3: which backlogs there are it is told.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from prometheus_client.metrics_core import Metric
from redis.exceptions import NoPermissionError

from shared.broker.apps import CAPTION_QUEUES, TRAIN_QUEUE
from shared.broker.backlog_progress import NOWHERE, BacklogProgress
from shared.broker.leased_queues import LeasedQueues, WorkerSeen, split_item
from shared.broker.sharing import list_of
from shared.broker.told_results import Results
from shared.cards import CLASSES
from shared.telemetry import metrics
from shared.telemetry.reading import Reading

MOST_BACKLOGS = 50
"""Each is a label of its own; the newest are shown."""
MOST_TENANTS = 50
"""Of one queue; so many have most."""
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
        yield from _results(captions)
        yield from _backlogs(captions, backlogs())

    return Reading("redis", read)


def _results(captions: LeasedQueues) -> Iterable[Metric]:
    waiting, dropped = metrics.RESULTS_WAITING.family(), metrics.RESULTS_DROPPED.family()
    with suppress(NoPermissionError):  # a user by an older list, where nobody is told
        untold = Results(captions).untold()
        waiting.add_metric([], untold.waiting)
        dropped.add_metric([], untold.dropped)
    return waiting, dropped


def _queues(sides: Mapping[str, LeasedQueues]) -> Iterable[Metric]:
    messages, oldest = metrics.QUEUE_MESSAGES.family(), metrics.QUEUE_OLDEST.family()
    of_tenants, turns = metrics.TENANT_MESSAGES.family(), metrics.TENANT_TAKEN.family()
    served, in_flight = metrics.QUEUE_WORKERS.family(), metrics.IN_FLIGHT.family()
    delayed, poison = metrics.DELAYED.family(), metrics.SET_ASIDE.family()
    for work, side in sides.items():
        serving, counts, taken = side.serving(), side.counts(), side.turns()
        for queue in QUEUES[work]:
            seen = _waiting(side, queue)
            messages.add_metric([queue, "waiting"], sum(seen.by_tenant.values()))
            messages.add_metric([queue, "alone"], seen.alone)
            oldest.add_metric([queue], seen.age_s)
            if set(seen.by_tenant) != {OTHER}:
                for tenant, count in _most(seen.by_tenant, MOST_TENANTS, "").items():
                    of_tenants.add_metric([queue, tenant], count)
            for tenant, count in _most(taken.get(queue, {}), MOST_TENANTS, "").items():
                turns.add_metric([queue, tenant], count)
            served.add_metric([queue], len(serving.get(queue, ())))
        in_flight.add_metric([work], counts["in_flight"])
        delayed.add_metric([work], counts["delayed"])
        poison.add_metric([work], counts["poison"])
    return messages, oldest, of_tenants, turns, served, in_flight, delayed, poison


@dataclass(frozen=True)
class _Waiting:
    by_tenant: Mapping[str, int]
    alone: int
    """Of them, those that must run alone are not."""
    age_s: float
    """For how long the next ones have waited."""


def _waiting(side: LeasedQueues, queue: str) -> _Waiting:
    by_tenant = side.waiting_by_tenant(queue)
    lists = [*(list_of(queue, tenant) for tenant in by_tenant), f"{queue}:alone"]
    with side.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.llen(f"{side.prefix}{queue}:alone")
        for name in lists:
            pipe.lrange(f"{side.prefix}{name}", -1, -1)
        (seconds, micros), alone, *heads = pipe.execute()
    now_ms = seconds * 1000 + micros / 1000
    # What others pushed may lack its time.
    since_ms = [enqueued for head in heads for item in head if (enqueued := split_item(item)[0])]
    age_s = max((now_ms - min(since_ms, default=now_ms)) / 1000, 0.0)
    return _Waiting(by_tenant, alone, age_s)


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
        for reason, count in _most(counts.failed, MOST_REASONS, OTHER).items():
            ended.add_metric([name, "failed", reason], count)
    return known, videos, fed, ended


def _most(counted: Mapping[str, int], shown: int, rest: str) -> Mapping[str, int]:
    """The largest counts, and the rest together under a name."""
    largest = Counter(counted).most_common(shown)
    others = sum(counted.values()) - sum(count for _, count in largest)
    return dict(largest) | ({rest: others} if others else {})


def _remembered(queues: LeasedQueues, names: Iterable[str]) -> dict[str, int]:
    """Name -> lines that were fed, of the backlogs of which Redis still knows."""
    with queues.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(f"{queues.prefix}backlog:{name}:fed")
        found = pipe.execute()
    return {name: int(fed) for name, fed in zip(names, found, strict=True) if fed is not None}
