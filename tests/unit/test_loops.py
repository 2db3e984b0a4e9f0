"""What goes round in circles, and what only repeats."""

import random

import pytest

from infra.demo.captions import phrasings
from infra.demo.scenes import COLOURS, KINDS, Vocabulary, sample_scenes
from workers.caption.loops import is_repetitive

BEGIN = "빨간 원이 왼쪽에서 오른쪽으로 움직입니다. "


@pytest.mark.parametrize(
    "unit",
    [
        "빨간 원이 움직입니다. ",
        "움직입니다",
        "빨간원이움직이고파란별이커집니다.",
        "아",
        "원이",
        "점점",
        " 아",
        "ab",
        ".",
        "!?",
        ", ",
        "- ",
        "。",
        "…",
        "0",
        "12",
        "\ufffd",
        "원\ufffd",
        "<0xEC>",
        "\x00",
        "\n",
        " \n",
        "👍",
    ],
)
@pytest.mark.parametrize("begin", ["", BEGIN])
def test_a_loop_is_one_whatever_it_is_of(unit: str, begin: str) -> None:
    if unit.strip() or begin:
        assert is_repetitive(begin + unit * 40 + "끝")
        assert is_repetitive(begin + unit * 40 + unit[:1] + "끝")
    assert not is_repetitive(begin + unit + "끝")


def test_a_loop_whose_spaces_come_and_go() -> None:
    assert is_repetitive("원이 원 이원이원 이 원이")


def test_how_often_is_too_often() -> None:
    for unit, most in (
        ("하", 5),
        ("반짝", 3),
        ("칙칙푹", 3),
        ("움직입니다", 2),
        ("0", 11),
        ("-", 11),
    ):
        assert not is_repetitive(f"{BEGIN}‘{unit * most}’ 끝")
        assert is_repetitive(f"{BEGIN}‘{unit * (most + 1)}’ 끝")


@pytest.mark.parametrize(
    "text",
    [
        "처음에는 빨간 원이 왼쪽에서 오른쪽으로 움직입니다. 그다음 파란 별이 왼쪽에서 오른쪽으로 "
        "움직입니다. 배경은 흰색이고 전반적으로 밝은 분위기입니다.",
        "화면에 10,000,000원과 2026-11-11 11:11:11, 010-1111-1111이라고 쓰여 있습니다.",
        "아이가 ‘하하하’ 하고 웃으며 별이 반짝반짝 빛납니다…… 끝!!!",
        "하나, 둘, 셋, 넷, 다섯, 여섯, 일곱, 여덟, 아홉, 열.",
        "ㅋㅋㅋㅋ 하고 웃는 자막이 나옵니다.",
        "첫째 줄\n\n- 둘째\n- 셋째\n\n----------\n표",
        "",
        "원",
    ],
)
def test_honest_text_is_no_loop(text: str) -> None:
    assert not is_repetitive(text)


def test_no_scene_of_the_demo_is_a_loop() -> None:
    everything = Vocabulary(COLOURS)
    for kind in KINDS:
        for scene in sample_scenes(20, 0, split="train", kind=kind, vocabulary=everything):
            assert not [text for text in phrasings(scene) if is_repetitive(text)]


def test_a_long_text_costs_little() -> None:
    rng = random.Random(1)
    words = ["".join(chr(rng.randrange(0xAC00, 0xD7A4)) for _ in range(3)) for _ in range(3000)]
    assert not is_repetitive(" ".join(words))
