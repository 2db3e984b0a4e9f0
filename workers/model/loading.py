"""A checkpoint on disk becomes a model that is ready to run, with everything that belongs to it."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitsAndBytesConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
)
from transformers.utils import logging

from shared.errors import ConfigError
from shared.messages import ModelIdentity
from workers.model.ends import check_generation, end_tokens, plain_generation
from workers.model.geometry import Geometry
from workers.model.layout import VisualLayout, context_length
from workers.model.preprocess import Preprocessor
from workers.model.tokens import read_tokenizer
from workers.model.weights import check_loaded, weight_files, weights_digest

# A given list replaces the library's default, and a pattern matches from the start of the full
# name: "vision_tower" alone would be silently without effect.
NOT_QUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


@dataclass(frozen=True)
class LoadedModel:
    model: Any
    """LlavaNextVideoForConditionalGeneration, in eval mode."""
    tokenizer: Any
    preprocessor: Preprocessor
    layout: VisualLayout
    identity: ModelIdentity
    device: torch.device
    dtype: torch.dtype
    """Of the computation."""
    context: int
    """Tokens: visual + prompt + new ones must fit."""
    ends: frozenset[int]
    """Tokens that end a caption."""


def load_model(
    directory: str | Path,
    *,
    model_id: str,
    revision: str = "main",
    device: str = "cpu",
    dtype: str = "float32",
    quantized: bool = False,
    pool_stride: int | None = None,
    tokenizer: Any = None,
) -> LoadedModel:
    """Load weights, tokenizer and preprocessing of one LLaVA-NeXT-Video checkpoint.

    Args:
        quantized: language model in 4-bit NF4 with double quantisation.
        pool_stride: 2 or 3 instead of the checkpoint's pooling.
        tokenizer: its own, where it has been read already.

    Raises:
        ConfigError: a configuration is broken, of another kind of model, or says that the weights
            are quantised already; weights are missing or do not fit; 4-bit was asked for and did
            not happen, or bitsandbytes is not installed; the tokenizer makes other ids than the
            model was trained on; nothing ends a caption, or something that is no token.
    """
    logging.disable_progress_bar()  # a bar does not belong into a log
    directory = Path(directory)
    compute = getattr(torch, dtype)
    options: dict[str, Any] = {}
    if pool_stride is not None:
        options["spatial_pool_stride"] = pool_stride
    if quantized:
        _check_bitsandbytes()
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
            llm_int8_skip_modules=NOT_QUANTIZED,
        )
        options["device_map"] = {"": device}
    geometry = Geometry.read(directory)
    _check_config(directory)
    check_generation(directory)
    weight_files(directory)
    model, told = LlavaNextVideoForConditionalGeneration.from_pretrained(
        directory,
        dtype=compute,
        attn_implementation="sdpa",
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are told then, by name
        output_loading_info=True,
        **options,
    )
    check_loaded(told)
    if not quantized:
        model = model.to(device)
    model.eval()
    if quantized:
        _check_quantization(model)
    tokenizer = tokenizer or read_tokenizer(directory)
    ends = end_tokens(tokenizer, model.generation_config, geometry.vocabulary)
    model.generation_config = plain_generation(tokenizer, ends)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        preprocessor=Preprocessor.from_pretrained(directory),
        layout=VisualLayout.from_config(model.config),
        identity=ModelIdentity(
            id=model_id, revision=revision, weights_sha256=weights_digest(directory)
        ),
        device=torch.device(device),
        dtype=compute,
        context=context_length(model.config.text_config),
        ends=ends,
    )


def _check_config(directory: Path) -> None:
    """Of all values, those too that no plan needs."""
    try:
        LlavaNextVideoConfig.from_pretrained(directory)
    except Exception as error:  # the kinds are many: each class validates in its own way
        raise ConfigError(
            f"{directory / 'config.json'} cannot be read: {' '.join(str(error).split())}",
            cure="Use the config.json that belongs to this checkpoint.",
        ) from error


def _check_bitsandbytes() -> None:
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "4-bit weights need bitsandbytes, which is not installed",
            cure="pip install 'jamak[worker]'; the demo's environment goes without it.",
        )


def _check_quantization(model: Any) -> None:
    names = [
        name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"
    ]
    inside = [name for name in names if name.startswith("model.language_model.")]
    if not inside or len(inside) != len(names):
        raise ConfigError(
            f"4-bit loading touched {len(inside)} linears of the language model and "
            f"{len(names) - len(inside)} elsewhere; only the first may be",
            cure="Check the versions of transformers and bitsandbytes against constraints.txt.",
        )
