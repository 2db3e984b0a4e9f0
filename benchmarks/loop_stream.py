"""A steady stream of films: uploaded one after the other under ever new names, as cameras do it.

Knows when each was uploaded and what its record says. Knows nothing of adapters and trainings.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from benchmarks.learning_school import Film
from producer.jobs.recipes import recipe_of
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.messages import Caption, CaptionJob
from shared.settings import Settings

LOOK_S = 1.0
FAILURES_EVERY = 10
"""Looks."""
MOST_WAITING = 20
"""Films without a caption: with more nothing is uploaded, as this is no test of a backlog."""


@dataclass(frozen=True)
class Sent:
    film: Film
    job: CaptionJob
    at: datetime


Told = tuple[Sent, Caption]


def by(told: Told) -> str | None:
    """The version that the record names; None: the base model."""
    return told[1].adapter.version if told[1].adapter else None


class Stream:
    """Args:
    films: without an end.
    rate: films a second, at most.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        bucket: str,
        films: Iterator[Film],
        rate: float,
    ) -> None:
        self._store, self._bucket, self._films = store, bucket, films
        self.records = Records(store, settings)
        self._recipe = recipe_of(settings)
        self._every_s = 1 / rate
        self._next_at = self._look_at = 0.0
        self._looks = 0
        self.open = True
        """More is uploaded."""
        self.sent: list[Sent] = []
        self.waiting: dict[str, Sent] = {}
        self.told: list[Told] = []
        self.failed: list[Sent] = []

    def step(self) -> list[Told]:
        """To be called again and again; what was captioned since."""
        now = time.monotonic()
        if self.open and now >= self._next_at and len(self.waiting) < MOST_WAITING:
            self._next_at = now + self._every_s
            self._send()
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        return self._look()

    def pauses_s(self) -> list[float]:
        return pauses_s([(sent.at, caption.created_at) for sent, caption in self.told])

    def _send(self) -> None:
        film = next(self._films)
        key = f"stream/{len(self.sent):05}{film.path.suffix}"
        at = datetime.now(UTC)
        self._store.upload(film.path, self._bucket, key)
        video = video_of(self._store.head(self._bucket, key))
        sent = Sent(film, CaptionJob(video=video, recipe=self._recipe), at)
        self.sent.append(sent)
        self.waiting[sent.job.id] = sent

    def _look(self) -> list[Told]:
        self._looks += 1
        found = []
        for name, sent in list(self.waiting.items()):
            caption = self.records.find(sent.job)
            if caption is not None:
                found.append((sent, caption))
            elif self._looks % FAILURES_EVERY or self.records.find_failure(sent.job) is None:
                continue
            else:
                self.failed.append(sent)
            del self.waiting[name]
        self.told += found
        return found


def pauses_s(told: Sequence[tuple[datetime, datetime]]) -> list[float]:
    """Between each caption and the one before it, as far as a film was waiting for one.

    Args:
        told: of each film, when it was uploaded and when its caption was made.
    """
    made = sorted(told, key=lambda one: one[1])
    # Of what is captioned from then on, what was uploaded first.
    waits, first = [], datetime.max.replace(tzinfo=UTC)
    for uploaded, _ in reversed(made):
        first = min(first, uploaded)
        waits.append(first)
    waits.reverse()
    return [
        (after[1] - max(before[1], since)).total_seconds()
        for (before, after), since in zip(pairwise(made), waits[1:], strict=True)
    ]
