"""A caption's length in syllables, and what it comes to in tokens."""

import unicodedata
from typing import Any

import pytest

from producer.jobs.recipes import recipe_of
from shared.errors import ConfigError
from shared.language import spoken_error
from shared.messages import CaptionJob, Decoding, Recipe, Video, decode
from shared.prompts import BASE_PROMPT
from shared.settings import Settings, load_settings
from tests.tokenizers import TOKENIZERS
from workers.model.geometry import SYLLABLES
from workers.model.syllables import SAMPLES, longest, syllables_in, tokens_a_syllable

VIVID = (
    "꼬마가 쭈뼛쭈뼛 뻥튀기를 꺼내 쩝쩝 씹고, 할머니는 떡볶이와 깻잎튀김을 꽃무늬 쟁반에 얹습니다."
)
SOUNDS = "쿵쾅쿵쾅 뛰는 꼬마가 뻥튀기 봉지를 꽉 움켜쥔 채 햇볕이 쨍쨍한 툇마루를 휙 뛰어넘습니다."
NUMBERS = (
    "짙은 회색 코트를 입은 여성이 2024년 10월 25일 오후 3시 27분, 서울 강남구 테헤란로 152번길 "
    "앞에서 택시(번호판 12가 3456)를 잡고, 전광판에는 'SAMSUNG Galaxy S24 Ultra 1,698,400원' "
    "광고가 흐릅니다."
)
QUOTES = "“NEW YORK 1998”이라 적힌 티셔츠를 입은 남자가 Canon EOS R5로 골목의 꽃과 나비를 찍습니다."


def tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(f" {text}", add_special_tokens=False).input_ids)


@pytest.mark.parametrize("name", ["llama", "qwen3", "bytes"])
@pytest.mark.parametrize("text", [*SAMPLES, VIVID, SOUNDS, NUMBERS, QUOTES])
def test_a_longest_caption_holds_as_many_syllables_as_were_asked_for(name: str, text: str) -> None:
    """Of vivid words, and of dates, prices and names in Latin letters, which are no syllables."""
    tokenizer = TOKENIZERS[name]()
    caption = " ".join([text] * 5)
    most = longest(Decoding(max_syllables=syllables_in(caption)), tokens_a_syllable(tokenizer))
    assert tokens(tokenizer, caption) + 1 <= most


@pytest.mark.parametrize("name", ["llama", "qwen3", "bytes"])
def test_a_longest_caption_is_no_longer_than_the_hardest_needs(name: str) -> None:
    """Each token more is memory that a card has for fewer captions."""
    tokenizer = TOKENIZERS[name]()
    each = tokens_a_syllable(tokenizer)
    assert each == max(tokens(tokenizer, text) / syllables_in(text) for text in SAMPLES)
    assert each <= 1.1 * tokens(tokenizer, NUMBERS) / syllables_in(NUMBERS)


MEASURED = [
    *((VIVID, 6, "qwen3-8b", 355), (VIVID, 6, "vicuna-7b", 625)),
    *((NUMBERS, 3, "qwen3-8b", 334), (NUMBERS, 3, "vicuna-7b", 511)),
]
"""A sentence, how often, a model, and the tokens that this takes with its tokenizer and the end
(benchmarks/korean_tokenizers.py)."""


@pytest.mark.parametrize(("text", "times", "model", "needed"), MEASURED)
def test_a_card_is_planned_for_what_people_write(
    text: str, times: int, model: str, needed: int
) -> None:
    asked = Decoding(max_syllables=times * syllables_in(text))
    assert needed <= longest(asked, SYLLABLES[model]) < 1.6 * needed


def test_new_jobs_ask_in_syllables_unless_tokens_are_set() -> None:
    assert recipe_of(Settings()).decoding == Decoding(max_syllables=250, language="ko")
    by_tokens = recipe_of(Settings(max_new_tokens=64)).decoding
    assert (by_tokens.max_syllables, longest(by_tokens, 2.0)) == (None, 64)


def test_jobs_of_before_are_what_they_were() -> None:
    """Also by their id: nothing is captioned again that asked for tokens."""
    recipe = Recipe(prompt="p", model="m", revision="r", decoding=Decoding(max_new_tokens=256))
    assert recipe.id == "221a8582b6a9"
    video = Video(bucket="b", key="k.mp4", etag="e", size_bytes=1)
    payload = CaptionJob(video=video, recipe=recipe).model_dump(mode="json") | {"v": 4}
    del payload["recipe"]["decoding"]["max_syllables"]
    assert decode(CaptionJob, payload).recipe == recipe
    in_syllables = recipe_of(Settings()).model_copy(update={"model": "m", "revision": "r"})
    assert in_syllables.id == "6faf74c0c97c"
    longer = recipe.model_copy(update={"decoding": Decoding(max_syllables=250)})
    assert longer.id != recipe.id


def test_a_number_that_does_not_count_makes_no_other_recipe() -> None:
    recipes = [
        Recipe(prompt="p", model="m", revision="r", decoding=decoding)
        for decoding in (Decoding(max_syllables=250), Decoding(max_syllables=250, max_new_tokens=9))
    ]
    assert recipes[0].id == recipes[1].id


def test_a_prompt_is_one_recipe_in_whichever_form_it_is_written() -> None:
    one, other = (
        Recipe(prompt=unicodedata.normalize(form, BASE_PROMPT), model="m", revision="r")
        for form in ("NFC", "NFD")
    )
    assert (one, one.id) == (other, other.id)


def test_two_lengths_at_once_are_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the one in syllables is what it would be anyway."""
    monkeypatch.setenv("JAMAK_MAX_NEW_TOKENS", "256")
    assert load_settings().max_new_tokens == 256
    monkeypatch.setenv("JAMAK_MAX_SYLLABLES", "")
    assert load_settings().max_new_tokens == 256
    monkeypatch.setenv("JAMAK_MAX_SYLLABLES", "250")
    with pytest.raises(ConfigError, match="JAMAK_MAX_NEW_TOKENS: JAMAK_MAX_SYLLABLES is set") as no:
        load_settings()
    assert "remove JAMAK_MAX_NEW_TOKENS" in str(no.value)
    monkeypatch.setenv("JAMAK_LANG", "ko")
    assert "하나만 적용할 수 있습니다" in spoken_error(no.value)
    monkeypatch.delenv("JAMAK_MAX_NEW_TOKENS")
    assert Decoding.asked(load_settings()).max_syllables == 250
