"""What ends a caption, and that nothing else of a checkpoint's generation config has a say in it.

Chat models name more than one end: the tokenizer's `<|im_end|>`, and `<|endoftext|>` beside it in
generation_config.json. Whoever heeds one of them alone writes on behind the other. So the union
counts, for the captioner, the engine and evaluation alike. What else such a file holds (penalties,
beams, words that are suppressed) would be the checkpoint's recipe; here the recipe is the job's.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from transformers import GenerationConfig

from shared.errors import ConfigError


def end_tokens(tokenizer: Any, generation: Any) -> frozenset[int]:
    """Args:
    generation: the checkpoint's own GenerationConfig.

    Raises:
        ConfigError: nothing ends a caption, or a text to train on could not be closed.
    """
    closing = tokenizer.eos_token_id
    if closing is None:
        raise ConfigError(
            "the tokenizer names no eos_token: nothing would end a caption",
            cure="Name it in the checkpoint's tokenizer_config.json.",
        )
    named = generation.eos_token_id
    others = named if isinstance(named, Iterable) else [] if named is None else [named]
    return frozenset([closing, *map(int, others)])


def plain_generation(tokenizer: Any, ends: frozenset[int]) -> GenerationConfig:
    """Greedy, one token after the other, until one of the ends."""
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.eos_token_id if pad is None else pad,
    )


def before_end(generated: Sequence[int], ends: frozenset[int]) -> list[int]:
    """What was said: neither the token that ended it, nor what a batch was filled up with."""
    end = next((at for at, one in enumerate(generated) if one in ends), len(generated))
    return list(generated[:end])
