"""Hallucinated nouns: what a caption names and no reference of the video does. After CHAIR
(Rohrbach 2018, arXiv 1809.02156), with nouns for objects. A synonym counts as hallucinated, so it
compares adapters on one set, and says little by itself."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from shared.judged import Better
from workers.judge.items import Item
from workers.judge.measures import Numbers, ratio
from workers.judge.morphemes import nouns, why_missing


class Unfounded:
    name, title, percent = "hallucinated", "nouns of no reference", True
    better: Better = "lower"

    def why_not(self, items: Sequence[Item]) -> str | None:
        if missing := why_missing():
            return missing
        if not any(nouns(item.said) for item in items):
            return "no caption has a noun"
        if not any(nouns(text) for item in items for text in item.references):
            return "no reference has a noun"
        return None

    def sums(self, items: Sequence[Item]) -> Numbers:
        """Nouns of the caption that no reference has; all nouns of it."""
        named: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for item in items:
            named[item.video] |= frozenset().union(*map(nouns, item.references))
        return np.array(
            [[len(nouns(i.said) - named[i.video]), len(nouns(i.said))] for i in items],
            dtype=np.float64,
        )

    def figure(self, sums: Numbers) -> Numbers:
        return ratio(sums[..., 0], sums[..., 1])
