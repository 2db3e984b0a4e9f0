"""In which order a worker asks its queues: weighted round-robin, and nothing starves.

A worker's own class comes first, then the classes below. Every 8th message is the oldest that waits
below, so nothing starves; within a class fresh jobs come 3:1 before bulk ones.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

FRESH_PER_BULK = 3
BELOW_EVERY = 8
BULK = ".bulk"


@dataclass(frozen=True)
class Turn:
    queues: tuple[str, ...]
    passed_over: int
    """The oldest message of the queues after so many comes first; 0 = just the order."""


class QueueOrder:
    """`queues`: `name` and `name.bulk` of each class that is served, the own class first."""

    def __init__(self, queues: Sequence[str]) -> None:
        names = dict.fromkeys(queue.removesuffix(BULK) for queue in queues)
        self._classes = {
            name: [queue for queue in (name, name + BULK) if queue in queues] for name in names
        }
        self._taken: Counter[str] = Counter()

    def next(self) -> Turn:
        queues: list[str] = []
        for name, both in self._classes.items():
            bulk_first = self._taken[name] % (FRESH_PER_BULK + 1) == FRESH_PER_BULK
            queues += reversed(both) if bulk_first else both
        below = self._taken.total() % BELOW_EVERY == BELOW_EVERY - 1
        own = next(iter(self._classes.values()))
        return Turn(tuple(queues), len(own) if below else 0)

    def took(self, queue: str) -> None:
        self._taken[queue.removesuffix(BULK)] += 1
