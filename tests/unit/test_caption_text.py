"""Budget and checks: what can be said about a caption without a model."""

import unicodedata

import pytest

from shared.cards import CLASSES
from shared.errors import DoesNotFit, EmptyCaption
from shared.messages import Decoding
from workers.caption.checks import check_text
from workers.caption.frames import plan_frames


def plan(card: str, requested: int | None = None, **changes: int) -> tuple[int, str]:
    values = {"tokens_per_frame": 144, "prompt_tokens": 60, "new_tokens": 256, "context": 8192}
    made = plan_frames(CLASSES[card], requested=requested, **(values | changes))  # type: ignore[index]
    return made.frames, made.reason


@pytest.mark.parametrize(("card", "frames"), [("t4", 4), ("l4", 8), ("a100", 16), ("h100", 32)])
def test_each_class_gets_its_frames(card: str, frames: int) -> None:
    assert plan(card)[0] == frames


def test_tokens_are_a_limit_of_their_own() -> None:
    assert plan("l4", tokens_per_frame=576) == (2, "l4 allows 1152 visual tokens")


def test_frames_stay_a_limit_when_they_are_cheap() -> None:
    assert plan("t4", tokens_per_frame=64) == (4, "t4 allows 4 frames")


def test_context_is_the_third_limit() -> None:
    frames, reason = plan("h100", context=4096)
    assert frames == (4096 - 60 - 256) // 144
    assert "4096 positions" in reason


def test_what_a_worker_has_room_for_is_a_limit_of_its_own() -> None:
    assert plan("h100", positions=1024)[0] == (1024 - 60 - 256) // 144
    with pytest.raises(DoesNotFit, match="a caption here has 1024 positions") as refused:
        plan("h100", requested=8, positions=1024)
    assert refused.value.cure.startswith("Ask for 4 frames")
    with pytest.raises(DoesNotFit, match="8192 positions") as refused:
        plan("h100", new_tokens=9000)
    assert refused.value.cure.startswith("Ask for 7988 new tokens at most")
    with pytest.raises(DoesNotFit) as refused:
        plan("h100", prompt_tokens=9000)
    assert refused.value.cure == "Ask for a shorter prompt."


def test_more_than_fits_is_refused_not_shortened() -> None:
    with pytest.raises(DoesNotFit, match="t4 allows 4 frames"):
        plan("t4", requested=8)
    assert plan("l4", requested=4)[0] == 4


def check(text: str, **changes: object) -> tuple[str, tuple[str, ...]]:
    values = {"finished": True, "set_by": "JAMAK_MAX_SYLLABLES"}
    values |= {"frames_found": 4, "frames_expected": 4}
    values |= {"sparse": False, "damaged": False, "wrong_colours": False}
    return check_text(text, **(values | changes))  # type: ignore[arg-type]


def test_good_korean_is_ok() -> None:
    assert check("검은 배경에서 빨간 원이 왼쪽에서 오른쪽으로 움직입니다.") == ("ok", ())
    assert check("축구 선수가 NIKE 공을 찬 뒤 달립니다.") == ("ok", ())
    decomposed = unicodedata.normalize("NFD", "축구 선수가 공을 찬 뒤 달립니다.")
    assert check(decomposed) == ("ok", ())


@pytest.mark.parametrize(
    ("text", "changes", "flag"),
    [
        ("빨간 원이 움직", {"finished": False}, "truncated"),
        ("A red circle moves.", {}, "wrong_language"),
        ("빨간 원이 있습니다.", {"frames_found": 2}, "low_coverage"),
        ("빨간 원이 있습니다.", {"sparse": True}, "low_coverage"),
        ("빨간 원이 있습니다.", {"damaged": True}, "damaged"),
        ("빨간 원이 있습니다.", {"wrong_colours": True}, "hdr"),
        ("원이 원이 원이 원이 있습니다.", {}, "repetitive"),
        ("공을 차고 공을 차고 공을 차고 갑니다.", {}, "repetitive"),
        ("빨간 \ufffd원이 있습니다.", {}, "garbled"),
        ("빨간 \x00원이 있습니다.", {}, "garbled"),
        ("빨간 \x1b[2J원이 있습니다.", {}, "garbled"),
        ("빨간 ᄋ 원이 있습니다.", {}, "garbled"),
        ("빨간 원이 있습니다.</s>", {}, "garbled"),
        ("빨간 원 <|im_end|><video> 파란 원", {}, "garbled"),
    ],
)
def test_a_doubtful_caption_is_flagged(text: str, changes: dict[str, object], flag: str) -> None:
    assert check(text, **changes) == ("partial", (flag,))


@pytest.mark.parametrize(
    "text", ["", "  \n", "\ufffd\ufffd", "\x00 \x1b", "\u200b", "\u3164", "</s>"]
)
def test_nothing_is_no_caption(text: str) -> None:
    with pytest.raises(EmptyCaption, match="cut off before it said anything") as cut:
        check(text, finished=False)
    assert "Raise JAMAK_MAX_SYLLABLES for" in cut.value.cure
    with pytest.raises(EmptyCaption) as cut:
        check(text, finished=False, set_by=Decoding(max_new_tokens=4).set_by)
    assert "Raise JAMAK_MAX_NEW_TOKENS for" in cut.value.cure
    with pytest.raises(EmptyCaption):
        check(text)


@pytest.mark.parametrize("text", ["ᄒᆞᆫ글 옛말", "ㅋㅋㅋ", "ㄱㄴㄷ 자음", "ㅎㅎ OK", "ﾡ 자음"])
def test_letters_and_old_hangul_are_korean(text: str) -> None:
    assert check(text) == ("ok", ())
