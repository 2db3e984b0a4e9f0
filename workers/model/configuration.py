"""What a checkpoint's config.json says, and what it leaves unsaid.

A config may leave out each value that is the default of its class in transformers: that of
LLaVA-NeXT-Video-7B names neither width nor layers of its language model. The defaults of those
that a plan needs are repeated here, for `jamak plan` runs without transformers; a test compares
them with its classes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

KIND = "llava_next_video"
TEXT: dict[str, dict[str, int | None]] = {
    "llama": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "intermediate_size": 11008,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
    "mistral": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": None,
        "intermediate_size": 14336,
        "vocab_size": 32000,
        "max_position_embeddings": 131072,
    },
    "qwen2": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 22016,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
    "qwen3": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "intermediate_size": 22016,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
    },
}
"""Kind of language model -> what its class has where nothing is said."""
VISION: dict[str, dict[str, int]] = {
    "clip_vision_model": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 32,
    }
}
WHOLE: dict[str, Any] = {
    "vision_feature_layer": -2,
    "spatial_pool_stride": 2,
    "tie_word_embeddings": False,
}
"""Of what stands beside the two."""


def read_config(directory: Path) -> dict[str, Any]:
    """Raises ConfigError: there is none, it cannot be read, or it is of another kind of model."""
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}",
            cure="Name a directory made by save_pretrained.",
        ) from error
    if (kind := config.get("model_type", KIND)) != KIND:
        raise ConfigError(
            f"config.json is of a model of type {kind!r}, not {KIND!r}",
            cure="Use a llava-hf checkpoint, saved by save_pretrained.",
        )
    check_unquantized(config)
    return config


def language(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the language model, with its defaults.

    Raises:
        ConfigError: it is of a kind that is not computed here.
        KeyError: there is nothing of it.
    """
    text = config["text_config"]
    kind = text.get("model_type", "llama")
    if kind not in TEXT:
        raise ConfigError(
            f"the language model is of type {kind!r}",
            cure="Use a checkpoint on Llama, Vicuna, Mistral, Qwen2 or Qwen3.",
        )
    return {**TEXT[kind], **text}


def tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the vision tower; as `language`."""
    vision = config["vision_config"]
    kind = vision.get("model_type", "clip_vision_model")
    if kind not in VISION:
        raise ConfigError(
            f"the vision tower is of type {kind!r}",
            cure="Use a llava-hf checkpoint; they see with CLIP.",
        )
    return {**VISION[kind], **vision}


def check_unquantized(config: Mapping[str, Any]) -> None:
    """transformers obeys what a checkpoint says of its own quantisation, whatever it is asked for.

    A plan would then be of another model, and vision tower and projector in few bits as well.
    """
    for part in (config, config.get("text_config"), config.get("vision_config")):
        told = part.get("quantization_config") if isinstance(part, Mapping) else None
        if told:
            method = told.get("quant_method") if isinstance(told, Mapping) else told
            raise ConfigError(
                f"the checkpoint is quantised already (quantization_config: {method})",
                cure="Use the checkpoint in 16 bits: a worker makes 4 bits of it by itself where "
                "its card needs them.",
            )
