"""The report of a training job: what was asked, on what it was trained, every step, and what was
said of the held-out videos before and after. JSON in the bucket, bounded."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import Field

from shared.messages import Count, Message
from shared.training import TrainJob

MOST_STEPS = 2_000
"""Kept. Of more every second one is left out, and again."""
MOST_HELD_OUT = 500
"""Rows whose captions are kept: the first ones."""


class TrainStep(Message):
    step: Count
    loss: float | None = None
    """None: it was no number any more."""
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: Count = 0
    """That the model read in it, visual ones too, without padding."""
    seconds: float = 0.0
    metrics: dict[str, float] = Field(default_factory=dict)
    """Of the stage, by the trainer's names: `rewards/accuracies`."""


class DataSummary(Message):
    """Of the training set."""

    train_rows: Count = 0
    train_videos: Count = 0
    held_out_rows: Count = 0
    held_out_videos: Count = 0
    earlier_rows: Count = 0
    """Of earlier sets, which may be trained on again."""
    characters: dict[str, float] = Field(default_factory=dict)
    """Of the texts that are trained on: `median`, `max`."""
    sources: dict[str, int] = Field(default_factory=dict)
    licenses: dict[str, int] = Field(default_factory=dict)
    origins: dict[str, int] = Field(default_factory=dict)
    """Rows of each, where they say it."""


class HeldOut(Message):
    """A row that was not trained on."""

    id: str
    reference: str
    before: str | None = None
    after: str | None = None
    """What the model said; None: it had not got that far."""


class TrainReport(Message):
    v: Count = 1
    job: TrainJob
    worker: str
    attempt: Count
    written_at: datetime
    ended: str | None = None
    """How this try did; None: it runs."""
    data: DataSummary | None = None
    """None: it was not read, or cannot be used."""
    every: Count = 1
    """One of so many steps is kept, beside the first and the last."""
    steps: tuple[TrainStep, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)


class Steps:
    """Bounded, by leaving out.

    Args:
        known, every: of an earlier try.
    """

    def __init__(self, known: Iterable[TrainStep] = (), every: int = 1) -> None:
        self._kept, self.every = list(known), every

    def add(self, step: TrainStep) -> None:
        """A training that goes on from an earlier step takes the place of what came after that."""
        while self._kept and self._kept[-1].step >= step.step:
            self._kept.pop()
        if len(self._kept) > 1 and self._kept[-1].step % self.every:
            self._kept.pop()
        self._kept.append(step)
        if len(self._kept) > MOST_STEPS:
            self.every *= 2
            first, *others, last = self._kept
            self._kept = [first, *(one for one in others if one.step % self.every == 0), last]

    def kept(self) -> tuple[TrainStep, ...]:
        return tuple(self._kept)
