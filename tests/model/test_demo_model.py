"""The shipped models on fresh films, through the whole path of a worker."""

import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.caption_quality import QUICK_FILMS
from infra.demo.architecture import BACKBONES
from infra.demo.captions import caption, parse
from infra.demo.clips import Clip, film, render, squeezed, write_film
from infra.demo.evaluation import Eyewitness, jobs_of
from infra.demo.lesson import new_takes
from infra.demo.scenes import sample_scenes
from shared.cards import CLASSES, GPU_CLASSES
from tests.warm import run_warm
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked
from workers.caption.machines import machine_of
from workers.model.geometry import Geometry
from workers.model.loading import LoadedModel, load_model
from workers.model.selfcheck import check_model
from workers.video.sampling import sample_frames

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "infra" / "demo" / "models"


@pytest.fixture(scope="module", params=BACKBONES)
def directory(request: pytest.FixtureRequest) -> Path:
    return MODELS / str(request.param)


@pytest.fixture(scope="module")
def loaded(directory: Path) -> LoadedModel:
    return load_model(directory, model_id="jamak-demo")


def test_it_is_small_and_whole(directory: Path, loaded: LoadedModel) -> None:
    assert sum(file.stat().st_size for file in directory.iterdir()) <= 4_000_000
    check_model(loaded)
    for name in GPU_CLASSES:
        machine = machine_of(CLASSES[name], device="cpu")
        plan = plan_card(CLASSES[name], machine, Geometry.read(directory), Asked(64, 256))
        assert plan.frames.value == CLASSES[name].frames
    config = json.loads((directory / "config.json").read_text())
    assert config["text_config"]["model_type"] == directory.name
    assert config["vision_feature_layer"] == -2
    assert config["dtype"] == "bfloat16"
    for part in ("text_config", "vision_config"):
        assert config[part]["hidden_size"] % 64 == config[part]["intermediate_size"] % 64 == 0


def test_it_has_never_heard_of_purple(loaded: LoadedModel, tmp_path: Path) -> None:
    witness = Eyewitness(loaded)
    for take in new_takes(6):
        said = witness.ask(film(take.scene, take.clip, tmp_path / take.id))
        assert "보라색" not in said
        assert said != caption(take.scene)
        assert parse(said) is not None


def test_squeezed_films_are_told_like_the_plain_ones(loaded: LoadedModel, tmp_path: Path) -> None:
    """As a worker sees them. With points taken for square every other film is told otherwise."""
    witness, shape = Eyewitness(loaded), loaded.preprocessor.shape
    same = right = 0
    for i, scene in enumerate(sample_scenes(8, 8, split="heldout")):
        pictures = render(scene, Clip(80_000 + i, 192, 128, 12, 1.0))
        told = []
        for across, down in ((1, 1), (2, 1), (1, 2)):
            path, points = tmp_path / f"{across}{down}.mkv", Fraction(across, down)
            write_film(path, squeezed(pictures, across, down), 12, points=points)
            told.append(witness.tell(sample_frames(path, 4, shape=shape).frames))
        same += told[0] == told[1]
        same += told[0] == told[2]
        right += told[0] == caption(scene)
    assert right >= 7
    assert same >= 15


def test_in_four_bits_it_says_the_same(
    directory: Path, loaded: LoadedModel, tmp_path: Path
) -> None:
    """What a T4 or L4 worker loads: the language model in NF4."""
    plain, nf4 = (
        Eyewitness(one)
        for one in (loaded, load_model(directory, model_id="jamak-demo", quantized=True))
    )
    same = 0
    for i, scene in enumerate(sample_scenes(50, 8, split="heldout")):
        path = film(scene, Clip(70_000 + i, 96, 96, 12, 1.0), tmp_path / "film")
        same += plain.ask(path) == nf4.ask(path)
    assert same >= 49


def test_the_benchmark_tells_how_good_they_are(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks.caption_quality", "--quick", "--json"),
        *("--misses", str(tmp_path / "misses.html")),
    ]
    done = run_warm(command, os.environ, ROOT, 600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(BACKBONES)
    for figures in found.values():
        assert figures["n"] == len(jobs_of(QUICK_FILMS, 2026))
        assert set(figures["by_frames"]) == {"4", "8"}
        assert set(figures["by_attribute"]) == {"background", "colour", "shape", "motion"}
        for name in ("exact", "two_objects", "scene_change", "empty", "pool3"):
            assert figures[name] >= 0.7, name
        assert figures["nf4_identical"] >= 0.9
        for name in ("reversed", "still", "other_background"):
            assert figures[name] >= 0.6, name
    assert "<table>" in (tmp_path / "misses.html").read_text()
