"""What ends a caption, and that nothing else of a checkpoint's generation config has a say in it.

Chat models name more than one end: the tokenizer's `<|im_end|>`, and `<|endoftext|>` beside it in
generation_config.json. Whoever heeds one of them alone writes on behind the other. So the union
counts, for the captioner, the engine and evaluation alike. What else such a file holds (penalties,
beams, words that are suppressed) would be the checkpoint's recipe; here the recipe is the job's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from shared.errors import ConfigError


def check_generation(directory: Path) -> None:
    """Raises ConfigError: generation_config.json is there and cannot be read.

    transformers would go on without it, and so without the ends that it names.
    """
    file = directory / "generation_config.json"
    if not file.exists():
        return
    try:
        GenerationConfig.from_pretrained(directory)
    except Exception as error:  # the kinds are many: of JSON, and of each value that it validates
        raise ConfigError(
            f"{file} cannot be read: {error}",
            cure="Copy the checkpoint again; this file is damaged.",
        ) from error


def end_tokens(tokenizer: Any, generation: Any, vocabulary: int) -> frozenset[int]:
    """Args:
    generation: the checkpoint's own GenerationConfig.
    vocabulary: tokens that the model can say.

    Raises:
        ConfigError: nothing ends a caption, a text to train on could not be closed, or one of the
            ends is none of the model's tokens.
    """
    closing = tokenizer.eos_token_id
    if closing is None:
        raise ConfigError(
            "the tokenizer names no eos_token: nothing would end a caption",
            cure="Name it in the checkpoint's tokenizer_config.json.",
        )
    named = generation.eos_token_id
    others = named if isinstance(named, list) else [] if named is None else [named]
    ends = [closing, *others]
    for one in ends:
        if type(one) is not int or not 0 <= one < vocabulary:
            raise ConfigError(
                f"the end token {one!r} is none of the model's {vocabulary} tokens",
                cure="Correct eos_token_id in generation_config.json (or config.json, where there "
                "is none), and eos_token in tokenizer_config.json.",
            )
    return frozenset(ends)


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
