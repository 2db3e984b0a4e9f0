"""How far a backlog is, in Redis: a bit for each line and outcome, so that counting is exact.

    backlog:<name>:fed              string  how many lines were enqueued
    backlog:<name>:done             bitmap  line -> has its record
    backlog:<name>:failed:<reason>  bitmap  line -> has a failure with this reason
    backlog:<name>:outcomes         set     which of these bitmaps there are
    backlog:<name>:minutes          hash    minute -> how many lines ended in it

Told twice is counted once. Ten million lines are 1.2 MiB. All of it may be lost: it is made again
from the bucket by `jamak reconcile`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.broker.leased_queues import LeasedQueues
from shared.broker.sharing import Messages, words_of

REMEMBERED_S = 30 * 24 * 3600
"""After the last sign of life of a backlog."""
NOWHERE = 2**50
"""More lines than any backlog has."""
FORGOTTEN_S = 60
"""A feeder looks every two seconds whether a backlog is still there; so long it may take."""
DONE = "done"
FAILED = "failed:"
RATE_MINUTES = 5


@dataclass(frozen=True)
class Counts:
    done: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By reason."""
    per_minute: float = 0.0
    """Lines that ended, over the last full minutes."""

    @property
    def ended(self) -> int:
        return self.done + sum(self.failed.values())


def fed_of(queues: LeasedQueues, names: Sequence[str]) -> list[int | None]:
    """How far each of many backlogs is fed, in one step. Raises redis.RedisError."""
    with queues.redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.get(f"{queues.prefix}backlog:{name}:fed")
        return [None if one is None else int(one) for one in pipe.execute()]


class BacklogProgress:
    """Of one backlog. Raises redis.RedisError."""

    def __init__(self, queues: LeasedQueues, name: str) -> None:
        self._queues, self._name = queues, name
        self._base = f"{queues.prefix}backlog:{name}:"

    def fed(self) -> int | None:
        """None: Redis does not know; then the bucket's cursor counts."""
        return fed_of(self._queues, [self._name])[0]

    def feed(self, queue: str, start: int, end: int, messages: Messages) -> tuple[int, bool]:
        """Put the messages of the lines [start, end) at the end of a queue, in one step.

        If somebody else was faster nothing is put.

        Returns:
            How far it is fed now, and whether these were put.
        """
        fed, put = self._queues.run(
            "feed", queue, self._name, start, end, REMEMBERED_S, *words_of(messages)
        )
        return int(fed), bool(put)

    def stop(self) -> None:
        """Whoever feeds it finds that it is fed to its end, at once."""
        self._queues.run("halt", self._name, NOWHERE, REMEMBERED_S)

    def forget(self) -> None:
        """Nothing is known of it any more, so that its name can be used again.

        For a minute, whoever still feeds an earlier one of this name puts nothing.
        """
        names = [*self._outcomes(), "outcomes", "minutes"]
        # Only where something was fed: a new name is not kept waiting.
        self._queues.run("halt", self._name, NOWHERE, FORGOTTEN_S, "XX")
        with self._queues.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.expire(f"{self._base}{name}", 0)  # a producer's user may not DEL
            pipe.execute()

    def note(self, line: int, outcome: str) -> bool:
        """How a line ended: `done`, or `failed:` and the reason. False: that was known."""
        return bool(self._queues.run("note", self._name, line, outcome, REMEMBERED_S))

    def ended(self, start: int, end: int) -> set[int]:
        """Those of the lines [start, end) that ended; `start` is a multiple of 8."""
        found: set[int] = set()
        for bits in self._ranges(start, end).values():
            found.update(line for line in _set_bits(bits, start) if line < end)
        return found

    def ended_before(self, line: int) -> int:
        """How many of the lines before this one ended."""
        outcomes = self._outcomes()
        whole, rest = divmod(line, 8)
        with self._queues.redis.pipeline(transaction=False) as pipe:
            for outcome in outcomes:
                pipe.getrange(f"{self._base}{outcome}", whole, whole)
                if whole:
                    pipe.bitcount(f"{self._base}{outcome}", 0, whole - 1)
            found = pipe.execute()
        parts = [one for one in found if isinstance(one, bytes)]
        counts = [one for one in found if isinstance(one, int)]
        return sum(counts) + sum(at < rest for part in parts for at in _set_bits(part, 0))

    def merge(
        self, start: int, end: int, outcomes: Mapping[str, Iterable[int]], missing: Iterable[int]
    ) -> None:
        """What the bucket says about the lines [start, end), over what was counted: of each line
        one outcome.

        Args:
            start: a multiple of 8.
            missing: lines that had ended before the bucket was asked, but have nothing in it.
        """
        size = (end - start + 7) // 8
        gone = set(missing)
        told: list[str | int | bytes] = []
        for outcome in [DONE, *sorted({*self._outcomes(), *outcomes} - {DONE})]:
            found = set(outcomes.get(outcome, ()))
            other = gone
            if outcome != DONE:
                other = gone.union(*(some for one, some in outcomes.items() if one != outcome))
            told += [outcome, _bits(size, start, found), _bits(size, start, other)]
        self._queues.run("merge", self._name, REMEMBERED_S, start // 8, *told)

    def counts(self) -> Counts:
        outcomes = self._outcomes()
        with self._queues.redis.pipeline(transaction=False) as pipe:
            for outcome in outcomes:
                pipe.bitcount(f"{self._base}{outcome}")
            pipe.hgetall(f"{self._base}minutes")
            *bits, minutes = pipe.execute()
        counted = dict(zip(outcomes, bits, strict=True))
        failed = {
            outcome.removeprefix(FAILED): count
            for outcome, count in sorted(counted.items())
            if outcome != DONE and count
        }
        return Counts(counted.get(DONE, 0), failed, _rate(minutes))

    def _outcomes(self) -> list[str]:
        found: Any = self._queues.redis.smembers(f"{self._base}outcomes")
        return sorted(name.decode() for name in found)

    def _ranges(self, start: int, end: int) -> dict[str, bytes]:
        outcomes = self._outcomes()
        with self._queues.redis.pipeline(transaction=False) as pipe:
            for outcome in outcomes:
                pipe.getrange(f"{self._base}{outcome}", start // 8, (end + 7) // 8 - 1)
            return dict(zip(outcomes, pipe.execute(), strict=True))


def _bits(size: int, start: int, lines: Iterable[int]) -> bytes:
    bits = bytearray(size)
    for line in lines:
        at = line - start
        bits[at // 8] |= 0x80 >> at % 8
    return bytes(bits)


def _set_bits(bits: bytes, start: int) -> Iterable[int]:
    for at, byte in enumerate(bits):
        if byte:
            for bit in range(8):
                if byte & 0x80 >> bit:
                    yield start + at * 8 + bit


def _rate(minutes: Mapping[bytes, bytes]) -> float:
    """Per minute, over the last full ones; the current one counts for what it has so far."""
    ended = {int(minute): int(count) for minute, count in minutes.items()}
    now = time.time() / 60
    first = max(int(now) - RATE_MINUTES, min(ended, default=int(now)))
    # What is later was counted by a clock that was set back since.
    counted = sum(count for minute, count in ended.items() if first <= minute <= now + 1)
    return counted / max(now - first, 1.0)
