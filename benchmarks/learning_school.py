"""A fleet of one captioner and one trainer around a base model, and what is asked of it.

All goes through the real queues, registry and workers: `jamak enqueue`, `jamak train …`, `jamak
adapters activate`, and captions are read from the bucket.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.demo.captions import caption
from infra.demo.clips import SIZES, sample_clip
from infra.demo.lesson import SHORT_PIXELS, Take
from infra.demo.scenes import Scene
from infra.demo.screening import Screening, Shown
from infra.local.stack import LocalStack
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.settings import Settings

SMALL = SIZES[1:4]
LONGEST_S = 3600.0
"""Of a training, on a machine that has other work."""


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
        self, stage: str, data: str, *options: str, start_from: str | None = None
    ) -> dict[str, Any]:
        """Until it is published and the captioner uses it; how it ended."""
        more = ["--from", start_from] if start_from else []
        outcome = self.screening.jamak(
            *("train", stage, "--data", data, *options, *more, "--no-activate", "--wait"),
            within_s=LONGEST_S,
        )
        self.use(outcome["version"])
        return outcome

    def use(self, version: str) -> None:
        self.screening.jamak("adapters", "activate", version)
        self.screening.until_adapter(version)

    def pairs(self, source: str, *options: str) -> tuple[str, dict[str, Any]]:
        """Preference rows of that set; their address, and what came of it."""
        self._sets += 1
        uri = f"{self.stack.output}datasets/{self._sets}/pairs.jsonl"
        told = self.screening.jamak("data", "pairs", source, "--to", uri, *options)
        return uri, told


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
        yield School(stack, Screening(stack, settings, store), store, folder)


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
