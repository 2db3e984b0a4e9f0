"""What one annotator said of one video, whichever tool it was said in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.text import composed

UP = frozenset({"true", "1", "yes", "up", "good", "👍", "예", "좋음", "좋아요"})
DOWN = frozenset({"false", "0", "no", "down", "bad", "👎", "아니요", "나쁨", "싫어요"})

UNANNOTATED = "nobody has annotated it"
SKIPPED = "its annotator skipped it"
SEVERAL = "several questions have texts for answers: name one with --question"
SEVERAL_VERDICTS = "several questions judge it, and differ: name the one that counts 'verdict'"
NEITHER = "its verdict says neither good nor bad, in no word that is known here"
LOST_RANKS = "its ranking tells no ranks: ask for the better one by a label"
VERDICT = "verdict"
UNSAID = frozenset({UNANNOTATED, SKIPPED, NEITHER})
"""Why something is left out that is no fault of it."""


@dataclass
class Said:
    written: str | None = None
    """By a person."""
    shown: str | None = None
    """What they were shown, as a model said it."""
    liked: bool | None = None
    """Whether that is right."""
    better: tuple[str, str] | None = None
    """Of two that were shown: chosen, rejected."""
    undecided: bool = False
    """They judged it, and it cannot be told how: a middle rating, a word that nobody knows."""

    @property
    def corrected(self) -> bool:
        """A person wrote something else than what was shown."""
        if self.written is None or self.shown is None:
            return self.written is not None
        return composed(self.written).strip() != composed(self.shown).strip()

    @property
    def approved(self) -> bool:
        """What was shown is right: they say so, or they leave it as it is and say nothing else.
        Tools send a text that was filled in for people also if they never touched it."""
        if self.liked is not None:
            return self.liked
        untouched = self.written is not None and not self.corrected
        return untouched and self.better is None and not self.undecided


@dataclass(frozen=True)
class Answer:
    place: str
    said: Said
    media: str | None
    """As the tool calls it."""
    record: str | None = None
    """The address of the caption's record, where the tool was told it."""
    by: str | None = None
    """Who said so: an e-mail address, or the tool's own id of a person."""
    at: datetime | None = None
    """When; not every tool tells."""
    start: float | None = None
    """Seconds, of a part of a video."""
    end: float | None = None


def thumb(said: Any) -> bool | None:
    """Of a word."""
    word = str(said).strip().casefold()
    return True if word in UP else False if word in DOWN else None


def thumb_of(words: Iterable[Any]) -> bool | None:
    """Of several that were chosen together."""
    told = {one for one in map(thumb, words) if one is not None}
    return told.pop() if len(told) == 1 else None


def verdict_of(judged: Mapping[str, bool | None]) -> bool | str | None:
    """Of the question that is called so, or of all that tell one; or why that cannot be told.

    Args:
        judged: question -> what it says; None: neither.
    """
    if VERDICT in judged:
        return judged[VERDICT]
    told = {one for one in judged.values() if one is not None}
    if len(told) > 1:
        return SEVERAL_VERDICTS
    return told.pop() if told else None


def stars(said: Any) -> bool | None:
    """Of a rating from one to five: four and five are good, one and two are bad."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 1 <= said <= 5:
        return None
    return None if said == 3 else said > 3


def moment(said: Any) -> datetime | None:
    """In ISO form; UTC unless it says so."""
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
