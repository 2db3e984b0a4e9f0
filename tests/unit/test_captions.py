"""What is said about a scene: right Korean, in several ways, and understood again."""

import random
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.demo.captions import CANONICAL_SHARE, any_caption, caption, parse, phrasings
from infra.demo.korean import has_final_consonant, with_direction, with_subject
from infra.demo.scenes import Figure, Scene, single
from tests.scenes import scenes

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
            single("black", "red", "circle", "rightwards"),
            "검은 배경에서 빨간 원이 왼쪽에서 오른쪽으로 움직입니다.",
        ),
        (
            single("white", "pink", "heart", "to the upper left"),
            "흰 배경에서 분홍색 하트가 오른쪽 아래에서 왼쪽 위로 움직입니다.",
        ),
        (
            single("navy", "green", "cross", "still"),
            "남색 배경에서 초록색 십자가가 가만히 있습니다.",
        ),
        (single("brown", "blue", "star", "growing"), "갈색 배경에서 파란 별이 점점 커집니다."),
        (Scene("gray"), "회색 배경에 아무것도 없습니다."),
        (
            Scene("gray", (Figure("red", "heart", "shrinking"), Figure("blue", "star", "still"))),
            "회색 배경에서 빨간 하트가 점점 작아지고, 파란 별이 가만히 있습니다.",
        ),
        (
            Scene(
                "black",
                (Figure("red", "circle", "upwards"),),
                then=single("white", "blue", "star", "still"),
            ),
            "처음에는 검은 배경에서 빨간 원이 아래에서 위로 움직이고, "
            "그다음 흰 배경에서 파란 별이 가만히 있습니다.",
        ),
        (
            Scene("black", then=single("white", "blue", "star", "still")),
            "처음에는 검은 배경에 아무것도 없고, 그다음 흰 배경에서 파란 별이 가만히 있습니다.",
        ),
    ],
)
def test_captions(scene: Scene, sentence: str) -> None:
    assert caption(scene) == sentence


@given(scenes)
def test_every_phrasing_tells_everything(scene: Scene) -> None:
    said = phrasings(scene)
    assert said[0] == caption(scene)
    assert len(set(said)) == len(said) == 3
    for text in said:
        assert parse(text) == scene
        assert re.fullmatch(r"[가-힣, ]+니다\.", text)


@pytest.mark.parametrize(
    "text",
    [
        "고양이가 있습니다.",
        "검은 배경에서 빨간 원가 가만히 있습니다.",
        "검은 배경에서 빨간 원이 왼쪽에서 왼쪽으로 움직입니다.",
        "검은 배경에서 파란 별이 가만히 있고, 빨간 원이 가만히 있습니다.",
        "검은 배경에서 빨간 원이 가만히 있습니다. 고양이가 있습니다.",
        "",
    ],
    ids=["other", "particle", "no such path", "order", "more", "nothing"],
)
def test_other_text_is_no_scene(text: str) -> None:
    assert parse(text) is None


def test_training_hears_mostly_the_canonical_sentence() -> None:
    scene, rng = single("black", "red", "circle", "still"), random.Random(1)
    heard = Counter(any_caption(scene, rng) for _ in range(2000))
    assert set(heard) == set(phrasings(scene))
    assert abs(heard[caption(scene)] / 2000 - CANONICAL_SHARE) < 0.05
