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
        ("하", 15),
        ("반짝", 7),
        ("칙칙푹", 5),
        ("움직입니다", 2),
        ("0", 39),
        ("-", 39),
        ("👍", 15),
        ("\ufffd", 11),
    ):
        assert not is_repetitive(f"{BEGIN}‘{unit * most}’ 끝")
        assert is_repetitive(f"{BEGIN}‘{unit * (most + 1)}’ 끝")


HONEST = [
    "아이가 하하하하하하 웃으며 뛰어갑니다.",
    "화면에 ㅋㅋㅋㅋㅋㅋ라는 자막이 나옵니다.",
    "가수가 라라라라라라 하고 노래를 부릅니다.",
    "관객이 와아아아아아아 하고 환호합니다.",
    "반짝반짝 반짝반짝 작은 별 노래가 나옵니다.",
    "화면에 0000000000000 이라는 숫자가 나타납니다.",
    "제목 아래 ------------ 선이 있습니다.",
    "제목: ==================== 본문",
    "남자가 말을 잇지 못합니다............",
    "| 열1 | 열2 | 열3 |\n|---|---|---|\n| 가 | 나 | 다 |",
    "| 이름 | 값 | 비고 | 기타 | 합 |\n|---|---|---|---|---|\n| 가 | 나 | 다 | 라 | 마 |",
    "목록:\n                      - 첫째 항목",
    "번호판이 XXXXXX로 가려져 있습니다.",
    "'AAAAAAA'라는 간판",
    "시계가 똑딱똑딱똑딱똑딱 소리를 냅니다.",
    "쿵짝쿵짝 쿵짝쿵짝 음악에 맞춰 춤을 춥니다.",
    "개가 멍멍멍멍멍멍 짖습니다.",
    "사람들이 짝짝짝짝짝짝 박수를 칩니다.",
    "삐뽀삐뽀삐뽀삐뽀 사이렌이 울립니다.",
    "화면에 010101010101 이 지나갑니다.",
    "별점이 ★★★★★★★★★★★★ 입니다",
    "금액은 1,000,000,000,000원입니다.",
    "카드번호는 **** **** **** 1234입니다.",
    "빈칸 ____________ 에 이름을 씁니다.",
    "목차 서론 .............. 3쪽",
    "심장이 두근두근두근두근두근두근 뜁니다.",
    "카드번호는 XXXX-XXXX-XXXX-XXXX입니다.",
    "점수는 0 0 0 0 입니다.",
    "화면에 👍👍👍👍👍👍 이모지가 나옵니다.",
    "제목\n==============================================================================\n본문",
    f"| 이름 | 값 | 비고 | 합 |\n|{'--------------|' * 4}\n| 가 | 나 | 다 | 라 |",
    "첫째\n\n* * *\n\n둘째",
    "1. 빨간 원\n2. 파란 원\n3. 노란 원\n4. 초록 원\n5. 검은 원\n6. 흰 원",
]
LOOPS = [
    "빨간빨간빨간빨간",
    "나" * 6,
    "\ufffd" * 12,
    "<0xEC><0xEC><0xEC>",
    "." * 12,
    ". " * 6,
    "안녕하세요, , , , , , ,",
    "ㅋ" * 50,
    "안녕" + " " * 34 + "끝",
    "원" + "\n" * 22 + "원",
    "원이 있습니다." * 3,
    "!?" * 8,
    "그 " * 5,
    "😀" * 8,
    BEGIN + "😀" * 16,
    "-" * 60,
    "-----\n" * 8,
    f"{BEGIN}{'-' * 39} {'하' * 16} 끝",
    " ".join(f"{number}번째 원이 있습니다." for number in range(1, 15)),
    "".join(f"{number}번째원이있습니다." for number in range(1, 15)),
]
END = ["하" * 6, "반짝" * 4, "-" * 12, "." * 12, "0" * 12, "👍" * 6, " " * 12]
"""Of a text that was cut."""


@pytest.mark.parametrize("text", HONEST)
def test_what_is_honest_may_repeat(text: str) -> None:
    assert not is_repetitive(text)
    assert not is_repetitive(BEGIN * 2 + text)


@pytest.mark.parametrize("text", LOOPS)
def test_a_loop_is_one_without_a_frame(text: str) -> None:
    assert is_repetitive(text)


@pytest.mark.parametrize("end", END)
def test_what_was_cut_in_a_run_would_have_gone_on(end: str) -> None:
    assert is_repetitive(BEGIN + end, cut=True)
    assert not is_repetitive(BEGIN + end)
    assert not is_repetitive(f"{BEGIN}{end} 끝", cut=True)


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
