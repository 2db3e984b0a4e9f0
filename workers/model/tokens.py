"""Does the tokenizer make the ids that the model was trained on? Otherwise refuse to start.

The same vocabulary gives other ids by the class and the flags that tokenizer_config.json names:
transformers builds the class anew, whatever tokenizer.json says, and `legacy` puts a space behind
every special token or leaves it out. Nothing fails then; captions only get worse.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from shared.errors import ConfigError
from shared.prompts import BASE_PROMPT, DETAILED_PROMPT
from workers.model.prompt import completion_ids, prompt_ids

SENTENCE = "화면 중앙에 빨간 원이 있고, 그 뒤로 파란 하늘이 펼쳐져 있습니다."
SHOWN = 4
"""Tokens, of those that differ."""


def read_tokenizer(directory: Path) -> Any:
    """Raises ConfigError: it is not there, or makes other ids than the model was trained on."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{directory} holds no tokenizer that can be read: {error}",
            cure="Copy the checkpoint again, with tokenizer.json and tokenizer_config.json.",
        ) from error
    check_tokenizer(tokenizer, directory)
    return tokenizer


def check_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Compare the ids of prompt and answer: made apart, made together, and made by tokenizer.json.

    Raises:
        ConfigError: they are not the same.
    """
    for prompt in (BASE_PROMPT, DETAILED_PROMPT):
        apart = [*prompt_ids(tokenizer, prompt), *completion_ids(tokenizer, SENTENCE)[:-1]]
        text = f"{prompt} {SENTENCE}"
        if found := _difference(tokenizer, apart, tokenizer(text).input_ids):
            raise ConfigError(
                f"the tokenizer ({type(tokenizer).__name__}) gives a prompt and its answer other "
                f"ids apart than together: {found[0]}, {found[1]}",
                cure=CURE,
            )
        file = directory / "tokenizer.json"
        if not file.exists():
            continue
        ids = tokenizer(text, add_special_tokens=False).input_ids
        as_saved = _as_saved(file, tokenizer).encode(text, add_special_tokens=False).ids
        if found := _difference(tokenizer, ids, as_saved):
            raise ConfigError(
                f"the class and flags of tokenizer_config.json ({type(tokenizer).__name__}, "
                f"legacy {getattr(tokenizer, 'legacy', None)}) give other ids than tokenizer.json: "
                f"{found[0]}, {found[1]}",
                cure=CURE,
            )


CURE = (
    "Set tokenizer_class and legacy in tokenizer_config.json as they were when the model was "
    "trained, or use the tokenizer files that belong to this checkpoint."
)


def _as_saved(file: Path, tokenizer: Any) -> Tokenizer:
    """With the tokens that only tokenizer_config.json adds."""
    saved = Tokenizer.from_file(str(file))
    saved.add_special_tokens([one for _, one in sorted(tokenizer.added_tokens_decoder.items())])
    return saved


def _difference(tokenizer: Any, ids: list[int], others: list[int]) -> tuple[str, str] | None:
    """Where they part, the tokens of both."""
    if ids == others:
        return None
    pairs = enumerate(zip(ids, others, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(ids), len(others)))
    first, second = (
        " ".join(tokenizer.convert_ids_to_tokens(some[at : at + SHOWN])) for some in (ids, others)
    )
    return first, second
