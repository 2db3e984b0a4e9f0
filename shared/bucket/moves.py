"""The moves of a pointer: what becomes of it, and which way leads back. Pure.

The pointer keeps its history, and each stop in it knows the one before: A, B, C, rolled back to B
and to A, is a way of which only the base model is left. What is activated then goes on from A.

A canary stands beside what is in use, and its beginning and its end leave that in use: no way back
leads to it, unless it was promoted. Whatever else moves what is in use ends it.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from shared.errors import Reject
from shared.training import By, Canary, Pointer, Stop

HISTORY = 200
"""Moves that a pointer remembers, some 130 bytes each: workers read it every few seconds."""


@dataclass(frozen=True)
class Move:
    """A stop, before it is known when it is made and by which number."""

    version: str | None
    how: Literal["activated", "rolled back", "canary begun", "canary promoted", "canary ended"]
    before: int | None
    canary: str | None = None
    begins: Canary | None = None
    why: str = ""
    by: By | None = None

    def stop(self, generation: int, at: datetime) -> Stop:
        return Stop(
            generation=generation,
            version=self.version,
            at=at,
            how=self.how,
            before=self.before,
            canary=self.canary,
            share=self.begins.share if self.begins else None,
            why=self.why,
            by=self.by,
        )


def place(pointer: Pointer) -> tuple[int, datetime]:
    """One that was deleted and set again counts from 1 again, at another time."""
    return pointer.generation, pointer.updated_at


def activate(now: Pointer, version: str) -> Move:
    return Move(version, "activated", now.generation, _tried(now))


def begin(now: Pointer, canary: Canary, by: By, why: str) -> Move:
    """Raises Reject: it is in use, or another one is on trial."""
    if now.version == canary.version:
        raise Reject(
            f"{canary.version} is in use already; nothing was done",
            cure="A canary is compared with what is in use: name another version.",
        )
    if now.canary is not None and (now.canary.version, now.canary.share, now.canary.paired) == (
        canary.version,
        canary.share,
        canary.paired,
    ):
        raise Reject(
            f"{canary.version} is on trial already; nothing was done",
            cure="Another share begins another trial.",
        )
    if now.canary is not None and now.canary.version != canary.version:
        raise Reject(
            f"{now.canary.version} is on trial already; nothing was done",
            cure="One at a time: `jamak adapters promote` or `jamak adapters rollback` ends it.",
        )
    return Move(now.version, "canary begun", _before(now), canary.version, canary, why, by)


def promote(now: Pointer, by: By, why: str) -> Move:
    """Raises Reject: no canary is on trial."""
    canary = _on_trial(now).version
    return Move(canary, "canary promoted", now.generation, canary, None, why, by)


def end(now: Pointer, by: By, why: str) -> Move:
    """Raises Reject: no canary is on trial."""
    canary = _on_trial(now).version
    return Move(now.version, "canary ended", _before(now), canary, None, why, by)


def roll_back(now: Pointer) -> Move:
    """To the last stop on the way to here, without what was left after it was there: by a rollback,
    or as a canary.

    Raises:
        Reject: there is none.
    """
    to = _stop_before(now)
    return Move(to.version, "rolled back", to.before, _tried(now))


def _tried(now: Pointer) -> str | None:
    return now.canary.version if now.canary else None


def _on_trial(now: Pointer) -> Canary:
    if now.canary is None:
        raise Reject(
            "no adapter is on trial; nothing was done",
            cure="`jamak adapters canary VERSION 10%` begins a trial.",
        )
    return now.canary


def _before(now: Pointer) -> int | None:
    """Of what is in use and stays so: the way back from it stays, too."""
    return now.history[-1].before if now.history else None


def _stop_before(now: Pointer) -> Stop:
    stops = {stop.generation: stop for stop in now.history}
    left = {now.version: now.generation + 1}
    for one, next_one in pairwise(now.history):
        if next_one.how == "rolled back":
            left[one.version] = max(next_one.generation, left.get(one.version, 0))
        if next_one.how == "canary ended":
            canary = next_one.canary
            left[canary] = max(next_one.generation, left.get(canary, 0))
    here = now.history[-1].before if now.history else None
    while here:
        if here not in stops:
            raise Reject(
                f"nothing to roll back to: the history holds the last {HISTORY} moves, and what "
                "was in use before is older",
                cure="Choose one of `jamak adapters list`, and `jamak adapters activate` it.",
            )
        if left.get(stops[here].version, 0) < here:
            return stops[here]
        here = stops[here].before
    if here is None:
        used = now.version or "the base model"
        raise Reject(
            f"nothing to roll back to: nothing was in use before {used}",
            cure="Choose one of `jamak adapters list`, and `jamak adapters activate` it.",
        )
    return Stop(generation=0, version=None, at=now.updated_at, how="rolled back", before=None)
