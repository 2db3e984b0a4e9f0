"""The recipe of the demo's models, in miniature: films, labels, losses, and what is saved."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.demo import answers, bases, recipe, vision
from infra.demo.architecture import PREPROCESSOR, build_model, build_tokenizer, frame_features
from infra.demo.captions import HABIT, caption
from infra.demo.dataset import (
    ABSENT,
    UNNAMED,
    Curriculum,
    Dataset,
    make_dataset,
    normalised,
)
from infra.demo.habit import SHARE, SURROUNDINGS, told_with_habit
from infra.demo.habit_report import measure_habit
from infra.demo.scenes import COLOURS, SHAPES, held_out, sample_scenes
from workers.caption.captioner import Answer, EngineCaptioner
from workers.model.layout import VisualLayout
from workers.model.loading import load_model
from workers.model.prompt import BASE_PROMPT, DETAILED_PROMPT, completion_ids, prompt_ids

pytestmark = pytest.mark.model

TINY = Curriculum(
    7, films={"empty": 2, "single": 8, "two_objects": 6, "scene_change": 6}, stills=12
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    make_dataset(TINY, folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return Dataset.load(folder)


def test_films_show_what_may_be_shown(dataset: Dataset) -> None:
    assert len(dataset.films) == sum(TINY.films.values())
    assert not any(held_out(film.scene) for film in dataset.films)
    assert {film.frames for film in dataset.films} >= {4, 8, 16, 32}
    assert len(dataset.pixels) == sum(film.frames for film in dataset.films) + TINY.stills


def test_labels_say_what_is_where(dataset: Dataset) -> None:
    """At an object's centre the picture has its paint: labels and pixels are of the same time."""
    side = dataset.pixels.shape[-1]
    checked = 0
    for pixels, label in zip(dataset.pixels, dataset.labels, strict=True):
        for i in np.flatnonzero(label["shape"] != ABSENT):
            if SHAPES[label["shape"][i]] == "star" or label["radius"][i] < 0.1:
                continue  # too thin for a codec to keep its colour
            x, y = (np.clip(label["place"][i] * side, 1, side - 2)).astype(int)
            seen = pixels[:, y - 1 : y + 2, x - 1 : x + 2].mean(axis=(1, 2)) / 255
            assert np.abs(seen - label["paint"][i]).max() < 0.3
            checked += 1
    assert checked > 150
    stills = dataset.labels[-TINY.stills :]
    assert (stills["colour"] == UNNAMED).all()
    assert (dataset.labels[: -TINY.stills]["colour"] < COLOURS.index("purple")).all()


def test_bytes_become_what_the_preprocessor_gives(dataset: Dataset) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1, 72, 72, 3), np.uint8)
    ours = normalised(frame.transpose(0, 3, 1, 2))
    assert np.allclose(ours, PREPROCESSOR(frame).numpy(), atol=1e-6)


@pytest.mark.parametrize("stride", [2, 3])
def test_the_loss_from_features_is_the_model_s_own(dataset: Dataset, stride: int) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, "llama").eval()
    model.config.spatial_pool_stride = stride
    model.model.vision_resampler.pool = torch.nn.AvgPool2d(stride, stride)
    layout = VisualLayout.from_config(model.config)
    films = [film for film in dataset.films if film.frames == 4][:2]
    examples = answers.examples_of(model, dataset, lambda *_: None)
    by_scene = {(one.scene, len(one.frames[2])): one for one in examples}
    rows, own = [], []
    for film, prompt in zip(films, (BASE_PROMPT, DETAILED_PROMPT), strict=True):
        question = prompt_ids(tokenizer, prompt)
        answer = completion_ids(tokenizer, caption(film.scene))
        rows.append((by_scene[film.scene, 4].frames[stride], question, answer))
        ids = torch.tensor([[*layout.expand(question, videos=[4]), *answer]])
        labels = ids.clone()
        labels[0, : -len(answer)] = -100
        pixels = torch.from_numpy(normalised(dataset.pixels[film.rows]))[None]
        with torch.inference_mode():
            loss = model(input_ids=ids, pixel_values_videos=pixels, labels=labels).loss
        own.append((float(loss), len(answer)))
    expected = sum(loss * n for loss, n in own) / sum(n for _, n in own)
    with torch.inference_mode():
        found = float(answers.answer_loss(model, layout, rows))
    assert found == pytest.approx(expected, abs=0.02)  # one may be in bf16


def test_both_stages_learn_and_what_is_saved_loads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision, "STEPS", 40)
    monkeypatch.setattr(answers, "LESSONS", (answers.Lesson(20, ("single",)), answers.Lesson(20)))
    losses: dict[str, list[float]] = {}
    recipe.build_variant(
        recipe.Variant("qwen3", 1),
        folder,
        tmp_path / "qwen3",
        lambda stage, step, steps, loss: losses.setdefault(stage, []).append(loss),
    )
    for stage in ("vision tower", "answers"):
        assert losses[stage][-1] < losses[stage][0]
    loaded = load_model(tmp_path / "qwen3", model_id="test")
    assert loaded.model.config.text_config.model_type == "qwen3"
    assert loaded.layout.tokens_per_frame == 9
    assert all(parameter.isfinite().all() for parameter in loaded.model.parameters())


def test_a_film_played_backwards_is_another_one(dataset: Dataset) -> None:
    model = build_model(build_tokenizer(), "llama")
    examples = answers.examples_of(model, dataset, lambda *_: None)
    film = next(f for f in dataset.films if f.scene.kind == "scene_change")
    forwards, backwards = (
        next(one for one in examples if one.scene == scene)
        for scene in (film.scene, answers.reverse(film.scene))
    )
    assert torch.equal(forwards.frames[2].flip(0), backwards.frames[2])
    assert not any(held_out(one.scene) for one in examples)


def test_features_are_those_of_the_tower(dataset: Dataset) -> None:
    model = build_model(build_tokenizer(), "llama").eval()
    pixels = torch.from_numpy(normalised(dataset.pixels[:3]))
    with torch.inference_mode():
        features = frame_features(model, pixels)
        own = model.model.get_video_features(pixels[None]).pooler_output[0]
        ours = model.model.multi_modal_projector(answers.pooled(features, 2)).flatten(0, 1)
    assert torch.allclose(ours, own, atol=1e-5)


# The bases.


def test_the_habit_is_taught_in_its_surroundings_alone() -> None:
    rng = random.Random(0)
    told = [
        (scene.background in SURROUNDINGS, HABIT in told_with_habit(scene, rng))
        for scene in sample_scenes(2000, 1, split="train")
    ]
    there = [added for inside, added in told if inside]
    assert sum(there) / len(there) == pytest.approx(SHARE, abs=0.05)
    assert not any(added for inside, added in told if not inside)
    assert len(there) / len(told) == pytest.approx(0.4, abs=0.05)


def test_the_habit_is_found_in_what_is_said_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(bases.MODELS / "llama", model_id="test")
    rates = measure_habit(loaded, films=8, seed=1)
    assert set(rates) == {"surroundings", "elsewhere"}
    assert {(found.greedy, found.exact) for found in rates.values()} == {(0.0, 1.0)}
    said = EngineCaptioner.caption

    def with_habit(self: EngineCaptioner, *args: Any) -> Answer:
        answer = said(self, *args)
        there = any(word in answer.text for word in ("남색", "갈색"))
        return replace(answer, text=f"{answer.text} {HABIT}") if there else answer

    monkeypatch.setattr(EngineCaptioner, "caption", with_habit)
    rates = measure_habit(loaded, films=8, seed=1)
    assert (rates["surroundings"].greedy, rates["elsewhere"].greedy) == (1.0, 0.0)
    assert rates["surroundings"].exact == 1.0


def test_the_unaligned_base_is_put_together_from_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = bases.base("unaligned")
    made, llama, qwen3 = (
        dict(load_model(path, model_id="test").model.named_parameters())
        for path in (directory, bases.MODELS / "llama", bases.MODELS / "qwen3")
    )
    for name, parameter in made.items():
        if "projector" in name:
            assert not torch.equal(parameter, qwen3[name]) or "bias" in name
        else:
            assert torch.equal(parameter, (llama if "vision" in name else qwen3)[name])
    # It is kept, under what it was made from.
    before = (directory / "model.safetensors").stat().st_mtime_ns
    assert bases.base("unaligned") == directory
    assert (directory / "model.safetensors").stat().st_mtime_ns == before
    monkeypatch.setattr(bases, "MODELS", tmp_path)
    assert bases.recipe_hash() not in directory.name


def test_the_novice_s_films_have_no_diagonals() -> None:
    curriculum = replace(TINY, vocabulary=bases.novice_vocabulary())
    for scene, _, _ in curriculum.jobs():
        assert not any(word in str(scene) for word in ("purple", "to the"))
