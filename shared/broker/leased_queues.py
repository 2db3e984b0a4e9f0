"""Queues on Redis whose messages are leased, not popped: what a dead worker held comes back.

Every step is one script, atomic and on the server's clock; `lua/common.lua` says what lies where.
A lease has a name of its own for each time that a message is taken, so whoever lost it can neither
renew it nor acknowledge the message. Knows nothing of Celery or kombu.
"""

import itertools
import json
import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from importlib import resources
from types import MappingProxyType
from typing import Any

import redis

from shared.broker.connections import Reach, connected
from shared.broker.refusals import meaning
from shared.broker.sharing import Messages, Sharing, list_of, shares_of, words_of
from shared.redis_url import Place, RedisUrl
from shared.tenants import OTHER, Tenants

SCRIPTS = (
    "probe",
    "put",
    "take",
    "untake",
    "charge",
    "begin",
    "beat",
    "renew",
    "kept",
    "ack",
    "release",
    "poison",
    "redrive",
    "pool",
    "feed",
    "halt",
    "behind",
    "note",
    "merge",
)
ITEM = re.compile(rb"(\d{1,15})\n([^\n]{0,10000})\n")
NO_EVENTS: Mapping[str, str] = MappingProxyType({})
WAIT_S = 1.0
"""How long an idle worker waits to be woken before it looks by itself."""


@dataclass(frozen=True)
class History:
    """What happened to a message before; it travels with it."""

    attempt: int = 1
    deaths: int = 0
    """Workers that died with it, among other jobs."""
    deaths_alone: int = 0
    """Workers that died with it and nothing else."""
    hangs: int = 0
    """Times that it did not move for a whole timeout while its worker lived."""
    workers: tuple[str, ...] = ()
    """Those that died or hung, the last one last."""

    @classmethod
    def parse(cls, text: str) -> "History":
        """Raises ValueError, TypeError."""
        told = json.loads(text) if text else {}
        workers = tuple(map(str, told.pop("workers", ())))
        return cls(**{name: int(count) for name, count in told.items()}, workers=workers)

    def tried(self) -> "History":
        """One attempt later."""
        return replace(self, attempt=self.attempt + 1)

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Delivery:
    """A message under lease."""

    lease: str
    queue: str
    alone: bool
    """It may have killed its workers: nothing else may run beside it."""
    enqueued_ms: int
    history: History
    message: bytes
    tenant: str | None = None
    """Whose turn it was; None: its class is shared by nobody, or it runs alone."""


class Busy(Exception):
    """Something must run alone on this worker, which first has to finish what it has."""


class Held(Exception):
    """This worker is to go (`held.py`), so it takes nothing for now."""


@dataclass(frozen=True)
class WorkerSeen:
    name: str
    silent_s: float
    """Since its last beat."""
    about: dict[str, Any] = field(default_factory=dict)


class LeasedQueues:
    """The queues of one key prefix. Thread-safe; raises redis.RedisError.

    Args:
        url: as shared/redis_url.py reads it.
        prefix: of every key, with its separator.
        timeout_s: how long a lease lasts without a beat.
        reach: how the servers are reached, besides what the URL says.
        tenants: who shares these queues.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        timeout_s: float,
        reach: Reach = Reach(),
        tenants: Tenants | None = None,
    ) -> None:
        self.prefix, self.timeout_s, self.url = prefix, timeout_s, url
        self.sharing = Sharing(self, tenants or Tenants({}))
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._leases = itertools.count(1)
        self._connect = partial(connected, RedisUrl.parse(url), prefix, reach)
        self.redis = self._connect()
        self._scripts = {name: self.redis.register_script(_source(name)) for name in SCRIPTS}

    @cached_property
    def _taker(self) -> redis.Redis:
        """For taking and waiting: to ask a pool for a connection costs as much as to use it."""
        return self._connect(single=True)

    @property
    def server(self) -> Place:
        """Where the primary is now."""
        connection: Any = self.redis.connection_pool.get_connection()
        try:
            return connection.host, connection.port
        finally:
            self.redis.connection_pool.release(connection)

    def prove_answer(self) -> None:
        """Raises BrokerUnavailable, BrokerRefuses: it does not answer, or not to us."""
        try:
            self.redis.ping()
        except redis.RedisError as error:
            raise meaning(error, self.url) from error

    def prove_writes(self, queue: str) -> None:
        """Whether a message would be taken now: write one and remove it, in one step.

        Raises as `prove_answer`.
        """
        try:
            self.run("probe", queue)
        except redis.RedisError as error:
            raise meaning(error, self.url) from error

    def put(self, queue: str, messages: Messages) -> int:
        """At the end of the queue, all or none; how many wait in `other`'s list now."""
        return int(self.run("put", queue, *words_of(messages)))

    def pool(self, queue: str, tenant: str, most: int) -> int:
        """The next messages of a tenant go to the end of `other`'s list; how many there were."""
        return int(self.run("pool", queue, tenant, most))

    def new_lease(self) -> str:
        """A name that no other lease has or had."""
        return f"{self.worker}.{next(self._leases)}"

    def take(
        self, lease: str, queues: Sequence[str], *, in_flight: int = 0, passed_over: int = 0
    ) -> Delivery | None:
        """The next message of the first queue that has one.

        Args:
            lease: a new one. If no answer comes, the message may be under it all the same.
            queues: in the order in which they are wanted.
            in_flight: how many messages this worker holds.
            passed_over: if one of the queues after so many has a message, the oldest of them
                comes first; 0 = none.

        Raises:
            Busy: something must run alone here. Ask again when nothing is in flight.
            Held: others take what there is. Ask again later.
        """
        how = (self._timeout_ms, in_flight, passed_over)
        found = self.run("take", lease, self.worker, *how, *queues, client=self._taker)
        if found is None:
            return None
        if found == [b"busy"]:
            raise Busy
        if found == [b"held"]:
            raise Held
        queue, where, item = found
        enqueued, history, message = split_item(item)
        tenant = where[1:].decode() if where.startswith(b"@") else None
        alone = where == b"alone"
        return Delivery(lease, queue.decode(), alone, enqueued, history, message, tenant)

    def untake(self, lease: str) -> bool:
        """No answer came to a `take`: whatever it took, or takes late, waits again as it was.

        Returns:
            Whether it had taken something.
        """
        return bool(self.run("untake", lease))

    def wait(self, queues: Sequence[str], timeout_s: float) -> None:
        """Until something may have come, at most `timeout_s`."""
        self._taker.blpop([f"{self.prefix}{queue}:wake" for queue in queues], timeout=timeout_s)

    def beat(self, about: dict[str, Any], leases: Sequence[str]) -> list[bool]:
        """Say that this worker lives, and so do these leases; which of them it still holds."""
        told = json.dumps(about)
        words = ("card", "units_per_full_s", "cold_start_s")
        learned = [str(about.get(what) or "") for what in words]
        held = self.run("beat", self.worker, told, self._timeout_ms, *learned, *leases)
        return [bool(one) for one in held]

    def begin(self, lease: str) -> bool:
        """The job of a message that runs alone begins; False: its lease is lost.

        Without it the death of its worker says nothing about the job.
        """
        return bool(self.run("begin", lease, self._timeout_ms))

    def renew(self, lease: str) -> bool:
        """Whether it is still held; if so, for another timeout."""
        return bool(self.run("renew", lease, self._timeout_ms))

    def kept(self, lease: str) -> bool:
        """Something of the job is kept, and whoever gets it next goes on from there: its attempts
        and the deaths of its workers are counted anew. Whether the lease is still held."""
        return bool(self.run("kept", lease))

    def ack(self, leases: Sequence[str], events: Mapping[str, str] = NO_EVENTS) -> int:
        """Done; how many were still held. What was lost is with somebody else.

        Args:
            events: by their leases, what is to be told of them (`told_results.py`), in the same
                step.
        """
        words = [word for lease in leases for word in (lease, events.get(lease, ""))]
        return int(self.run("ack", *words))

    def charge(self, lease: str, more: float) -> bool:
        """So many units of work is a message more than one: its tenant's turns count by them.

        Returns:
            Whether the lease is held, and its turn was a tenant's.
        """
        return bool(self.run("charge", lease, f"{more:.6g}"))

    def release(
        self, lease: str, history: History | None, delay_s: float = 0.0, why: str = ""
    ) -> bool:
        """Back to the head of its queue, now or later; `history` None = as it was.

        Args:
            why: the reason of the error that the try met, for `jamak status`.
        """
        told = history.dump() if history else "-"
        return bool(self.run("release", lease, round(delay_s * 1000), told, why))

    def poison(self, lease: str, reason: str) -> bool:
        """To the poison list, with the reason: nobody shall run it, until it is redriven."""
        return bool(self.run("poison", lease, " ".join(reason.split())[:500]))

    def leave(self) -> None:
        """This worker has given everything back."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zrem(f"{self.prefix}workers", self.worker)
            pipe.hdel(f"{self.prefix}workers:about", self.worker)
            pipe.execute()

    def waiting(self, queue: str) -> int:
        """Those that must run alone are not among them."""
        return sum(self.waiting_by_tenant(queue).values())

    def waiting_by_tenant(self, queue: str) -> dict[str, int]:
        """`other` is always among them."""
        others = self.waiting_in(queue)
        names: Any = self.redis.zrange(f"{self.prefix}{shares_of(queue)}", 0, -1)
        tenants = [one for name in names if (one := name.decode()) != OTHER]
        if not tenants:
            return {OTHER: others}
        with self.redis.pipeline(transaction=False) as pipe:
            for tenant in tenants:
                pipe.llen(f"{self.prefix}{list_of(queue, tenant)}")
            counts = dict(zip(tenants, pipe.execute(), strict=True))
        return {OTHER: others} | {tenant: count for tenant, count in counts.items() if count}

    def waiting_in(self, name: str) -> int:
        """In one list, as `list_of` names it."""
        return int(self.redis.llen(f"{self.prefix}{name}"))

    def lists(self, queue: str) -> list[str]:
        """The keys of all in which messages of this queue wait, those to be run alone last."""
        tenants = self.waiting_by_tenant(queue)
        names = [*(list_of(queue, tenant) for tenant in tenants), f"{queue}:alone"]
        return [self.prefix + name for name in names]

    def waiting_alone(self, queue: str) -> int:
        """For a worker that has nothing in flight."""
        return int(self.redis.llen(f"{self.prefix}{queue}:alone"))

    def taken(self, name: str) -> int:
        """How many messages were taken from it, ever; those that came back count again.

        Args:
            name: of a queue, or of a tenant's list in it.
        """
        return int(self.redis.hget(f"{self.prefix}taken", name) or 0)

    def taken_in(self, name: str) -> int:
        """The same of one list, as `list_of` names it; a queue's count is that of all its lists."""
        others = [list_of(name, one) for one in self.sharing.tenants.weights if one != OTHER]
        if "@" in name or not others:
            return self.taken(name)
        names = [name, *others]
        counts: Any = self.redis.hmget(f"{self.prefix}taken", names)
        of_all, *of_others = (int(count or 0) for count in counts)
        return of_all - sum(of_others)

    def turns(self) -> dict[str, dict[str, int]]:
        """Queue -> tenant -> how many messages were taken of what is its, ever."""
        taken: Any = self.redis.hgetall(f"{self.prefix}taken")
        found: dict[str, dict[str, int]] = {}
        for name, count in taken.items():
            queue, at, tenant = name.decode().partition("@")
            if at:
                found.setdefault(queue, {})[tenant] = int(count)
        return found

    def counts(self) -> dict[str, int]:
        """Of messages under a lease, waiting for another try, and set aside."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hlen(f"{self.prefix}unacked")
            pipe.zcard(f"{self.prefix}delayed")
            pipe.llen(f"{self.prefix}poison")
            in_flight, delayed, poison = pipe.execute()
        return {"in_flight": in_flight, "delayed": delayed, "poison": poison}

    def workers(self) -> list[WorkerSeen]:
        """Those that live: they beat within a timeout."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(f"{self.prefix}workers", 0, -1, withscores=True)
            pipe.hgetall(f"{self.prefix}workers:about")
            (seconds, micros), beats, abouts = pipe.execute()
        now = seconds + micros / 1e6
        seen = [
            WorkerSeen(name.decode(), now - beat / 1000, json.loads(abouts.get(name, b"{}")))
            for name, beat in beats
        ]
        return [worker for worker in seen if worker.silent_s <= self.timeout_s]

    def serving(self) -> dict[str, list[str]]:
        """Queue -> the workers that live and serve it."""
        serving: dict[str, list[str]] = {}
        for worker in self.workers():
            for queue in worker.about.get("queues", ()):
                serving.setdefault(queue, []).append(worker.name)
        return serving

    @property
    def _timeout_ms(self) -> int:
        return round(self.timeout_s * 1000)

    def run(self, script: str, *args: str | int | bytes, client: redis.Redis | None = None) -> Any:
        """One of `shared/broker/lua/`."""
        return self._scripts[script](keys=[self.prefix], args=args, client=client)


def split_item(item: bytes) -> tuple[int, History, bytes]:
    """Enqueued in ms, history, message."""
    found = ITEM.match(item)
    if not found:
        return 0, History(), item
    enqueued, history, message = int(found[1]), found[2], item[found.end() :]
    try:
        return enqueued, History.parse(history.decode()), message
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return enqueued, History(), message


def _source(name: str) -> str:
    folder = resources.files("shared.broker") / "lua"
    return "\n".join(
        (folder / f"{one}.lua").read_text(encoding="utf-8") for one in ("common", name)
    )
