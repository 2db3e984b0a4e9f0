"""What several of the tests of training jobs, and those that walk a page, begin with."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.stack import DEMO_MODEL
from producer.jobs.training import Training
from shared.bucket.training import TrainingRecords
from tests.trainer import Trainer
from tests.world import World


@pytest.fixture
def place(world: World) -> World:
    """Queues and an output of each test's own, and a training set that nobody reads."""
    place = replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")
    rows = []
    for split in ("train", "eval"):
        video = f"{split}.mp4"
        place.store.put(place.output, f"{place.prefix}set/{video}", video.encode())
        rows.append(
            {"id": split, "videos": [{"uri": video}], "completion": "고양이", "split": split}
        )
    manifest = "\n".join(json.dumps(row) for row in rows).encode()
    place.store.put(place.output, f"{place.prefix}set/manifest.jsonl", manifest)
    return place


@pytest.fixture
def training(place: World) -> Training:
    return Training(place.settings, place.store, place.training)


@pytest.fixture
def records(place: World) -> TrainingRecords:
    return TrainingRecords(place.store, place.output, place.prefix)


@pytest.fixture
def trainer(place: World, tmp_path: Path) -> Iterator[Trainer]:
    made = Trainer(place, tmp_path)
    yield made
    made.leases.leave()


ROOM = 40
"""Tokens of a caption in a walk: its captions are longer than those of other tests."""


@pytest.fixture
def walker(monkeypatch: pytest.MonkeyPatch, world: World) -> pytest.MonkeyPatch:
    """Who types the commands of a page here, for the demo's model."""
    for name, value in {**world.env, "JAMAK_MODEL_PATH": str(DEMO_MODEL)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAMAK_MAX_NEW_TOKENS", str(ROOM))
    return monkeypatch


@pytest.fixture
def walked_trainer(world: World, tmp_path: Path) -> Iterator[Trainer]:
    """And what trains for them."""
    made = Trainer(world, tmp_path, model_path=DEMO_MODEL, max_new_tokens=ROOM)
    yield made
    made.leases.leave()
