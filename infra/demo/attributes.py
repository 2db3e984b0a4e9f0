"""What a demo caption says, fact by fact: backgrounds, and the colour, shape and motion of what is
before them, read by the grammar of the captions.

It makes a measure for the judge, which knows no grammar: exact where all others only count letters.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from infra.demo.captions import parse
from infra.demo.scenes import Scene
from shared.judged import Better
from workers.judge.items import Item
from workers.judge.measures import Numbers, ratio

Fact = tuple[int, str, str]
"""Part of the film, which thing in it, what it is or does."""


def facts_of(scene: Scene) -> Counter[Fact]:
    """Things are known by their place in the telling."""
    found: Counter[Fact] = Counter()
    for part, one in enumerate(scene.parts):
        found[part, "background", one.background] += 1
        for number, figure in enumerate(one.figures):
            for name in ("colour", "shape", "motion"):
                found[part, f"{name} of {number}", getattr(figure, name)] += 1
    return found


def told_facts(text: str) -> Counter[Fact]:
    """None of what is no sentence of the grammar."""
    scene = parse(text)
    return Counter() if scene is None else facts_of(scene)


class Attributes:
    """F1 of the facts: of those told, and of those that are to be told."""

    name, title, percent = "attributes", "attributes told rightly, F1", True
    better: Better = "higher"

    def why_not(self, items: Sequence[Item]) -> str | None:
        if all(parse(text) for item in items for text in item.references):
            return None if items else "there are no captions"
        return "not all references are of the demo's scenes"

    def sums(self, items: Sequence[Item]) -> Numbers:
        """Facts told and meant, told, meant."""
        rows = []
        for item in items:
            said, meant = told_facts(item.said), told_facts(item.references[0])
            rows.append([(said & meant).total(), said.total(), meant.total()])
        return np.array(rows, dtype=np.float64)

    def figure(self, sums: Numbers) -> Numbers:
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def measure() -> Attributes:
    """For the entry points `jamak.measures`."""
    return Attributes()
