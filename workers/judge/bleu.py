"""BLEU on the morphemes of mecab-ko (Papineni 2002, aclanthology.org/P02-1040), as sacrebleu
counts it with its tokenizer `ko-mecab`."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from shared.judged import Better
from workers.judge.chrf import counts_of
from workers.judge.items import Item
from workers.judge.measures import Numbers
from workers.judge.morphemes import morphemes, why_missing

ORDER = 4


class Bleu:
    name, title, percent = "bleu", "BLEU, ko-mecab", False
    better: Better = "higher"

    @cached_property
    def _counter(self) -> Any:
        return BLEU(tokenize="ko-mecab")

    def why_not(self, items: Sequence[Item]) -> str | None:
        if missing := why_missing():
            return missing
        if not any(len(morphemes(item.said)) >= ORDER for item in items):
            return f"no caption has {ORDER} morphemes, and it counts runs of {ORDER}"
        if not any(len(morphemes(text)) >= ORDER for item in items for text in item.references):
            return f"no reference has {ORDER} morphemes, and it counts runs of {ORDER}"
        return None

    def sums(self, items: Sequence[Item]) -> Numbers:
        """Morphemes of caption and reference; then common runs and runs, of each order."""
        return np.array([counts_of(self._counter, i) for i in items], dtype=np.float64)

    def figure(self, sums: Numbers) -> Numbers:
        """0 to 100, with sacrebleu's smoothing of orders that have nothing in common (`exp`)."""
        said, meant = sums[..., 0], sums[..., 1]
        common, runs = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
        misses = np.cumsum(common == 0, axis=-1)
        smoothed = np.where(common == 0, 1 / 2.0**misses, common)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(smoothed / runs).mean(-1)
            brevity = np.where(said < meant, 1 - meant / said, 0.0)
            made = 100 * np.exp(logs + brevity)
        # Without a run of four it says nothing; with nothing in common it is 0.
        made = np.where(common.sum(-1) == 0, 0.0, made)
        return np.where(runs[..., -1] > 0, made, np.nan)
