"""Tiny models, and engines of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tests.engines import SIZE, Make
from tests.tiny_model import make_checkpoint
from tests.training import make_videos
from workers.caption.engine.engine import Engine, Size
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.loading import LoadedModel, load_model


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny model; only to be read."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> LoadedModel:
    return load_model(checkpoint, model_id="tests/tiny")


@pytest.fixture(scope="module")
def known(
    checkpoint: Path, loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> list[Adapter]:
    """The second one is of a higher rank."""
    shape = AdapterShape.of(loaded.model)
    folders = [
        make_adapter(checkpoint, tmp_path_factory.mktemp("adapter"), seed, rank)
        for seed, rank in ((1, 4), (2, 8))
    ]
    return [read_adapter("v", folder, shape) for folder in folders]


@pytest.fixture
def make(loaded: LoadedModel) -> Iterator[Make]:
    """Engines, by default as on a card; each one audits itself at the end, and is closed."""
    made: list[Engine] = []

    def engine(size: Size = SIZE, model: LoadedModel = loaded, **options: Any) -> Engine:
        made.append(Engine(model, size, **{"ahead": True, **options}))
        return made[-1]

    yield engine
    for one in made:
        if not one._closing:
            one.audit()
            one.close()
