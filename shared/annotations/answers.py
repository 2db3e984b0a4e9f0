"""What one annotator said of one video, whichever tool it was said in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

UP = frozenset({"true", "1", "yes", "up", "good", "👍", "예", "좋음", "좋아요"})
DOWN = frozenset({"false", "0", "no", "down", "bad", "👎", "아니요", "나쁨", "싫어요"})

UNANNOTATED = "nobody has annotated it"
SKIPPED = "its annotator skipped it"
SEVERAL = "several questions have texts for answers: name one with --question"
UNSAID = frozenset({UNANNOTATED, SKIPPED})
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
