"""What was said already: who says the same again says nothing new.

Not every tool tells when something was said. Of two that say when, the later one counts; of what
says it not, it is new only if its reviewer's last word was another.
"""

from collections.abc import Hashable, Iterable

from shared.feedback import Feedback, Preference, text_digest


class Heard:
    def __init__(self, items: Iterable[Feedback]) -> None:
        self._all: set[Feedback] = set()
        self._last: dict[Hashable, Feedback] = {}
        for item in items:
            self.hear(item)

    def hear(self, item: Feedback) -> None:
        self._all.add(item)
        last = self._last.get(question_of(item))
        if last is None or last.at <= item.at:
            self._last[question_of(item)] = item

    def knows(self, item: Feedback, *, timed: bool) -> bool:
        """Args:
        timed: its time is when it was said, and not when we learned of it.
        """
        last = self._last.get(question_of(item))
        if timed or last is None:
            return item in self._all
        return item.model_copy(update={"at": last.at, "source": last.source}) == last


def question_of(item: Feedback) -> Hashable:
    """What a later answer answers again: a thumb and a correction are about the same."""
    pair = None
    if isinstance(item, Preference):
        pair = frozenset(map(text_digest, (item.chosen, item.rejected)))
    return item.reviewer, item.about.record, pair
