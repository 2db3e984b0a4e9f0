"""Prompt and completion as token ids: one rule for captioning and training.

The prompt is encoded with the tokenizer's own special tokens (a leading BOS); the completion is
`" " + text` without any, closed by EOS. They are joined as ids, never as text, so that the ids the
model is trained on are exactly those it meets when it answers.
"""

from collections.abc import Sequence
from typing import Any

from shared.prompts import BASE_PROMPT, DETAILED_PROMPT, VIDEO, check_prompt, holds_mark
from shared.text import composed
from workers.model.marks import marks, without_marks
from workers.model.spoken import spoken

__all__ = [
    "BASE_PROMPT",
    "DETAILED_PROMPT",
    "completion_ids",
    "prompt_ids",
    "question_ids",
    "text_of",
]


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Raises ConfigError when the prompt breaks the rules of shared/prompts.py, or holds what this
    tokenizer reads as a token of its own."""
    prompt = check_prompt(prompt)
    for mark in marks(tokenizer):
        if mark in prompt and mark != VIDEO:
            raise holds_mark(prompt, mark)
    return list(tokenizer(prompt).input_ids)


def question_ids(tokenizer: Any, question: str) -> list[int]:
    """Of a prompt without frames. What it quotes is text, whatever it looks like."""
    return list(tokenizer(without_marks(tokenizer, composed(question))).input_ids)


def completion_ids(tokenizer: Any, text: str) -> list[int]:
    ids = tokenizer(" " + composed(text).strip(), add_special_tokens=False).input_ids
    return [*ids, tokenizer.eos_token_id]


def text_of(tokenizer: Any, generated: Sequence[int], *, finished: bool = True) -> str:
    """Of the new tokens alone (spoken.py)."""
    return spoken(tokenizer, generated, finished=finished).text
