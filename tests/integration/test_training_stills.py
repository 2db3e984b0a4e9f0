"""Pairs of an image and a caption, from a table to an adapter of the stage `align`: as a user has
them, through the real queue."""

import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from infra.local.stack import DEMO_MODEL
from tests.terminal import jamak_here
from tests.trainer import Trainer
from tests.training import COLOURS
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model]

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}
HELD_OUT = "bmp"


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch, world: World) -> pytest.MonkeyPatch:
    for name, value in {**world.env, "JAMAK_MODEL_PATH": str(DEMO_MODEL)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAMAK_MAX_NEW_TOKENS", "40")
    return monkeypatch


@pytest.fixture
def trainer(world: World, tmp_path: Path) -> Iterator[Trainer]:
    made = Trainer(world, tmp_path, model_path=DEMO_MODEL, max_new_tokens=40)
    yield made
    made.leases.leave()


@pytest.fixture
def table(world: World) -> str:
    """Of each colour an image in each format; its address."""
    folder, lines = f"{world.prefix}stills/", io.StringIO()
    rows = csv.writer(lines)
    rows.writerow(["key", "caption", "split"])
    for colour, rgb in COLOURS.items():
        for ending, form in FORMATS.items():
            name, file = f"{colour}.{ending}", io.BytesIO()
            Image.new("RGB", (96, 64), rgb).save(file, form)
            world.store.put(world.output, f"{folder}images/{name}", file.getvalue())
            split = "eval" if ending == HELD_OUT else "train"
            rows.writerow([name, f"{colour} 배경에 아무것도 없습니다.", split])
    world.store.put(world.output, f"{folder}captions.csv", lines.getvalue().encode())
    return f"s3://{world.output}/{folder}"


def test_a_table_of_images_fits_the_projector(
    patch: pytest.MonkeyPatch, trainer: Trainer, table: str, world: World
) -> None:
    def jamak(*words: str) -> str:
        done = jamak_here(patch, *words)
        assert done.code == 0, (words, done.err)
        return done.out

    manifest = f"{table}manifest.jsonl"
    source = ["csv", f"{table}captions.csv", "--media", f"{table}images/"]
    said = jamak("data", "import", *source, "--to", manifest)
    assert "12 rows of 12 videos and images" in said
    jamak("data", "validate", manifest, "--stage", "align")
    thread = threading.Thread(target=trainer.run)
    thread.start()
    small = ["--steps", "2", "--batch-size", "3", "--rank", "4"]
    jamak("train", "align", "--data", manifest, *small, "--wait")
    thread.join(60)
    adapter = max(world.registry.manifests(), key=lambda one: one.created_at)
    assert (adapter.stage, adapter.data) == ("align", manifest)
    assert (adapter.metrics["n_train"], adapter.metrics["n_eval_videos"]) == (9, 3)
