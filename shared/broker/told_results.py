"""Results that have still to be told, in a stream of Redis: put there in the step that acknowledges
their messages (`lua/ack.lua`), and removed when somebody has heard of them.

Several may send at once: each result is one sender's, until that has been silent for a minute.
Knows nothing of where they are sent. Raises redis.RedisError.
"""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from shared.broker.leased_queues import LeasedQueues

GROUP = "senders"
SILENT_MS = 60_000
"""Whoever has not touched what is his for so long has died."""
SAY_AGAIN_S, LATELY_S = 20.0, 90.0
"""A sender that cannot send says so again; one that has ended does not."""


@dataclass(frozen=True)
class ToTell:
    id: str
    """Its place in the stream."""
    event: str
    """JSON."""
    late: bool = False
    """It was put behind others before."""


@dataclass(frozen=True)
class Untold:
    waiting: int
    dropped: int
    """Ever: there were too many."""
    why: str = ""
    """Why a sender cannot send them, lately; empty: it can, or there is none."""


class Results:
    """Of one prefix."""

    def __init__(self, queues: LeasedQueues) -> None:
        self._queues, self._redis, self._me = queues, queues.redis, queues.worker
        self._stream, self._state = f"{queues.prefix}results", f"{queues.prefix}results:state"
        self._dropped = f"{queues.prefix}results:dropped"

    def begin(self) -> None:
        """Whatever was told before, and Redis has lost: there is a stream now."""
        with suppress(redis.ResponseError):  # BUSYGROUP: there was
            self._redis.xgroup_create(self._stream, GROUP, "0", mkstream=True)

    def prove(self) -> None:
        """That this user may do all of it; nothing is taken."""
        self.begin()
        place = f"{2**53}-0"
        self._redis.xautoclaim(self._stream, GROUP, self._me, SILENT_MS, place, count=1)
        self._redis.xreadgroup(GROUP, self._me, {self._stream: place}, count=1)
        nothing = [ToTell("0-0", "")]
        self.keep(nothing)
        self.done(nothing)
        self.untold()

    def take(self, most: int) -> list[ToTell]:
        """The oldest that are nobody's."""
        lost: Any = self._redis.xautoclaim(
            self._stream, GROUP, self._me, SILENT_MS, "0-0", count=most
        )
        found = [one for one in lost[1] if one and one[1]]  # what fell out meanwhile has none
        if len(found) < most:
            fresh: Any = self._redis.xreadgroup(
                GROUP, self._me, {self._stream: ">"}, count=most - len(found)
            )
            # A list of pairs, or with the third protocol a mapping to lists of lists.
            for _, entries in fresh.items() if isinstance(fresh, dict) else fresh:
                found += entries[0] if isinstance(fresh, dict) else entries
        return [
            ToTell(place.decode(), fields[b"event"].decode(), b"late" in fields)
            for place, fields in found
        ]

    def keep(self, some: Sequence[ToTell]) -> None:
        """They are still this sender's."""
        if some:
            self._redis.xclaim(
                self._stream, GROUP, self._me, 0, [one.id for one in some], justid=True
            )

    def done(self, some: Sequence[ToTell]) -> None:
        ids = [one.id for one in some]
        if ids:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.xack(self._stream, GROUP, *ids)
                pipe.xdel(self._stream, *ids)
                pipe.execute()

    def put_behind(self, some: Sequence[ToTell]) -> None:
        """All that waits comes before them now, and they are nobody's."""
        if some:
            told = [word for one in some for word in (one.id, one.event)]
            self._queues.run("behind", GROUP, *told)

    def say(self, why: str) -> None:
        """Why nothing can be sent; empty: it can."""
        self._redis.set(self._state, json.dumps({"why": why, "at": time.time()}))

    def untold(self) -> Untold:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.xlen(self._stream)
            pipe.hget(self._dropped, "ever")
            pipe.get(self._state)
            waiting, dropped, state = pipe.execute()
        told = json.loads(state or b'{"why": "", "at": 0}')
        lately = abs(time.time() - told["at"]) < LATELY_S
        return Untold(waiting, int(dropped or 0), told["why"] if lately else "")
