"""The shipped model on fresh films, through the whole path of a worker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.demo.clips import SIZES, film, sample_clip
from infra.demo.evaluation import Eyewitness, Quality, measure
from infra.demo.lesson import new_takes
from infra.demo.scenes import caption, parse, sample_scenes
from workers.model.loading import LoadedModel, load_model
from workers.model.selfcheck import check_context, check_model

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
LLAMA = ROOT / "infra" / "demo" / "models" / "llama"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(LLAMA, model_id="jamak-demo")


@pytest.fixture(scope="module")
def quality(loaded: LoadedModel) -> Quality:
    return measure(loaded, n=24, seed=4, sizes=SIZES[:3])


def test_it_is_small_and_whole(loaded: LoadedModel) -> None:
    assert sum(file.stat().st_size for file in LLAMA.iterdir()) <= 4_000_000
    check_model(loaded)
    check_context(loaded, frames=32, prompt_tokens=64, new_tokens=256)
    config = json.loads((LLAMA / "config.json").read_text())
    assert config["vision_feature_layer"] == -2
    assert config["dtype"] == "bfloat16"
    for part in ("text_config", "vision_config"):
        assert config[part]["hidden_size"] % 64 == config[part]["intermediate_size"] % 64 == 0


def test_it_tells_what_fresh_films_show(quality: Quality) -> None:
    assert quality.exact >= 0.8
    assert quality.by_frames["8"] >= 0.8


def test_it_says_when_nothing_is_there(quality: Quality) -> None:
    assert quality.empty >= 0.75


def test_it_looks_at_time(quality: Quality) -> None:
    assert quality.reversed >= 0.75
    assert quality.still >= 0.75


def test_it_has_never_heard_of_purple(loaded: LoadedModel, tmp_path: Path) -> None:
    witness = Eyewitness(loaded)
    for take in new_takes(6):
        said = witness.ask(film(take.scene, take.clip, tmp_path / f"{take.id}.mp4"))
        assert "보라색" not in said
        # It is wrong about the colour alone: there is one thing to teach.
        assert said != caption(take.scene)
        assert parse(said) is not None


def test_the_size_of_the_picture_does_not_matter(loaded: LoadedModel, tmp_path: Path) -> None:
    witness = Eyewitness(loaded)
    right = 0
    for i, scene in enumerate(sample_scenes(10, 5, split="heldout")):
        clip = sample_clip(50_000 + i, SIZES[3:])
        right += witness.ask(film(scene, clip, tmp_path / f"{i}.mp4")) == caption(scene)
    assert right >= 8


def test_the_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.caption_quality", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    figures = json.loads(done.stdout.splitlines()[-1])["llama"]
    assert figures["n"] == 25
    assert set(figures["by_frames"]) == {"4", "8"}
    assert set(figures["by_attribute"]) == {"background", "colour", "shape", "motion"}
    assert figures["exact"] >= 0.8
