"""How much work a caption is, in units; and how fast a class of card is thought to be.

One unit is a caption of the class's usual frames, of one segment. Fewer frames are less than a
unit by what the card saves with them, and each segment of a long video is a caption. The table is
that of docs/cards.md. Knows nothing of what a worker measures of itself.
"""

import json
import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from shared.messages import Recipe
from shared.settings import CardName

PRESUMED_MODEL = "vicuna-7b"
"""For a model that the table does not have."""
PRESUMED_CPU_S = 10.0
"""Of a caption on a CPU, of which no rate is known: for development."""
PRESUMED_VIDEO_S = 240.0
"""Of a video that is to be parted: how long it is, its worker sees first."""
AUTO_SEGMENT_S = 60.0
MOST_SEGMENTS = 300


class Effort(NamedTuple):
    """What a job asks of its worker."""

    frames: int | None = None
    """Of each caption; None: as many as the card allows."""
    segments: float = 1.0

    @classmethod
    def of(cls, recipe: Recipe) -> "Effort":
        return cls(recipe.sampling.frames, segments_of(recipe.sampling.segments))


class Row(NamedTuple):
    """Of the table: a class of card."""

    frames: int
    """Of a caption, the most."""
    first_s: float
    """What a caption of one frame takes, when all rows are in use."""
    more_s: float
    """What each further frame takes."""

    def seconds(self, frames: int | None = None) -> float:
        seen = min(frames or self.frames, self.frames)
        return self.first_s + (seen - 1) * self.more_s


class Units:
    """Args:
    model: its id, or its name in the table.
    """

    def __init__(self, model: str) -> None:
        table = _table()
        known = table["hub"].get(model, model)
        self._rows: dict[str, Row] = {
            card: Row(**row)
            for name in (PRESUMED_MODEL, known)
            for card, row in table["models"].get(name, {}).items()
        }

    def of(self, effort: Effort, card: CardName) -> float:
        """How many units a job is for a worker of this class."""
        row = self._row(card)
        return effort.segments * row.seconds(effort.frames) / row.seconds()

    def rate(self, card: CardName) -> float:
        """Units a second of one worker, before any was measured."""
        return 1 / (PRESUMED_CPU_S if card == "cpu" else self._row(card).seconds())

    def _row(self, card: CardName) -> Row:
        return self._rows["t4" if card == "cpu" else card]


def segments_of(wanted: str | None) -> float:
    """How many, as near as a recipe tells it before the video is seen."""
    if wanted is None:
        return 1.0
    if wanted == "auto":
        return PRESUMED_VIDEO_S / AUTO_SEGMENT_S
    number = re.match(r"[0-9]{1,9}([.][0-9]{1,9})?", wanted)
    told = float(number[0]) if number else 1.0
    if wanted.endswith("s"):
        told = PRESUMED_VIDEO_S / max(told, 0.1)
    return min(max(told, 1.0), MOST_SEGMENTS)


@cache
def _table() -> dict[str, Any]:
    text = (resources.files("shared") / "units.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
