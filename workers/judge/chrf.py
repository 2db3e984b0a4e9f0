"""chrF++: runs of letters and words that caption and reference have in common (Popović 2017,
aclanthology.org/W17-4770), as sacrebleu counts them. The primary measure: it needs no tokenizer,
and Korean endings and particles count for what they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import CHRF

from shared.judged import Better
from workers.judge.items import Item
from workers.judge.measures import Numbers, ratio

WORD_ORDER = 2
BETA = 2


def counts_of(counter: Any, item: Item) -> list[int]:
    """What one of sacrebleu's metrics adds up over a corpus; of several references it takes what
    belongs to it. Private there, and the only way to resample without counting anew: a test
    compares the figures with those that sacrebleu gives out."""
    references = [[text] for text in item.references]
    [found] = counter._extract_corpus_statistics([item.said], references)
    return list(found)


class ChrF:
    name, title, percent = "chrf", "chrF++", False
    better: Better = "higher"

    def __init__(self) -> None:
        self._counter = CHRF(word_order=WORD_ORDER, beta=BETA)

    def why_not(self, items: Sequence[Item]) -> str | None:
        return None if items else "there are no captions"

    def sums(self, items: Sequence[Item]) -> Numbers:
        """n-grams of caption, of reference, and common ones, of each order; of several references
        the one that it is nearest to."""
        return np.array([counts_of(self._counter, i) for i in items], dtype=np.float64)

    def figure(self, sums: Numbers) -> Numbers:
        """0 to 100: the F-score of mean precision and mean recall over the orders that both have
        (sacrebleu 2.6, metrics/chrf.py)."""
        said, meant, common = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
        both = (said > 0) & (meant > 0)
        orders = both.sum(-1).astype(np.float64)
        precision = ratio(np.where(both, common / np.maximum(said, 1), 0.0).sum(-1), orders)
        recall = ratio(np.where(both, common / np.maximum(meant, 1), 0.0).sum(-1), orders)
        precision, recall = np.nan_to_num(precision), np.nan_to_num(recall)
        under = BETA**2 * precision + recall
        made: Numbers = 100 * np.nan_to_num(ratio((1 + BETA**2) * precision * recall, under))
        return made
