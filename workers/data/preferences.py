"""Of several captions of one video, which is the better and which the worse: a row to prefer by.

Knows neither rows nor where the captions come from.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

By = Literal["chrf", "exact"]


@dataclass(frozen=True)
class Pair:
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Judge:
    """Args:
    by: how near a caption is to its reference, 0 to 100: by chrF++ (Popović 2017,
        aclanthology.org/W17-4770), or 100 for the same text and 0 for any other.
    margin: the least difference of two captions that are a pair.
    rejects: what no chosen text may hold; a rejected one holds it.
    """

    by: By = "chrf"
    margin: float = 10.0
    rejects: re.Pattern[str] | None = None

    def pair(
        self, said: Sequence[str], reference: str | None, flawed: Collection[str] = ()
    ) -> Pair | None:
        """None: there is nothing to choose between them.

        Args:
            said: the captions of one video, in the order in which they were drawn.
            flawed: those that are not to be learned, however near they are: cut off, as a rule.
            reference: the right one. Without it the caption that was drawn most often counts as
                the best, and only `rejects` tells what is worse.
        """
        often = Counter(said)  # in the order of the draws, which decides between equals
        worth = self._worth(often, reference)
        right = [text for text in often if not self._is_rejected(text)]
        able = [text for text in right if text not in flawed]
        if not able:
            return None
        chosen = max(able, key=worth)
        if self.rejects is not None:
            # The nearest one: the pair then differs in what the rule is about, and in little else.
            bad = [text for text in often if self._is_rejected(text)]
            return Pair(chosen, max(bad, key=_likeness(chosen))) if bad else None
        rejected = min(right, key=worth)
        if reference is None or worth(chosen) - worth(rejected) < max(self.margin, 1e-9):
            return None
        return Pair(chosen, rejected)

    def _worth(self, often: Counter[str], reference: str | None) -> Callable[[str], float]:
        if reference is None:
            return lambda text: float(often[text])
        if self.by == "exact":
            return lambda text: 100.0 * (text == reference)
        return _likeness(reference)

    def _is_rejected(self, text: str) -> bool:
        return self.rejects is not None and self.rejects.search(text) is not None


def _likeness(reference: str) -> Callable[[str], float]:
    from sacrebleu.metrics import CHRF  # of the extra `train`

    chrf = CHRF(word_order=2)
    return lambda text: float(chrf.sentence_score(text, [reference]).score)
