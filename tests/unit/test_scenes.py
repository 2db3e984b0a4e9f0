"""What the demo's films can show, and the sentence for each."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.demo.clips import Clip, film, look_of, render
from infra.demo.lesson import demo_takes, new_takes, training_takes
from infra.demo.scenes import (
    BACKGROUNDS,
    BASE_COLOURS,
    HELD_OUT,
    MOTIONS,
    UNSEEN_COLOURS,
    Scene,
    all_scenes,
    caption,
    empty_scenes,
    freeze,
    has_final_consonant,
    held_out,
    parse,
    reverse,
    sample_scenes,
    with_direction,
    with_subject,
)

scenes = st.sampled_from([*all_scenes(), *(Scene(name) for name in BACKGROUNDS)])
syllables = st.characters(min_codepoint=ord("가"), max_codepoint=ord("힣"))


@pytest.mark.parametrize(
    ("noun", "subject"),
    [
        ("원", "원이"),
        ("하트", "하트가"),
        ("별", "별이"),
        ("십자가", "십자가가"),
        ("고양이", "고양이가"),
    ],
)
def test_the_subject_particle_follows_the_final_consonant(noun: str, subject: str) -> None:
    assert with_subject(noun) == subject


@pytest.mark.parametrize(
    ("noun", "direction"),
    [
        ("오른쪽", "오른쪽으로"),
        ("위", "위로"),
        ("아래", "아래로"),
        ("교실", "교실로"),
        ("문", "문으로"),
    ],
)
def test_the_direction_particle_treats_rieul_as_a_vowel(noun: str, direction: str) -> None:
    assert with_direction(noun) == direction


@given(syllables)
def test_a_final_consonant_is_one_that_unicode_decomposes(syllable: str) -> None:
    assert has_final_consonant(syllable) == (len(unicodedata.normalize("NFD", syllable)) == 3)


def test_a_particle_needs_a_hangul_word() -> None:
    with pytest.raises(ValueError, match="Hangul"):
        with_subject("cat")


@pytest.mark.parametrize(
    ("scene", "sentence"),
    [
        (
            Scene("black", "red", "circle", "rightwards"),
            "검은 배경에서 빨간 원이 왼쪽에서 오른쪽으로 움직입니다.",
        ),
        (
            Scene("white", "pink", "heart", "upwards"),
            "흰 배경에서 분홍색 하트가 아래에서 위로 움직입니다.",
        ),
        (
            Scene("navy", "green", "cross", "still"),
            "남색 배경에서 초록색 십자가가 가만히 있습니다.",
        ),
        (Scene("gray"), "회색 배경에 아무것도 없습니다."),
    ],
)
def test_captions(scene: Scene, sentence: str) -> None:
    assert caption(scene) == sentence


@given(scenes)
def test_a_caption_tells_everything(scene: Scene) -> None:
    assert parse(caption(scene)) == scene
    assert re.fullmatch(r"[가-힣 ]+니다\.", caption(scene))


def test_other_text_is_no_scene() -> None:
    assert parse("고양이가 있습니다.") is None


@given(scenes)
def test_backwards_twice_is_forwards(scene: Scene) -> None:
    assert reverse(reverse(scene)) == scene
    moves = scene.motion not in (None, "still")
    assert (reverse(scene) != scene) == moves
    assert freeze(scene).motion == (None if scene.empty else "still")


@pytest.mark.parametrize("part", [{"colour": "red"}, {"shape": "star", "motion": "still"}])
def test_an_object_is_whole_or_absent(part: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="in part"):
        Scene("black", **part)


def test_the_split_is_stable() -> None:
    kept = [scene for scene in all_scenes(BASE_COLOURS) if held_out(scene)]
    assert len(kept) == 128
    assert abs(len(kept) / len(all_scenes(BASE_COLOURS)) - HELD_OUT) < 0.02
    assert held_out(Scene("black", "red", "circle", "still")) is False
    assert held_out(kept[0])
    assert not any(held_out(scene) for scene in empty_scenes(20, 0))


def test_training_and_held_out_scenes_are_disjoint() -> None:
    train, fresh = (set(sample_scenes(2000, 1, split=side)) for side in ("train", "heldout"))
    assert not train & fresh
    # Every attribute is still learnt: only combinations are held out.
    for name in ("background", "colour", "shape", "motion"):
        values = {getattr(scene, name) for scene in train}
        assert values >= {getattr(scene, name) for scene in fresh}


def test_the_base_model_never_meets_the_unseen_colour() -> None:
    for side in ("train", "heldout"):
        assert all(s.colour not in UNSEEN_COLOURS for s in sample_scenes(1000, 3, split=side))
        shown = sample_scenes(50, 3, split=side, unseen=True)
        assert {scene.colour for scene in shown} == set(UNSEEN_COLOURS)


def test_samples_are_seeded() -> None:
    assert sample_scenes(50, 7, split="train") == sample_scenes(50, 7, split="train")
    assert sample_scenes(50, 7, split="train") != sample_scenes(50, 8, split="train")


@given(st.sampled_from(all_scenes()), st.integers(0, 2**32))
def test_the_object_stays_inside_the_centre_square(scene: Scene, seed: int) -> None:
    look = look_of(scene, Clip(seed))
    for progress in (0.0, 0.5, 1.0):
        for place in look.centre(progress):
            assert look.radius <= place <= 1.0 - look.radius


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_object_goes_where_the_caption_says(motion: str) -> None:
    look = look_of(Scene("black", "red", "circle", motion), Clip(3))
    step = np.subtract(look.end, look.start)
    expected = {
        "still": (0, 0),
        "rightwards": (1, 0),
        "leftwards": (-1, 0),
        "downwards": (0, 1),
        "upwards": (0, -1),
    }[motion]
    assert tuple(np.round(np.sign(step) * (np.abs(step) > 0.1))) == expected


def test_a_film_is_seeded_and_shows_its_colours() -> None:
    scene, clip = Scene("black", "green", "square", "rightwards"), Clip(5, 128, 128, 12, 1.0)
    frames = render(scene, clip)
    assert frames.shape == (12, 128, 128, 3)
    assert np.array_equal(frames, render(scene, clip))
    assert not np.array_equal(frames, render(scene, Clip(6, 128, 128, 12, 1.0)))
    look = look_of(scene, clip)
    x, y = (round(128 * place) for place in look.start)
    red, green, blue = frames[0, y, x].astype(int)
    assert green > 100 > max(red, blue)
    assert frames[0, 0, 0].max() < 60


def test_the_lesson_teaches_what_it_does_not_ask() -> None:
    taught, asked = training_takes(), new_takes(40) + demo_takes(40)
    shared = {take.scene for take in taught} & {take.scene for take in asked}
    assert all(scene.empty for scene in shared)
    assert all(take.scene.colour == "purple" for take in new_takes(40))
    assert {take.scene.colour for take in demo_takes(40)} <= {*BASE_COLOURS, None}
    assert len({take.clip.seed for take in taught + asked}) == len(taught + asked)
    assert len({take.id for take in taught + asked}) == len(taught + asked)


def test_a_film_is_the_same_file_each_time(tmp_path: Path) -> None:
    for take in training_takes()[:6]:
        first = film(take.scene, take.clip, tmp_path / "a.mp4").read_bytes()
        assert film(take.scene, take.clip, tmp_path / "b.mp4").read_bytes() == first
