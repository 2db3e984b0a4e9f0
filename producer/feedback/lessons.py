"""Feedback becomes lessons: what those who said something of a caption agree on.

- What one person says of the same twice is said once: the later counts.
- Where people disagree, the majority counts, and what the others say is left out. As many on either
  side: all of it is left out, until somebody else decides.
- A correction is also a thumb down for the caption, and a thumb up and a preference for its own
  text; two different corrections agree on the first.

Pure. Knows neither where feedback lies, nor whether the caption is still there (captions.py): only
items that count are to be brought here, for each is a voice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from producer.feedback.store import Item
from shared.feedback import Correction, Judged, Kind, Preference, text_digest
from shared.messages import digest

Question = tuple[str | int, ...]
"""What is asked: of which video, and of which text or texts."""
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


@dataclass(frozen=True)
class _Voice:
    """What an item says to a question."""

    question: Question
    answer: Answer
    again: str
    """Of the same reviewer's answers of one such name the last counts, even if they agree."""


def lessons_of(items: Iterable[Item]) -> tuple[list[Lesson], list[LeftOut]]:
    """In the order in which they were said, whatever the order of the items; and what is left out.

    That of equal times is the ids', so it is the same for everybody."""
    ordered = sorted(items, key=_when)
    voices = {item.id: list(_voices(item)) for item in ordered}
    why = _taken_back(ordered, voices)
    votes: defaultdict[Question, dict[str, Answer]] = defaultdict(dict)
    for item in ordered:
        if item.id not in why:
            for one in voices[item.id]:
                votes[one.question][item.said.reviewer] = one.answer
    decided = {question: _decided(answers.values()) for question, answers in votes.items()}
    learned: list[Item] = []
    for item in ordered:
        if item.id in why:
            continue
        answers = [(one.answer, decided[one.question]) for one in voices[item.id]]
        if any(most is None for _, most in answers):
            why[item.id] = LeftOut(item.id, "as many reviewers say the opposite")
        elif any(answer != most for answer, most in answers):
            why[item.id] = LeftOut(item.id, "most reviewers say the opposite")
        else:
            learned.append(item)
    return all_said(learned), list(why.values())


def all_said(items: Iterable[Item]) -> list[Lesson]:
    """What they say, each once, whoever disagrees; in the order in which it was said last."""
    last: dict[str, Item] = {}
    for item in sorted(items, key=_when):
        says = _says(item)
        last.pop(says, None)
        last[says] = item
    return [Lesson(item, says) for says, item in last.items()]


def _taken_back(ordered: list[Item], voices: dict[str, list[_Voice]]) -> dict[str, LeftOut]:
    """By what their reviewer said later."""
    why: dict[str, LeftOut] = {}
    said: defaultdict[tuple[Question, str], list[tuple[str, _Voice]]] = defaultdict(list)
    for item in ordered:
        for voice in voices[item.id]:
            kept = []
            for name, before in said[voice.question, item.said.reviewer]:
                if before.again == voice.again or before.answer != voice.answer:
                    why[name] = LeftOut(name, "the same reviewer said something later")
                else:
                    kept.append((name, before))
            said[voice.question, item.said.reviewer] = [*kept, (item.id, voice)]
    return why


def _decided(answers: Iterable[Answer]) -> Answer | None:
    """None: there are as many on either side."""
    votes = Counter(answers)
    (first, most), *others = votes.most_common(2)
    tied = bool(others) and others[0][1] == most
    return None if tied else first


def _when(item: Item) -> tuple[datetime, str]:
    return item.said.at, item.id


def _voices(item: Item) -> Iterator[_Voice]:
    """Nobody else's question has another one's length: one text, or two."""
    said = item.said
    if isinstance(said, Preference):
        yield _Voice(_asked(item), text_digest(said.chosen), said.kind)
        return
    yield _Voice(_asked(item), said.liked, said.kind)
    if isinstance(said, Correction):
        wrong, right = said.about.text_sha256, text_digest(said.text)
        yield _Voice((*_video(item), right), True, f"instead of {wrong}")
        yield _Voice((*_video(item), *sorted((wrong, right))), right, said.kind)


def _says(item: Item) -> str:
    said = item.said
    what: Answer
    if isinstance(said, Preference):
        what = text_digest(said.chosen)
    else:
        what = text_digest(said.text) if isinstance(said, Correction) else said.up
    return digest([said.kind, *_asked(item), what])


def _asked(item: Item) -> Question:
    """The text that a thumb or a correction is about; the two texts of a preference, whichever is
    the better one."""
    said = item.said
    if isinstance(said, Preference):
        return (*_video(item), *sorted(map(text_digest, (said.chosen, said.rejected))))
    return (*_video(item), said.about.text_sha256)


def _video(item: Item) -> tuple[str, int]:
    """One film, under whichever key."""
    video = item.said.about.video
    return video.etag, video.size_bytes


def addresses_of(items: Iterable[Item]) -> dict[tuple[str, int], str]:
    """ETag and size of each video -> the key under which somebody spoke of it first, as an address:
    a video under two keys goes by it, or one would be trained on and the other held out."""
    found: dict[tuple[str, int], str] = {}
    for item in sorted(items, key=_when):
        found.setdefault(_video(item), item.said.about.video.uri)
    return found
