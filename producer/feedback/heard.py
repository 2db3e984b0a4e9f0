"""What was said already: who says the same again says nothing new.

Not every tool tells when something was said. Of two that say when, the later one counts; of what
says it not, it is new only if its reviewer's last word was another. A correction is one's word as
long as no thumb up took it back; a thumb down does not.
"""

from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Literal

from shared.feedback import Correction, Feedback, Preference, Thumb, text_digest

Word = Literal["up", "down", "correction", "preference"]


class Heard:
    """Args:
    now: what lies in the future is nobody's last word yet: somebody's clock is ahead.
    """

    def __init__(self, items: Iterable[Feedback], now: datetime) -> None:
        self._all: set[Feedback] = set()
        self._last: dict[tuple[Hashable, Word], Feedback] = {}
        for item in items:
            if item.at <= now:
                self.hear(item)
            self._all.add(item)

    def hear(self, item: Feedback) -> None:
        self._all.add(item)
        key = question_of(item), word_of(item)
        if key not in self._last or self._last[key].at <= item.at:
            self._last[key] = item

    def knows(self, item: Feedback, *, timed: bool) -> bool:
        """Args:
        timed: its time is when it was said, and not when we learned of it.
        """
        if timed:
            return item in self._all
        question, word = question_of(item), word_of(item)
        last = self._last.get((question, word))
        if last is None:
            return item in self._all
        others = (self._last.get((question, other)) for other in TAKES_BACK[word])
        if any(other is not None and other.at > last.at for other in others):
            return False
        return item.model_copy(update={"at": last.at, "source": last.source}) == last


TAKES_BACK: dict[Word, tuple[Word, ...]] = {
    "up": ("down", "correction"),
    "down": ("up",),
    "correction": ("up",),
    "preference": (),
}
"""What of the same reviewer's later words, beside another one of its kind."""
ANSWERS_AGAIN: dict[Word, tuple[Word, ...]] = {
    "up": ("up", "down", "correction"),
    "down": ("up", "down", "correction"),
    "correction": ("up", "correction"),
    "preference": ("preference",),
}
"""After which of the same reviewer's later words nothing is left to be said by it."""


def word_of(item: Feedback) -> Word:
    if isinstance(item, Thumb):
        return "up" if item.up else "down"
    return "correction" if isinstance(item, Correction) else "preference"


def question_of(item: Feedback) -> Hashable:
    """What a later answer answers again: a thumb and a correction are about the same."""
    pair = None
    if isinstance(item, Preference):
        pair = frozenset(map(text_digest, (item.chosen, item.rejected)))
    return item.reviewer, item.about.record, pair
