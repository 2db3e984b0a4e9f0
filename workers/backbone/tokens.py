"""The language model's tokenizer, with a token for pictures and one for videos, and our prompt.

Its own chat template goes: a caption is asked for as shared/prompts.py has it, whatever the model,
and the alignment stage trains on that.
"""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer

from shared.errors import ConfigError
from shared.prompts import VIDEO

IMAGE = "<image>"
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{ ' ' + (message['content'] if message['content'] is string else "
    "message['content'] | map(attribute='text') | join) | trim + eos_token }}"
    "{%- else -%}"
    "{{ 'USER: ' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'video' -%}{{ '<video>' }}"
    "{%- elif part['type'] == 'image' -%}{{ '<image>' }}"
    "{%- else -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if not loop.last or add_generation_prompt -%}{{ ' ASSISTANT:' }}{%- endif -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
"""Of a talk as transformers has it: the text that our prompts and answers are."""


def with_media(directory: Path) -> tuple[Any, int, tuple[int, int]]:
    """The tokenizer, how many tokens it had, and the ids of <image> and <video>.

    Raises:
        ConfigError: there is none, it ends nothing, or it has no row of its own for one of the two.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{directory} holds no tokenizer that can be read: {error}",
            cure="Copy the language model again, with tokenizer.json and tokenizer_config.json.",
        ) from error
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer in {directory} names no eos_token: nothing would end a caption",
            cure="Name it in tokenizer_config.json.",
        )
    known = len(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_tokens(
        [AddedToken(name, normalized=False, special=True) for name in (IMAGE, VIDEO)],
        special_tokens=True,
    )
    begins = tokenizer("").input_ids  # what it puts before every text by itself
    mark = "{{ bos_token }}" if begins == [tokenizer.bos_token_id] else ""
    tokenizer.chat_template = mark + TEMPLATE
    image, video = (tokenizer.convert_tokens_to_ids(name) for name in (IMAGE, VIDEO))
    return tokenizer, known, (image, video)
