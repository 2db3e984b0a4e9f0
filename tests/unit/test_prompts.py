"""Which prompts a model can answer, and what a text from outside may not do to it."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producer.jobs.recipes import recipe_of
from shared.errors import ConfigError, UsageError
from shared.prompts import BASE_PROMPT, DETAILED_PROMPT, MARK, check_prompt, without_marks
from shared.settings import Settings
from tests.tokenizers import TOKENIZERS
from workers.caption.summary import summarise
from workers.model import marks
from workers.model.prompt import prompt_ids, question_ids

KINDS = {name: make() for name, make in TOKENIZERS.items()}
NESTED = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            "/",
            "|",
            "s",
            "<s>",
            "</s>",
            "<image>",
            "<video>",
            "<ima",
            "ge>",
            "</",
            "think>",
        ]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("prompt", [BASE_PROMPT, DETAILED_PROMPT])
def test_a_prompt_is_taken_in_composed_form(prompt: str) -> None:
    decomposed = unicodedata.normalize("NFD", prompt)
    assert decomposed != prompt
    assert check_prompt(decomposed) == prompt
    assert recipe_of(Settings(), prompt=decomposed) == recipe_of(Settings(), prompt=prompt)


@pytest.mark.parametrize(
    "held", ["</s>", "<s>", "<unk>", "<pad>", "<|im_end|>", "<think>", "<image>", "<<image>image>"]
)
def test_a_prompt_with_a_token_of_the_model_is_refused(held: str) -> None:
    prompt = BASE_PROMPT.replace("한국어로", f"한국어로 {held}")
    with pytest.raises(ConfigError, match=re.escape("the prompt holds <")) as refused:
        check_prompt(prompt)
    assert refused.value.cure
    with pytest.raises(UsageError):
        recipe_of(Settings(), prompt=prompt)


@pytest.mark.parametrize(
    ("held", "name"), [("\x00", "U+0000"), ("\x1b", "U+001B"), ("ᄒ", "U+1112")]
)
def test_a_prompt_with_what_is_no_text_is_refused(held: str, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"the prompt holds {name}, which is no text")):
        check_prompt(BASE_PROMPT.replace("한국어로", f"한국어로{held} "))


def test_a_mark_that_only_its_own_tokenizer_knows_is_refused_by_the_worker() -> None:
    tokenizer = TOKENIZERS["bytes"]()
    tokenizer.add_tokens(["<tool_call>"])
    prompt = BASE_PROMPT.replace("한국어로", "<tool_call> 한국어로")
    assert check_prompt(prompt) == prompt
    with pytest.raises(ConfigError, match="the prompt holds <tool_call>"):
        prompt_ids(tokenizer, prompt)
    ids = question_ids(tokenizer, "<tool<tool_call>_call>뭐?")
    assert ids == question_ids(tokenizer, "뭐?")


@given(NESTED)
@example("<<image>image>")
@example("<<</s>/s>/s>")
@example("<|im_<|im_end|>end|>")
def test_taken_out_once_is_not_enough(text: str) -> None:
    kept = without_marks(text)
    assert MARK.search(kept) is None
    assert without_marks(f"앞{text}뒤").startswith("앞")


@pytest.mark.parametrize("kind", KINDS)
@given(text=NESTED)
def test_a_quoted_caption_adds_no_token_of_the_model(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]
    asked: list[str] = []
    summarise(
        [f"간판에 {text}라고 쓰여 있습니다.", "원입니다."],
        lambda _: True,
        lambda prompt: asked.append(prompt) or "",
    )
    special = set(tokenizer.all_special_ids)
    for question in [*asked, text]:
        ids = question_ids(tokenizer, question)
        added = len(tokenizer("").input_ids)  # what it puts before every text
        assert not special & set(ids[added:])
        assert marks.without_marks(tokenizer, question) in tokenizer.decode(ids)
