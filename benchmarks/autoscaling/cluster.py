"""Queues, replicas and nodes in simulated time: what starts, works, is reclaimed and ends.

Knows nothing of who decides how many replicas there are. A replica is one worker on one card. It
has one piece of work in hand at a time, as many messages as its rows take or fewer, which it does
at the rate of all its rows.

What is left out: the time a node takes to be ordered is part of the cold start, and paid like the
rest of it; the network, the store and the broker never fail; rates do not vary.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

LEASE_S = 30.0
"""Until the messages of a reclaimed replica are in their queue again: the visibility timeout."""
DRAIN_S = 85.0
"""For how long a replica that is asked to end goes on with what it has."""

NODE_STAYS_S = 60.0
"""After its replica: Karpenter's consolidateAfter."""


@dataclass(frozen=True)
class Card:
    """One class of replicas."""

    name: str
    rate: float
    """Units a second with all rows in use."""
    rows: int
    usd_per_hour: float


@dataclass(frozen=True)
class Work:
    """Messages that came at the same time and are done by the same replica."""

    put_at: float
    card: str
    messages: float
    units: float
    bulk: bool = False


@dataclass(frozen=True)
class Done:
    at: float
    latency_s: float
    messages: float
    card: str
    bulk: bool


@dataclass(eq=False)
class Replica:
    card: Card
    asked_at: float
    ready_at: float
    """When its cold start will be over."""
    reclaimed_at: float
    """When its node will be taken away; infinity: it will not."""
    work: Work | None = None
    began_at: float = 0.0
    ending: bool = False
    held: bool = False
    """It takes nothing: it is to go."""
    wake: Any = None
    process: Any = None

    @property
    def is_busy(self) -> bool:
        return self.work is not None

    def is_ready(self, now: float) -> bool:
        return now >= self.ready_at

    def works_at(self, at: float) -> bool:
        return self.ready_at <= at < self.reclaimed_at

    def left(self, now: float) -> float:
        """Units of what it has in hand."""
        assert self.work is not None
        return max(0.0, self.work.units - (now - self.began_at) * self.card.rate)


@dataclass
class Queue:
    """Of one class: what was put lately goes before a backlog, three times out of four."""

    new: deque[Work] = field(default_factory=deque)
    bulk: deque[Work] = field(default_factory=deque)
    messages: float = 0.0
    """That wait, of both."""
    units: float = 0.0
    """Of what was put lately."""
    bulk_units: float = 0.0
    taken: float = 0.0
    """Messages, ever, of what was put lately."""
    _turn: int = 0

    def put(self, work: Work, *, front: bool = False) -> None:
        where = self.bulk if work.bulk else self.new
        (where.appendleft if front else where.append)(work)
        self._count(work, 1)
        self.taken -= work.messages * (front and not work.bulk)

    def take(self) -> Work | None:
        self._turn += 1
        first, then = (self.new, self.bulk) if self._turn % 4 else (self.bulk, self.new)
        where = first or then
        if not where:
            self.messages = self.units = self.bulk_units = 0.0  # no rounding is left
            return None
        work = where.popleft()
        self._count(work, -1)
        self.taken += work.messages * (not work.bulk)
        return work

    def _count(self, work: Work, sign: int) -> None:
        self.messages += sign * work.messages
        if work.bulk:
            self.bulk_units += sign * work.units
        else:
            self.units += sign * work.units


class Cluster:
    """Args:
    cards: from the smallest to the largest; a larger one takes the work of smaller ones, too.
    cold_start: the next replica's, in seconds.
    life: the next node's until it is reclaimed, in seconds.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cards: Sequence[Card],
        cold_start: Callable[[], float],
        life: Callable[[], float],
    ) -> None:
        self.env, self.cards = env, {card.name: card for card in cards}
        self._cold_start, self._life = cold_start, life
        self.queues = {card.name: Queue() for card in cards}
        self.replicas: dict[str, list[Replica]] = {card.name: [] for card in cards}
        self._idle: dict[str, deque[Replica]] = {card.name: deque() for card in cards}
        names = [card.name for card in cards]
        self._serves = {name: names[at::-1] for at, name in enumerate(names)}
        self._served_by = {name: names[at:] for at, name in enumerate(names)}
        self.asked: dict[str, int] = {}
        """How many replicas of a class there shall be, where somebody has said so."""
        self.arrived = dict.fromkeys(names, 0.0)
        """Units, by class, of what is no backlog."""
        self.done: list[Done] = []
        self.undone = 0.0
        """Messages that were put and are not done."""
        self.usd = 0.0
        """Of replicas that have ended."""
        self.scale_ins = self.busy_killed = self.reclaimed = 0
        """Busy: with work in hand that a drain was too short for."""
        self.changes: list[tuple[float, str, int]] = []
        """When, in which class, by how many."""

    # --- work ----------------------------------------------------------------------------------

    def feed(self, arrivals: Iterable[Work]) -> Generator[Any, Any, None]:
        """A process that puts each when its time has come."""
        for work in arrivals:
            if work.put_at > self.env.now:
                yield self.env.timeout(work.put_at - self.env.now)
            self.undone += work.messages
            if not work.bulk:
                self.arrived[work.card] += work.units
            self._put(work)

    def _put(self, work: Work, *, front: bool = False) -> None:
        self.queues[work.card].put(work, front=front)
        for card in self._served_by[work.card]:
            if self._wake_one(card):
                return

    def _wake_one(self, card: str) -> bool:
        free = next((one for one in self._idle[card] if not one.held), None)
        if free is not None:
            self._idle[card].remove(free)
            free.wake.succeed()
        return free is not None

    def _take(self, replica: Replica) -> Work | None:
        if replica.held:
            return None
        for card in self._serves[replica.card.name]:
            if work := self.queues[card].take():
                return work
        return None

    def in_flight(self, card: str, *, bulk: bool = False) -> float:
        """Units of this class that replicas of any class have in hand."""
        return sum(
            one.left(self.env.now)
            for name in self._served_by[card]
            for one in self.replicas[name]
            if one.work is not None and (one.work.card, one.work.bulk) == (card, bulk)
        )

    # --- replicas ------------------------------------------------------------------------------

    def next_cold_start(self) -> float:
        return self._cold_start()

    def start(self, card: str, cold_s: float | None = None) -> Replica:
        now = self.env.now
        cold_s = self._cold_start() if cold_s is None else cold_s
        one = Replica(self.cards[card], now, now + cold_s, now + self._life())
        self.replicas[card].append(one)
        one.process = self.env.process(self._live(one, cold_s))
        if one.reclaimed_at < float("inf"):
            self.env.process(self._reclaim(one))
        return one

    def hold(self, card: str, chosen: Collection[Replica]) -> None:
        """These take nothing more, and all others of the class do again."""
        for one in self.there(card):
            was, one.held = one.held, one in chosen
            if was and not one.held and one in self._idle[card]:
                self._idle[card].remove(one)
                one.wake.succeed()

    def end(self, one: Replica) -> None:
        """A scale-in: it takes nothing more, finishes what fits, hands back the rest."""
        assert not one.ending
        self.scale_ins += 1
        one.ending = True
        one.process.interrupt("scale-in")

    def reclaim_some(self, share: float, pick: np.random.Generator) -> None:
        """Nodes taken away at the same time, of every class."""
        for replicas in self.replicas.values():
            there = [one for one in replicas if not one.ending]
            for at in pick.choice(len(there), round(share * len(there)), replace=False):
                self._reclaimed(there[at])

    def scale(self, card: str, count: int, first: Callable[[Replica], Any]) -> None:
        """As many replicas as that, and what is reclaimed is replaced, as a Deployment does.

        Args:
            first: those go first for which it is smallest.
        """
        before = self.asked.get(card, 0)
        if count != before:
            self.changes.append((self.env.now, card, count - before))
        self.asked[card] = count
        there = self.there(card)
        for _ in range(count - len(there)):
            self.start(card)
        for one in sorted(there, key=first)[: max(0, len(there) - count)]:
            self.end(one)

    def there(self, card: str) -> list[Replica]:
        """Those that were asked for, and not asked to end."""
        return [one for one in self.replicas[card] if not one.ending]

    def bill(self) -> float:
        """In USD, of all replicas, until now."""
        alive = (one for replicas in self.replicas.values() for one in replicas)
        return self.usd + sum(self._price(one) for one in alive)

    def _price(self, one: Replica, stays_s: float = 0.0) -> float:
        return (self.env.now + stays_s - one.asked_at) / 3600 * one.card.usd_per_hour

    def _live(self, one: Replica, cold_s: float) -> Generator[Any, Any, None]:
        try:
            yield self.env.timeout(cold_s)
            while True:
                one.work = self._take(one)
                if one.work is None:
                    one.wake = self.env.event()
                    self._idle[one.card.name].append(one)
                    yield one.wake
                    continue
                one.began_at = self.env.now
                yield self.env.timeout(one.work.units / one.card.rate)
                self._finish(one.work, one.work.messages)
                one.work = None
        except simpy.Interrupt as interrupt:
            if one in self._idle[one.card.name]:
                self._idle[one.card.name].remove(one)
            elif one.wake is not None and one.work is None and one.wake.triggered:
                self._wake_one(one.card.name)  # it was woken, and has taken nothing
            if one.work is not None and interrupt.cause == "scale-in":
                yield from self._drain(one)
            elif one.work is not None:
                self.env.process(self._come_back(one.work, one.left(self.env.now), one.card))
        self.replicas[one.card.name].remove(one)
        stays_s = 0.0 if self.env.now >= one.reclaimed_at else NODE_STAYS_S
        self.usd += self._price(one, stays_s)

    def _drain(self, one: Replica) -> Generator[Any, Any, None]:
        work, left = one.work, one.left(self.env.now)
        assert work is not None
        seconds = left / one.card.rate
        yield self.env.timeout(min(seconds, DRAIN_S))
        if seconds <= DRAIN_S:
            self._finish(work, work.messages)
        else:
            self.busy_killed += 1
            self._split(work, left - DRAIN_S * one.card.rate)

    def _reclaim(self, one: Replica) -> Generator[Any, Any, None]:
        yield self.env.timeout(one.reclaimed_at - self.env.now)
        self._reclaimed(one)

    def _reclaimed(self, one: Replica) -> None:
        if not one.ending and one.process.is_alive:
            one.ending = True
            one.reclaimed_at = self.env.now
            self.reclaimed += 1
            one.process.interrupt("reclaimed")
            if one.card.name in self.asked:
                self.start(one.card.name)

    def _come_back(self, work: Work, left: float, card: Card) -> Generator[Any, Any, None]:
        """Of what was in the rows the half is lost, of a long video's segments no more than one
        in each: the others are kept as parts."""
        unit = work.units / work.messages
        lost = min(work.units - left, min(card.rows, work.messages) * min(unit, 1.0) / 2)
        yield self.env.timeout(LEASE_S)
        self._split(work, left + lost)

    def _split(self, work: Work, left: float) -> None:
        """So many units go back to the queue, the rest is done."""
        messages = work.messages * left / work.units
        if work.messages - messages > 0:
            self._finish(work, work.messages - messages)
        if left > 0:
            self._put(Work(work.put_at, work.card, messages, left, work.bulk), front=True)

    def _finish(self, work: Work, messages: float) -> None:
        self.undone -= messages
        now = self.env.now
        self.done.append(Done(now, now - work.put_at, messages, work.card, work.bulk))
