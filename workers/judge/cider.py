"""CIDEr-D on Korean morphemes (Vedantam 2015, arXiv 1411.5726): runs of morphemes, of which the
rare ones count more. How rare a run is follows from the references of the set itself, so figures of
two sets cannot be compared."""

from collections import Counter
from collections.abc import Sequence
from math import exp, log, sqrt

from shared.judged import Better
from workers.judge.items import Item, videos_of
from workers.judge.measures import Numbers, counted, mean
from workers.judge.morphemes import morphemes, why_missing

ORDER, SIGMA, SCALE = 4, 6.0, 10.0
LEAST_VIDEOS = 8
"""Of fewer nobody can tell which runs are rare; of one all count nothing."""

Run = tuple[str, ...]
Vector = dict[Run, float]


class Cider:
    name, title, percent = "cider", "CIDEr-D, morphemes", False
    better: Better = "higher"

    def why_not(self, items: Sequence[Item]) -> str | None:
        if missing := why_missing():
            return missing
        videos = len(videos_of(items))
        if videos < LEAST_VIDEOS:
            return f"{videos} videos do not tell which words are rare: it takes {LEAST_VIDEOS}"
        if len({text for item in items for text in item.references}) == 1:
            return "all videos have the same reference, so no word of it tells them apart"
        return None

    def sums(self, items: Sequence[Item]) -> Numbers:
        """The score of each caption."""
        among: dict[str, set[Run]] = {}
        for item in items:
            for text in item.references:
                among.setdefault(item.video, set()).update(_runs(text))
        often = Counter(run for runs in among.values() for run in runs)
        rarity = {run: log(len(among) / count) for run, count in often.items()}
        unseen = log(len(among))
        return counted([_score(item, rarity, unseen) for item in items])

    def figure(self, sums: Numbers) -> Numbers:
        """0 to 10; CIDEr is often printed ten times as large as it is here."""
        return mean(sums)


def _runs(text: str) -> Counter[Run]:
    words = morphemes(text)
    return Counter(
        words[start : start + order]
        for order in range(1, ORDER + 1)
        for start in range(len(words) - order + 1)
    )


def _vectors(text: str, rarity: Vector, unseen: float) -> list[Vector]:
    """Of each order."""
    found: list[Vector] = [{} for _ in range(ORDER)]
    for run, times in _runs(text).items():
        found[len(run) - 1][run] = times * rarity.get(run, unseen)
    return found


def _score(item: Item, rarity: Vector, unseen: float) -> float:
    said, length = _vectors(item.said, rarity, unseen), len(morphemes(item.said))
    total = 0.0
    for text in item.references:
        apart = length - len(morphemes(text))
        likeness = sum(map(_cosine, said, _vectors(text, rarity, unseen))) / ORDER
        total += likeness * exp(-(apart**2) / (2 * SIGMA**2))
    return SCALE * total / len(item.references)


def _cosine(said: Vector, meant: Vector) -> float:
    """What is said more often than it is meant counts no more than that."""
    norms = sqrt(sum(v * v for v in said.values())) * sqrt(sum(v * v for v in meant.values()))
    common = sum(min(value, meant[run]) * meant[run] for run, value in said.items() if run in meant)
    return common / norms if norms else 0.0
