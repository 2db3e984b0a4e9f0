"""Why waiting jobs wait: what is in Redis, beside what live workers say of themselves.

However long a queue is, only its first messages are looked at. Knows nothing of the bucket.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoPermissionError

from producer.jobs.in_flight import bucket_in
from producer.jobs.served import Needs, able, serving, why_unserved
from shared.broker.leased_queues import History, LeasedQueues, WorkerSeen, split_item
from shared.broker.sharing import list_of, shares_of
from shared.tenants import OTHER

LOOKED_AT = 200
"""Messages of each list: those that are next."""
MOST_LEASES = 10_000


@dataclass(frozen=True)
class Wait:
    """So many jobs wait for the same reason."""

    reason: str
    """A stable word: no_worker, wrong_model, newer_message, worker_paused, busy, next, alone,
    retry, handed_on, paused, budget, costs, not_fed, no_message."""
    jobs: int
    message: str


@dataclass
class QueueSeen:
    waiting: int = 0
    alone: int = 0
    """To be run alone; not among those that wait."""
    workers: list[str] = field(default_factory=list)
    why: list[Wait] = field(default_factory=list)
    """For the jobs that were looked at."""
    looked_at: int = 0
    """Of all that wait, to run alone or not; 0 also for a user of Redis who may only count."""
    tenants: dict[str, int] = field(default_factory=dict)
    """Whose those that wait are; empty where nobody shares the queue now."""

    @property
    def sampled(self) -> bool:
        return self.looked_at < self.waiting + self.alone


@dataclass
class SideSeen:
    """Captions, or training."""

    queues: dict[str, QueueSeen]
    workers: list[WorkerSeen]
    in_flight: int
    delayed: int
    """Waiting for another try, or handed on."""
    delayed_looked_at: int
    poison: int


@dataclass(frozen=True)
class _Delayed:
    due_s: float
    why: str
    item: bytes


def look(side: LeasedQueues, names: Sequence[str]) -> SideSeen:
    """A fixed number of commands, of bounded answers. Raises redis.RedisError."""
    prefix = side.prefix
    workers = side.workers()
    with side.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(f"{prefix}leases", 0, MOST_LEASES - 1)
        pipe.zrange(f"{prefix}delayed", 0, LOOKED_AT - 1, withscores=True)
        for name in names:
            pipe.zrange(f"{prefix}{shares_of(name)}", 0, -1)
        (seconds, micros), leases, delayed, *sharing = map(_answer, pipe.execute(False))
    lists = _lists(side, names, sharing)
    now_ms = seconds * 1000 + micros / 1000
    held = Counter(lease.decode().rpartition(".")[0] for lease in leases)
    later: dict[str, list[_Delayed]] = defaultdict(list)
    for member, due_ms in delayed:
        _, queue, where, item = member.split(b"\n", 3)
        due_s = max(0.0, (due_ms - now_ms) / 1000)
        later[queue.decode()].append(_Delayed(due_s, where.decode(), item))
    seen = {}
    for name in names:
        there = lists[name]
        waiting = sum(there.by_tenant.values())
        found: Counter[tuple[str, str]] = Counter()
        if there.heads is None and waiting:
            found[_why(workers, held, name, Needs())] += waiting
        for item in there.heads or ():
            found[_why(workers, held, name, needs_in(item))] += 1
        for item in there.lonely or ():
            found[_why_alone(workers, name, needs_in(item))] += 1
        why = [Wait(reason, jobs, message) for (reason, message), jobs in found.items()]
        seen[name] = QueueSeen(
            waiting,
            there.alone,
            [worker.name for worker in serving(workers, name)],
            [*why, *_later(workers, name, later[name])],
            len(there.heads or ()) + len(there.lonely or ()),
            there.tenants,
        )
    return SideSeen(seen, workers, **side.counts(), delayed_looked_at=len(delayed))


@dataclass(frozen=True)
class _Lists:
    """Of one queue."""

    by_tenant: dict[str, int]
    heads: list[bytes] | None
    """The next ones of each tenant; None: this user may not read them."""
    alone: int
    lonely: list[bytes] | None

    @property
    def tenants(self) -> dict[str, int]:
        """Empty: `other` alone may have something there."""
        if set(self.by_tenant) == {OTHER}:
            return {}
        return {tenant: count for tenant, count in self.by_tenant.items() if count}


def _lists(
    side: LeasedQueues, names: Sequence[str], sharing: Sequence[Sequence[bytes]]
) -> dict[str, _Lists]:
    """Args:
    sharing: the tenants of each queue that may have something there.
    """
    tenants = {
        name: [OTHER, *(one for each in some if (one := each.decode()) != OTHER)]
        for name, some in zip(names, sharing, strict=True)
    }
    with side.redis.pipeline(transaction=False) as pipe:
        for name in names:
            of_each = max(1, LOOKED_AT // len(tenants[name]))
            for tenant in tenants[name]:
                key = f"{side.prefix}{list_of(name, tenant)}"
                pipe.llen(key)
                pipe.lrange(key, -of_each, -1)
            pipe.llen(f"{side.prefix}{name}:alone")
            pipe.lrange(f"{side.prefix}{name}:alone", -LOOKED_AT, -1)
        answers = map(_answer, pipe.execute(False))
    found = {}
    for name in names:
        counts: dict[str, int] = {}
        heads: list[bytes] | None = []
        for tenant in tenants[name]:
            count, items = next(answers), next(answers)
            if count or tenant == OTHER:
                counts[tenant] = count
            heads = None if items is None or heads is None else [*heads, *reversed(items)]
        alone, lonely = next(answers), next(answers)
        found[name] = _Lists(counts, heads, alone, lonely and lonely[::-1])
    return found


def _answer(found: Any) -> Any:
    """None: this user may count messages, and not read them."""
    if isinstance(found, NoPermissionError):
        return None
    if isinstance(found, Exception):
        raise found
    return found


def _why(
    workers: Sequence[WorkerSeen], held: Counter[str], queue: str, needs: Needs | None
) -> tuple[str, str]:
    if needs is None:
        return "no_message", "no message of ours: the next worker sets it aside"
    unserved = why_unserved(workers, queue, needs)
    if unserved:
        return unserved.reason, unserved.message
    taking = able(workers, queue, needs)
    if all(worker.about.get("paused") for worker in taking):
        why = "; ".join(sorted({told for one in taking for told in _pauses(one)}))
        return "worker_paused", f"no worker of {queue} takes anything for now: {why}"
    slots = sum(int(worker.about.get("slots", 1)) for worker in taking)
    used = sum(held[worker.name] for worker in taking)
    told = f"{used} of {slots} slots in flight"
    if used >= slots:
        who = "its worker is" if len(taking) == 1 else f"all {len(taking)} workers are"
        return "busy", f"{who} busy: {told}"
    return "next", f"next to be taken: {told}"


def _pauses(worker: WorkerSeen) -> list[str]:
    return [f"{reason}: {why}" for reason, why in dict(worker.about["paused"]).items()]


def _why_alone(workers: Sequence[WorkerSeen], queue: str, needs: Needs | None) -> tuple[str, str]:
    unserved = why_unserved(workers, queue, needs or Needs())
    if unserved:
        return unserved.reason, unserved.message
    return (
        "alone",
        "must run alone, for workers died with it: waits until one has nothing in flight",
    )


def _later(workers: Sequence[WorkerSeen], queue: str, delayed: Iterable[_Delayed]) -> list[Wait]:
    """What was tried, by the error that it met; what was handed on, by what is in its way now."""
    groups: dict[tuple[str, str], list[_Delayed]] = defaultdict(list)
    for one in delayed:
        if one.why == "last":
            why = _why_handed_on(workers, queue, one.item)
            groups["handed_on", f"handed on: {why}"].append(one)
        else:
            error = one.why.partition(" ")[2]
            groups["retry", f"another try{f' after {error}' if error else ''}"].append(one)
    waits = []
    for (reason, told), some in groups.items():
        due = _span(round(one.due_s) for one in some)
        told = _with_tries(told, some) if reason == "retry" else told
        waits.append(Wait(reason, len(some), f"{told}; due in {due} s"))
    return waits


def _with_tries(told: str, some: Iterable[_Delayed]) -> str:
    tries = _span(_history(one.item).attempt for one in some)
    return f"{told}, attempt {tries}"


def _why_handed_on(workers: Sequence[WorkerSeen], queue: str, item: bytes) -> str:
    unserved = why_unserved(workers, queue, needs_in(item) or Needs())
    if unserved:
        return unserved.message
    bucket = bucket_in(item)
    if any(bucket in one.about.get("away", ()) for one in serving(workers, queue)):
        return f"s3://{bucket} does not answer"
    return "another worker takes it"


def _span(numbers: Iterable[int]) -> str:
    found = sorted(numbers)
    return str(found[0]) if found[0] == found[-1] else f"{found[0]}–{found[-1]}"


def _history(item: bytes) -> History:
    return split_item(item)[1]


def needs_in(item: bytes) -> Needs | None:
    """None: it is no message of ours."""
    try:
        args, _, _ = json.loads(json.loads(split_item(item)[2])["body"])
        job: dict[str, Any] = args[0]
        recipe = job.get("recipe")
        # A trainer refuses a job for another model: it does not wait.
        model = f"{recipe['model']}@{recipe['revision']}" if recipe else ""
        return Needs(model, int(job["v"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
