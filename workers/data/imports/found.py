"""What is found in a file of a data set: what could become a row, and what could not, and why."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.annotations.answers import Said
from shared.annotations.files import File, LeftOut
from shared.rows import Stage


@dataclass(frozen=True)
class Found:
    place: str
    """`file:line`, or `file#3`: the third of what is in it."""
    media: str
    """As the data set calls it."""
    columns: Mapping[str, Any]
    """Of the row, without its media; an `id` only if the data set has one."""
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Asked:
    stage: Stage
    """Whose columns are wanted."""
    question: str | None = None
    """Of an annotation tool that asks several: this one's answers are the texts."""


Layout = Callable[[File, Asked], Iterator[Found | LeftOut]]
"""Raises BadData: the file is of another layout altogether."""


def columns_of(
    said: Said, stage: Stage, more: Mapping[str, Any] | None = None
) -> list[dict[str, Any]] | str:
    """What one annotator said of a video as the columns of whichever stage is asked for: one for
    each row, with `more` in each; or why there is none."""
    found: list[dict[str, Any]] | str
    if stage == "dpo":
        found = _pair(said)
    elif stage == "kto":
        found = _thumbs(said) or "nobody said whether its text is good"
    else:
        text = said.written if said.corrected else said.shown if said.approved else None
        found = [{"completion": text, "origin": "human"}] if text else "nobody wrote a text for it"
    return found if isinstance(found, str) else [{**one, **(more or {})} for one in found]


def _pair(said: Said) -> list[dict[str, Any]] | str:
    if said.better is not None:
        chosen, rejected = said.better
    elif said.written is not None and said.shown is not None:
        chosen, rejected = said.written, said.shown
    else:
        return "there are not two texts to choose from"
    if chosen.strip() == rejected.strip():
        return "both texts are the same"
    return [{"chosen": chosen, "rejected": rejected, "origin": "human"}]


def _thumbs(said: Said) -> list[dict[str, Any]]:
    found = []
    corrected = said.corrected and said.shown is not None
    judged = said.liked is not None or corrected or said.approved
    if said.shown is not None and judged:
        found.append({"completion": said.shown, "label": said.approved, "origin": "synthetic"})
    if corrected:
        found.append({"completion": said.written, "label": True, "origin": "human"})
    return found
