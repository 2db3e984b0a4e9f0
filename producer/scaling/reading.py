"""What there is to do, as Redis has it now: three questions, however much waits.

A list that is long is not read: its length is exact, and what its messages ask for is estimated
from some of them, taken from all along it. Knows nothing of units, rates and replicas.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from redis.exceptions import NoPermissionError

from producer.jobs.in_flight import bucket_in, first_argument
from producer.jobs.served import buckets_away
from producer.scaling.arrivals import MINUTE_S, MINUTES
from shared.broker.leased_queues import ITEM, LeasedQueues, WorkerSeen
from shared.broker.queue_order import BULK
from shared.broker.sharing import list_of, shares_of
from shared.tenants import OTHER
from shared.units import Effort, segments_of

READ_WHOLE = 200
"""Messages; of longer lists so many are read."""
PIECES = 8
COUNTED = 16
"""Minutes that shared/broker/lua/common.lua remembers."""


@dataclass
class Pile:
    """Messages of one queue that are in the same state."""

    parts: list[tuple[int, list[Effort]]] = field(default_factory=list)
    """How many messages, and what some of them ask for."""
    oldest_s: float = 0.0

    @property
    def messages(self) -> int:
        return sum(count for count, _ in self.parts)

    def add(self, messages: int, read: Iterable[bytes] = (), oldest_s: float = 0.0) -> None:
        """Args:
        read: some of these messages, or all.
        """
        if messages:
            self.parts.append((messages, [effort_in(item) for item in read]))
        self.oldest_s = max(self.oldest_s, oldest_s)

    def units(self, of: Callable[[Effort], float]) -> float:
        """Args:
        of: how many units a job is.
        """
        return sum(
            count * (fmean(map(of, efforts)) if efforts else 1.0) for count, efforts in self.parts
        )


@dataclass(frozen=True)
class Snapshot:
    """At one moment, by the clock of the server."""

    waiting: dict[str, Pile]
    """Queue -> what waits there: to run alone and for another try, too."""
    in_flight: dict[str, Pile]
    """Queue -> what was taken from it and has not ended."""
    arrivals: dict[str, list[float]]
    """Queue -> how many a second were put there, in each of the last full minutes; no backlog's."""
    taken: dict[str, int]
    """Queue -> how many were taken from it, ever."""
    learned: dict[str, str]
    """What workers found out, of which some are gone (shared/broker/lua/common.lua)."""
    workers: list[WorkerSeen]
    hopeful: dict[str, Pile] | None = None
    """As `waiting`, without what no worker may do for now: what lies in a bucket of which all that
    serve the queue say that it is away, and what was handed on. None: it is the same."""
    handed_on: frozenset[str] = frozenset()
    """Queues of which something waits that was handed on, and for all that is known not in vain."""


def take_snapshot(side: LeasedQueues, queues: Sequence[str]) -> Snapshot:
    """Raises redis.RedisError: it does not answer."""
    now_s, lists, taken, learned, held, delayed = _totals(side, queues)
    lengths, arrivals = _lengths(side, lists, queues, now_s)
    read, later, leased = _messages(side, lists, lengths)
    workers = side.workers()
    waiting, hopeful = ({queue: Pile() for queue in queues} for _ in range(2))
    away = {queue: buckets_away(workers, queue) for queue in queues}
    for (queue, _), length, items in zip(lists, lengths, read, strict=True):
        waiting[queue].add(length, items, _age_s(items, now_s))
        able = _readable(items, away[queue])
        part = math.ceil(length * len(able) / len(items)) if items else length
        hopeful[queue].add(part, able, _age_s(able, now_s))
    for queue, items in _by_queue(later, 1).items():
        if queue in waiting:
            waiting[queue].add(_share(items, delayed), items)
    tried = [one for one in later if not _was_handed_on(one)]
    for queue, items in _by_queue(tried, 1).items():
        if queue in waiting:
            able = _readable(items, away[queue])
            hopeful[queue].add(_share(able, delayed), able)
    handed_on = _by_queue(filter(_was_handed_on, later), 1)
    in_flight = {queue: Pile() for queue in queues}
    _add_held(in_flight, held, leased, workers)
    return Snapshot(
        waiting,
        in_flight,
        arrivals,
        taken,
        learned,
        workers,
        hopeful,
        frozenset(one for one in queues if _readable(handed_on.get(one, []), away[one])),
    )


def _readable(items: Sequence[bytes], away: Collection[str]) -> list[bytes]:
    return [item for item in items if not away or bucket_in(item) not in away]


def _was_handed_on(member: bytes) -> bool:
    return member.split(b"\n", 3)[2:3] == [b"last"]


def _totals(
    side: LeasedQueues, queues: Sequence[str]
) -> tuple[float, list[tuple[str, str]], dict[str, int], dict[str, str], int, int]:
    """The server's time in s, queue and name of each list in which messages of it wait, what was
    taken, what was learned; how many messages are leased and how many delayed."""
    prefix = side.prefix
    with side.redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(f"{prefix}taken")
        pipe.hgetall(f"{prefix}learned")
        pipe.hlen(f"{prefix}unacked")
        pipe.zcard(f"{prefix}delayed")
        for queue in queues:
            pipe.zrange(f"{prefix}{shares_of(queue)}", 0, -1)
        (seconds, micros), taken, learned, held, delayed, *shares = pipe.execute()
    return (
        seconds + micros / 1e6,
        _lists(queues, shares),
        {queue.decode(): int(count) for queue, count in taken.items()},
        {name.decode(): told.decode() for name, told in learned.items()},
        held,
        delayed,
    )


def _lists(queues: Sequence[str], shares: Iterable[list[bytes]]) -> list[tuple[str, str]]:
    """Args:
    shares: for each queue the tenants that wait there.
    """
    found = []
    for queue, waiting in zip(queues, shares, strict=True):
        tenants = {OTHER, *(name.decode() for name in waiting)}
        names = [*(list_of(queue, tenant) for tenant in sorted(tenants)), f"{queue}:alone"]
        found += [(queue, name) for name in names]
    return found


def _lengths(
    side: LeasedQueues, lists: Sequence[tuple[str, str]], queues: Sequence[str], now_s: float
) -> tuple[list[int], dict[str, list[float]]]:
    """Of each list; and what was put into each queue."""
    with side.redis.pipeline(transaction=False) as pipe:
        for _, name in lists:
            pipe.llen(f"{side.prefix}{name}")
        fresh = [queue for queue in queues if not queue.endswith(BULK)]
        for queue in fresh:
            for minute in _minutes(now_s):
                pipe.get(f"{side.prefix}put:{queue}:{minute % COUNTED}")
        told = pipe.execute()
    return told[: len(lists)], _arrivals(fresh, told[len(lists) :], now_s)


def _messages(
    side: LeasedQueues, lists: Sequence[tuple[str, str]], lengths: Sequence[int]
) -> tuple[list[list[bytes]], list[bytes], list[Any]]:
    """Some of each list, of what is delayed, and of what is leased, which is drawn by lot."""
    with side.redis.pipeline(transaction=False) as pipe:
        for (_, name), length in zip(lists, lengths, strict=True):
            for first, last in _pieces(length):
                pipe.lrange(f"{side.prefix}{name}", first, last)
        pipe.zrange(f"{side.prefix}delayed", 0, READ_WHOLE - 1)
        pipe.hrandfield(f"{side.prefix}unacked", READ_WHOLE, withvalues=True)
        *pieces, later, leased = map(_answer, pipe.execute(raise_on_error=False))
    several = iter(pieces)
    read = [[item for _ in _pieces(length) for item in next(several)] for length in lengths]
    return read, later, leased


def _minutes(now_s: float) -> range:
    this = int(now_s // 60)
    return range(this - MINUTES, this)


def _arrivals(
    queues: Sequence[str], put: Sequence[bytes | None], now_s: float
) -> dict[str, list[float]]:
    """Args:
    put: for each queue and minute which minute was counted, and how many messages.
    """
    told = iter(put)
    minutes = _minutes(now_s)
    return {
        queue: [_count(next(told), minute) / MINUTE_S for minute in minutes] for queue in queues
    }


def _count(told: bytes | None, minute: int) -> int:
    """0: in that minute nothing was put, or it is another one, sixteen minutes off."""
    last, count = map(int, (told or b"0 0").split())
    return count if last == minute else 0


def _pieces(length: int) -> list[tuple[int, int]]:
    """Ranges of a list: all of it, or some along it. The last one ends at what is next."""
    if length <= READ_WHOLE:
        return [(0, length - 1)] if length else []
    size = READ_WHOLE // PIECES
    step = (length - size) / (PIECES - 1)
    return [(start, start + size - 1) for start in (round(at * step) for at in range(PIECES))]


def _answer(found: Any) -> list[Any]:
    """Nothing, where this user may count messages and not read them."""
    if isinstance(found, NoPermissionError):
        return []
    if isinstance(found, Exception):
        raise found
    return list(found or ())


def _age_s(items: Sequence[bytes], now_s: float) -> float:
    """For how long the one has waited that is next, of those that never came back: what did was put
    long ago, and tells nothing of how long the others wait. What others pushed lacks its time."""
    for found in map(ITEM.match, reversed(items)):
        since_ms = int(found[1]) if found and not found[2] else 0
        if since_ms:
            return max(0.0, now_s - since_ms / 1000)
    return 0.0


def _by_queue(told: Iterable[bytes], at: int) -> dict[str, list[bytes]]:
    """Args:
    at: the part of each that names the queue; the last of the four is the message.
    """
    found: dict[str, list[bytes]] = {}
    for one in told:
        parts = one.split(b"\n", 3)
        if len(parts) == 4:
            found.setdefault(parts[at].decode(errors="replace"), []).append(parts[3])
    return found


def _share(items: Sequence[bytes], all_of_them: int) -> int:
    """How many messages those stand for that were read."""
    few = all_of_them <= READ_WHOLE
    return len(items) if few else math.ceil(len(items) * all_of_them / READ_WHOLE)


def _add_held(
    piles: Mapping[str, Pile], held: int, told: list[Any], workers: Sequence[WorkerSeen]
) -> None:
    """What is in flight: as leases have it, or at least what workers say that they hold."""
    values = told if told and isinstance(told[0], bytes) else [two for one in told for two in one]
    leased = _by_queue(values[1::2], 0)
    all_read = held <= READ_WHOLE and (leased or not held)
    for queue, items in leased.items():
        if queue in piles:
            piles[queue].add(_share(items, held), items)
    for queue, pile in piles.items():
        said = sum(_held_of(worker, queue) for worker in workers)
        # Where not all leases were read, few of a class among many of others may be in none.
        if not all_read:
            pile.add(max(0, said - pile.messages))


def _held_of(worker: WorkerSeen, queue: str) -> int:
    """By what a worker says; one of an older version says how many, and not of which queue."""
    by_queue = worker.about.get("in_hand_of")
    if isinstance(by_queue, dict):
        found = by_queue.get(queue)
        return _whole(found[0]) if isinstance(found, list) and found else 0
    served = worker.about.get("queues") or [None]
    return _whole(worker.about.get("in_hand")) if served[0] == queue else 0


def _whole(told: Any) -> int:
    return told if isinstance(told, int) and 0 <= told < 10**6 else 0


def effort_in(item: bytes) -> Effort:
    """Of a message, whoever wrote it: what is no job of ours takes little, and counts as one."""
    try:
        sampling = dict((first_argument(item) or {})["recipe"]["sampling"])
        frames, segments = sampling.get("frames"), sampling.get("segments")
        return Effort(
            frames if isinstance(frames, int) and frames > 0 else None,
            segments_of(segments if isinstance(segments, str) else None),
        )
    except (KeyError, TypeError, ValueError):
        return Effort()
