"""Measures that look at the text alone, or at a number that came with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from shared.judged import Better
from workers.caption.checks import hangul_share
from workers.caption.loops import is_repetitive
from workers.judge.items import Item
from workers.judge.measures import Numbers, counted, mean, ratio


@dataclass(frozen=True)
class Mean:
    """Of one number of each caption; captions without it do not count."""

    name: str
    title: str
    better: Better
    percent: bool
    of: Callable[[Item], float | None]
    nothing: str = "there are no captions"
    """Why it is left out, if no caption has the number."""

    def why_not(self, items: Sequence[Item]) -> str | None:
        values = [value for item in items if (value := self.of(item)) is not None]
        if broken := sum(not isfinite(value) for value in values):
            return f"of {broken} of {len(values)} captions it is no number"
        return None if values else self.nothing

    def sums(self, items: Sequence[Item]) -> Numbers:
        values = [self.of(item) for item in items]
        sums = counted([0.0 if value is None else value for value in values])
        sums[[value is None for value in values]] = 0
        return sums

    def figure(self, sums: Numbers) -> Numbers:
        return mean(sums)


class Length:
    """Characters without spaces, beside the reference that is nearest in length."""

    name, title, percent = "length", "length, of the reference's", True
    better: Better = "same"

    def why_not(self, items: Sequence[Item]) -> str | None:
        return None if items else "there are no captions"

    def sums(self, items: Sequence[Item]) -> Numbers:
        pairs = []
        for item in items:
            said = _characters(item.said)
            meant = min(map(_characters, item.references), key=lambda one: abs(one - said))
            pairs.append([said, meant])
        return np.array(pairs, dtype=np.float64)

    def figure(self, sums: Numbers) -> Numbers:
        return ratio(sums[..., 0], sums[..., 1])


def _characters(text: str) -> int:
    return len("".join(text.split()))


PLAIN = (
    Mean("exact", "captions equal to theirs", "higher", True, lambda i: i.said in i.references),
    Mean("hangul", "Hangul among letters", "higher", True, lambda i: hangul_share(i.said)),
    Mean(
        "repetitive",
        "captions that go round in circles",
        "lower",
        True,
        lambda i: is_repetitive(i.said, cut=not i.finished),
    ),
    Mean("empty", "captions without a text", "lower", True, lambda i: not i.said),
    Mean("cut", "captions that were cut off", "lower", True, lambda i: not i.finished),
    Length(),
    Mean(
        "logp",
        "log-probability of the references, nats a token",
        "higher",
        False,
        lambda i: i.logp,
        "no model was asked how likely it finds the references",
    ),
)
