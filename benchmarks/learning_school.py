"""A fleet of one captioner and one trainer around a base model, and what is asked of it.

All goes through the real queues, registry and workers; captions are read from the bucket.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.demo.captions import caption
from infra.demo.clips import SIZES, sample_clip
from infra.demo.lesson import SHORT_PIXELS, Take
from infra.demo.scenes import Scene
from infra.demo.screening import Screening, Shown
from infra.demo.steps import DemoFailed
from infra.local.stack import LocalStack
from producer.jobs.training import Training as Jobs
from producer.jobs.training import new_job_id
from shared.broker.apps import train_app
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.rows import Stage
from shared.settings import Settings
from shared.training import TrainJob, TrainOutcome

SMALL = SIZES[1:4]
LONGEST_S = 3600.0
"""Of drawing captions, on a machine that has other work."""


@dataclass(frozen=True)
class Training:
    steps: int
    learning_rate: float
    batch_size: int = 16
    rank: int = 16


@dataclass(frozen=True)
class Film:
    take: Take
    path: Path

    @property
    def scene(self) -> Scene:
        return self.take.scene

    @property
    def right(self) -> str:
        return caption(self.take.scene)


@dataclass(frozen=True)
class Questions:
    """Films in the bucket of videos."""

    prefix: str
    films: Sequence[Film]
    shown: Sequence[Shown]


@dataclass
class School:
    stack: LocalStack
    settings: Settings
    screening: Screening
    store: ObjectStore
    folder: Path
    _generation: int = 0
    _sets: int = 0

    def films(self, name: str, scenes: Sequence[Scene], seed: int) -> list[Film]:
        """Of each scene one, small and short; a name and a seed always give the same."""
        first = 4_000_000_000_000 + seed * 1_000_000 + 50_000 * SERIES.index(name)
        takes = [
            Take(f"{name}-{i}", scene, sample_clip(first + i, SMALL, most_pixels=SHORT_PIXELS))
            for i, scene in enumerate(scenes)
        ]
        paths = self.screening.film(takes, self.folder, lambda: None)
        return [Film(take, path) for take, path in zip(takes, paths, strict=True)]

    def questions(self, name: str, films: Sequence[Film]) -> Questions:
        prefix = f"{name}/"
        takes, paths = [film.take for film in films], [film.path for film in films]
        return Questions(prefix, films, self.screening.show(takes, paths, prefix))

    def say(self, about: Questions) -> list[str]:
        """What the fleet says of each with the adapter that it uses now."""
        self._generation += 1  # asked anew: what it said before stays as it was
        asked = self.screening.ask_again(about.shown, about.prefix, generation=self._generation)
        told = self.screening.captions(asked, lambda: None, generation=self._generation)
        return [one.caption for one in told]

    def rows(self, films: Sequence[Film], split: str = "train") -> list[dict[str, Any]]:
        return [
            {
                "id": film.take.id,
                "videos": [{"uri": film.path.name}],
                "completion": film.right,
                "split": split,
            }
            for film in films
        ]

    def publish(self, films: Sequence[Film], rows: Sequence[dict[str, Any]]) -> str:
        """A training set in the bucket; its address."""
        self._sets += 1
        uri = f"{self.stack.output}datasets/{self._sets}/manifest.jsonl"
        bucket, key = parse_uri(uri)
        folder = key.rpartition("/")[0]
        for film in films:
            self.store.upload(film.path, bucket, f"{folder}/{film.path.name}")
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        self.store.put(bucket, key, "\n".join(lines).encode())
        return uri

    def train(
        self, stage: Stage, data: str, training: Training, seed: int, **more: Any
    ) -> TrainOutcome:
        """Until it is published and the captioner uses it; how it ended.

        Args:
            more: of the job, such as `start_from`.

        Raises:
            DemoFailed: nothing was published.
        """
        settings = self.settings
        job = TrainJob(
            id=new_job_id(),
            stage=stage,
            data=data,
            model=settings.model,
            revision=settings.model_revision,
            prompt=settings.prompt,
            seed=seed,
            activate=False,
            **asdict(training),
            **more,
        )
        jobs = Jobs(settings, self.store, train_app(settings))
        jobs.submit(job)
        outcome = jobs.wait_for(job.id, lambda progress: self.stack.check(), lambda why: None)
        if outcome.version is None:
            raise DemoFailed(f"{stage}: {outcome.message}", cure=outcome.cure or "")
        self.use(outcome.version)
        return outcome

    def use(self, version: str) -> None:
        self.screening.jamak("adapters", "activate", version)
        self.screening.until_adapter(version)

    def pairs(self, source: str, *options: str) -> tuple[str, dict[str, Any]]:
        """Preference rows of that set; their address, and what came of it."""
        self._sets += 1
        uri = f"{self.stack.output}datasets/{self._sets}/pairs.jsonl"
        words = "data", "pairs", source, "--to", uri, *options
        return uri, self.screening.jamak(*words, within_s=LONGEST_S)


SERIES = ("new", "old", "lesson", "replay", "held-out", "pairs")
"""Of films: each has seeds of its own."""


@contextmanager
def school(
    base: Path, name: str, processes: Sequence[str] = ("captioner", "trainer")
) -> Iterator[School]:
    """Args:
    base: a checkpoint.
    name: of the model.
    """
    named = {"JAMAK_MODEL": f"jamak/{name}"}
    with LocalStack(processes, base, named) as stack, _environment(stack):
        store, settings = ObjectStore(), Settings()
        folder = stack.directory / "films"
        folder.mkdir()
        yield School(stack, settings, Screening(stack, settings, store), store, folder)


@contextmanager
def _environment(stack: LocalStack) -> Iterator[None]:
    """This process is a user of the stack like any other."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(stack.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
