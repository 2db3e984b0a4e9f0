"""In which order a training sees its samples: an endless stream, cut into batches.

The batch of a step follows from the seed and the step alone, and from the samples' lengths where
like goes with like. So a training that goes on elsewhere begins at its step, and nothing of what
came before is read again. Each epoch, a pass over all samples, is shuffled anew; a batch may end
one and begin the next, so that all are full.

Knows neither trainers nor the samples.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain

from torch.utils.data import Sampler

BLOCK = 50
"""Batches whose samples are sorted by length: more pad less, and mix less."""


class SampleOrder(Sampler[int]):
    """Numbers of samples, for the steps of a range.

    Args:
        samples: how many there are.
        size: samples of a step, of all processes and parts together.
        lengths: of each sample; None = they do not matter.
    """

    def __init__(
        self,
        samples: int,
        seed: int,
        size: int,
        steps: range,
        lengths: Sequence[int] | None = None,
    ) -> None:
        self._samples, self._seed, self._size, self._lengths = samples, seed, size, lengths
        self._places = range(steps.start * size, steps.stop * size)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[int]:
        now, order = -1, list[int]()
        for place in self._places:
            epoch, at = divmod(place, self._samples)
            if epoch != now:
                now, order = epoch, self._epoch(epoch)
            yield order[at]

    def _epoch(self, epoch: int) -> list[int]:
        key = f"{self._seed}/{epoch}"
        order = _shuffled(range(self._samples), key)
        if self._lengths is None:
            return order
        # The step that the epoch before left unfinished takes the first of them, as they come.
        begun = min(-epoch * self._samples % self._size, self._samples)
        return order[:begun] + _grouped(order[begun:], self._lengths, self._size, key)


def _grouped(order: list[int], lengths: Sequence[int], size: int, key: str) -> list[int]:
    """Samples of like length beside each other, in groups of a step; the groups in any order. What
    fills no step comes last."""
    groups: list[Sequence[int]] = []
    whole = len(order) - len(order) % size
    for block in _cut(order[:whole], BLOCK * size):
        alike = _cut(sorted(block, key=lambda sample: lengths[sample]), size)
        turns = _shuffled(range(len(alike)), f"{key}/{len(groups)}")
        groups += [alike[number] for number in turns]
    return [*chain.from_iterable(groups), *order[whole:]]


def _cut(samples: Sequence[int], size: int) -> list[Sequence[int]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _shuffled(numbers: range, key: str) -> list[int]:
    """By a hash: the same on every machine, with every version of every library."""
    return sorted(numbers, key=lambda number: blake2b(f"{key}/{number}".encode()).digest())
