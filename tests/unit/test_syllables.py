"""A caption's length in syllables, and what it comes to in tokens."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from producer.jobs.recipes import recipe_of
from shared.messages import CaptionJob, Decoding, Recipe, Video, decode
from shared.settings import Settings
from tests.tokenizers import character_tokenizer
from workers.model.syllables import SAMPLES, longest, syllables_in, tokens_a_syllable

DEMO = Path(__file__).parents[2] / "infra/demo/models"


@pytest.mark.parametrize("name", ["llama", "qwen3", "bytes"])
def test_a_longest_caption_holds_as_many_syllables_as_were_asked_for(name: str) -> None:
    bytewise = name == "bytes"
    tokenizer = character_tokenizer() if bytewise else AutoTokenizer.from_pretrained(DEMO / name)
    each = tokens_a_syllable(tokenizer)
    assert (3.4 if bytewise else 1.9) < each < 3.6
    for text in SAMPLES:
        asked = Decoding(max_syllables=syllables_in(text))
        needed = len(tokenizer(f" {text}", add_special_tokens=False).input_ids) + 1
        assert needed <= longest(asked, each) <= 1.3 * needed


def test_new_jobs_ask_in_syllables_unless_tokens_are_set() -> None:
    assert recipe_of(Settings()).decoding == Decoding(max_syllables=250, language="ko")
    by_tokens = recipe_of(Settings(max_new_tokens=64, max_syllables=9)).decoding
    assert (by_tokens.max_syllables, longest(by_tokens, 2.0)) == (None, 64)


def test_jobs_of_before_are_what_they_were() -> None:
    """Also by their id: nothing is captioned again that asked for tokens."""
    recipe = Recipe(prompt="p", model="m", revision="r", decoding=Decoding(max_new_tokens=256))
    assert recipe.id == "221a8582b6a9"
    video = Video(bucket="b", key="k.mp4", etag="e", size_bytes=1)
    payload = CaptionJob(video=video, recipe=recipe).model_dump(mode="json") | {"v": 4}
    del payload["recipe"]["decoding"]["max_syllables"]
    assert decode(CaptionJob, payload).recipe == recipe
    longer = recipe.model_copy(update={"decoding": Decoding(max_syllables=250)})
    assert longer.id != recipe.id
