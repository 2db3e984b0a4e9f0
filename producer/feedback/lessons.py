"""Feedback becomes lessons: what those who said something of a caption agree on.

- What one person says of the same twice is said once: the later counts.
- Where people disagree, the majority counts, and what the others say is left out. As many on either
  side: all of it is left out, until somebody else decides.
- A correction is also a thumb down for the caption; two different corrections agree on that.

Pure. Knows neither where feedback lies, nor whether the caption is still there (captions.py).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from producer.feedback.store import Item
from shared.feedback import Correction, Judged, Kind, Preference, text_digest
from shared.messages import digest

Question = tuple[str | int, ...]
"""What is asked of whom: of which video, and of which text or texts."""
Answer = str | bool


@dataclass(frozen=True)
class LeftOut:
    id: str
    """Of the item."""
    why: str


@dataclass(frozen=True)
class Lesson:
    item: Item
    """The last of those that say it."""
    says: str
    """A digest of what it says of which caption: the same whoever says it, and however often."""

    @property
    def id(self) -> str:
        return self.item.id

    @property
    def kind(self) -> Kind:
        return self.item.said.kind

    @property
    def about(self) -> Judged:
        return self.item.said.about


def lessons_of(items: Iterable[Item]) -> tuple[list[Lesson], list[LeftOut]]:
    """In the order in which they were said, whatever the order of the items; and what is left out.

    That of equal times is the ids', so it is the same for everybody."""
    ordered = sorted(items, key=_when)
    thumbs = [item for item in ordered if not isinstance(item.said, Preference)]
    pairs = [item for item in ordered if isinstance(item.said, Preference)]
    learned, left_out = [], []
    for found in (_agreed(thumbs, _judged, _is_liked), _agreed(pairs, _compared, _chosen)):
        learned += found[0]
        left_out += found[1]
    return sorted(learned, key=lambda one: _when(one.item)), left_out


def _agreed(
    items: list[Item], question: Callable[[Item], Question], answer: Callable[[Item], Answer]
) -> tuple[list[Lesson], list[LeftOut]]:
    """Args:
    items: the earliest first.
    question: what an item is about; two that are about the same may disagree.
    answer: what it says to that.
    """
    left_out: list[LeftOut] = []
    by_question: defaultdict[Question, dict[str, list[Item]]] = defaultdict(dict)
    for item in items:
        voices = by_question[question(item)]
        kept = []
        for before in voices.get(item.said.reviewer, ()):
            if before.said.kind == item.said.kind or answer(before) != answer(item):
                left_out.append(LeftOut(before.id, "the same reviewer said something later"))
            else:
                kept.append(before)
        voices[item.said.reviewer] = [*kept, item]
    learned: list[Lesson] = []
    for asked, voices in by_question.items():
        votes = Counter(answer(said[-1]) for said in voices.values())
        (first, most), *others = votes.most_common(2)
        tied = bool(others) and others[0][1] == most
        said: dict[Answer, Item] = {}
        for item in sorted(chain(*voices.values()), key=_when):
            if tied:
                left_out.append(LeftOut(item.id, "as many reviewers say the opposite"))
            elif answer(item) != first:
                left_out.append(LeftOut(item.id, "most reviewers say the opposite"))
            else:
                said[_lesson(item)] = item  # the last of those that say the same
        learned += [
            Lesson(item, digest([item.said.kind, *asked, says])) for says, item in said.items()
        ]
    return learned, left_out


def _when(item: Item) -> tuple[datetime, str]:
    return item.said.at, item.id


def _judged(item: Item) -> Question:
    """The text that a thumb or a correction is about."""
    return (*_video(item), item.said.about.text_sha256)


def _compared(item: Item) -> Question:
    """The two texts of a preference, whichever is the better one."""
    assert isinstance(item.said, Preference)
    return (*_video(item), *sorted(map(text_digest, (item.said.chosen, item.said.rejected))))


def _video(item: Item) -> Question:
    video = item.said.about.video
    return video.bucket, video.key, video.etag, video.size_bytes


def _is_liked(item: Item) -> Answer:
    return item.said.liked


def _chosen(item: Item) -> Answer:
    assert isinstance(item.said, Preference)
    return text_digest(item.said.chosen)


def _lesson(item: Item) -> Answer:
    """What is learned of it: that pair, that correction, or a thumb."""
    said = item.said
    if isinstance(said, Preference):
        return text_digest(said.chosen)
    return text_digest(said.text) if isinstance(said, Correction) else said.up
