"""What a judge found about an adapter: `judged.json`, beside its version in the bucket.

Written by workers, read by the gate (shared/policy.py) and by operators' verbs.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.messages import Count, Decoding, Message, ModelIdentity

Better = Literal["higher", "lower", "same"]
"""Which way a figure is to move; `same`: towards 1, as a length beside that of the reference."""
PRIMARY = "chrf"
HELD_OUT, FORGETTING = "held out", "forgetting"
"""The set that decides, and the one of what is not to be forgotten."""
PERCENTILES = 101
"""Of the resampled differences, 0 to 100: from them any bound is read."""


class Figure(Message):
    """Of one measure on one set."""

    title: str
    better: Better
    percent: bool
    """It is a share, 0 to 1."""
    value: float
    low: float
    high: float
    """Within which 95 of 100 resampled sets lie (bootstrap over videos)."""
    against: float | None = None
    """The same of what it is compared with."""
    difference: float | None = None
    """`value` less `against`; None of one video alone, for nobody knows how much is chance."""
    spread: tuple[float, ...] = ()
    """Percentiles of the difference on resampled sets, 0 to 100: the same videos on both sides;
    wider where there are few."""

    def bound(self, percentile: int) -> float:
        """Below which so many of 100 resampled differences lie."""
        return self.spread[percentile]


class Slice(Message):
    """A part of the set."""

    column: str
    value: str
    captions: Count
    videos: Count
    figures: dict[str, tuple[float, float | None]]
    """Measure -> its value, and that of what it is compared with; without those that say nothing
    of so small a part."""


class Bad(Message):
    """One of the worst captions."""

    id: str
    video: str
    references: tuple[str, ...]
    said: str
    against: str | None = None
    """What the other said of it."""
    score: float
    """Of the primary measure."""


class JudgedSet(Message):
    name: str
    data: str
    """Where its rows are from."""
    data_sha256: str
    captions: Count
    videos: Count
    figures: dict[str, Figure]
    """By the measure's name, the primary first."""
    left_out: dict[str, str]
    """Measure -> why it says nothing here."""
    slices: tuple[Slice, ...] = ()
    worst: tuple[Bad, ...] = ()


class Judged(Message):
    v: Count = 1
    adapter: str | None
    """Version; None = the base model."""
    compared: bool
    against: str | None = None
    """Version that it was compared with, if it was; None = the base model."""
    model: ModelIdentity
    frames: Annotated[Count, Field(ge=1)]
    decoding: Decoding
    sets: tuple[JudgedSet, ...]
    """The held-out set first."""
    libraries: dict[str, str]
    """What counted and took apart: figures of other versions may differ."""
    created_at: datetime
    jamak: str

    def of(self, name: str) -> JudgedSet | None:
        return next((one for one in self.sets if one.name == name), None)
