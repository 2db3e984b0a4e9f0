"""What a tokenizer reads as a token of its own wherever it stands in a text: `</s>`, `<video>`,
`<|im_end|>`, `<think>`. In a text from outside it would end an answer, or be a picture.
"""

from typing import Any


def marks(tokenizer: Any) -> list[str]:
    """Special tokens, and others that were added and look like them; not runs of spaces."""
    added = tokenizer.added_tokens_decoder.values()
    found = [str(one) for one in added if one.special or str(one).strip().startswith("<")]
    return list(dict.fromkeys([*found, *tokenizer.all_special_tokens]))


def without_marks(tokenizer: Any, text: str) -> str:
    """Also of those that only come about when others are taken out: `<<image>image>`."""
    names = marks(tokenizer)
    while found := [name for name in names if name in text]:
        for name in found:
            text = text.replace(name, "")
    return text
