"""The sizes of a model, as its config.json has them: all that a plan needs to know of it.

Knows nothing of torch and transformers, and reads no weights: `jamak plan` runs where neither is
installed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigError
from workers.model.configuration import WHOLE, language, read_config, tower

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of a weight: half a byte, a byte for each block of 64, and 4 bytes for 256 of those (double
quantisation of the constants, QLoRA, arxiv.org/abs/2305.14314, section 3)."""


@dataclass(frozen=True)
class Geometry:
    """Of a LLaVA-NeXT-Video checkpoint."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    head_norms: bool
    """Each head's queries and keys are normed."""
    intermediate: int
    vocabulary: int
    tied: bool
    """The head's weights are those of the embedding."""
    context: int
    """Positions, RoPE scaling included."""
    rope: str
    """The kind of its scaling."""
    vision_hidden: int
    vision_layers: int
    """Those that are used: the last is not."""
    vision_layers_held: int
    vision_intermediate: int
    image_size: int
    patch_size: int
    pool_stride: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Geometry":
        """`config`: what config.json holds, which may leave out what is a default.

        Raises:
            ConfigError: a value is missing or no size, or a part is of a kind that is not known.
        """
        try:
            text, vision = language(config), tower(config)
            whole = {**WHOLE, **config}
            hidden, heads = _size(text, "hidden_size"), _size(text, "num_attention_heads")
            layers = _size(vision, "num_hidden_layers")
            chosen = whole["vision_feature_layer"]
            context, rope = context_of(text)
            return cls(
                hidden=hidden,
                layers=_size(text, "num_hidden_layers"),
                heads=heads,
                kv_heads=_size(text, "num_key_value_heads", heads),
                head_size=_size(text, "head_dim", hidden // heads),
                head_norms=text.get("model_type") == "qwen3",
                intermediate=_size(text, "intermediate_size"),
                vocabulary=_size(text, "vocab_size"),
                # as transformers has it: one of the two suffices
                tied=bool(whole["tie_word_embeddings"] or text.get("tie_word_embeddings")),
                context=context,
                rope=rope,
                vision_hidden=_size(vision, "hidden_size"),
                vision_layers=chosen if chosen >= 0 else layers + 1 + chosen,
                vision_layers_held=layers,
                vision_intermediate=_size(vision, "intermediate_size"),
                image_size=_size(vision, "image_size"),
                patch_size=_size(vision, "patch_size"),
                pool_stride=_size(whole, "spatial_pool_stride"),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"config.json does not say how large the model is: {error}",
                cure="Use a llava-hf checkpoint, saved by save_pretrained.",
            ) from error

    @classmethod
    def read(cls, directory: Path) -> "Geometry":
        """Raises ConfigError: there is none, it cannot be read, or it is of another model."""
        return cls.from_config(read_config(directory))

    def tokens_per_frame(self, pool_stride: int) -> int:
        return (self.image_size // self.patch_size // pool_stride) ** 2

    @property
    def kv_values(self) -> int:
        """Of a token, in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size

    @property
    def language_weights(self) -> int:
        """Of the linear layers, those that 4 bits are for."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_size
        return self.layers * self.hidden * (attention + 3 * self.intermediate)

    @property
    def embedding_weights(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def other_weights(self) -> int:
        """Embedding, head, vision tower and projector."""
        embeddings = self.embedding_weights * (1 if self.tied else 2)
        return embeddings + self._vision(self.vision_layers_held) + self._projector

    @property
    def _projector(self) -> int:
        return (self.vision_hidden + self.hidden) * self.hidden

    @property
    def patches(self) -> int:
        """And the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def _vision(self, layers: int) -> int:
        layer = 4 * self.vision_hidden + 2 * self.vision_intermediate
        pixels = 3 * self.patch_size**2
        return self.vision_hidden * (layers * layer + pixels + self.patches)

    def weight_bytes(self, number_bytes: int, *, quantized: bool) -> float:
        """Args:
        number_bytes: of each number that is not in 4 bits.
        """
        language = NF4_BYTES if quantized else number_bytes
        return self.language_weights * language + self.other_weights * number_bytes

    def step_bytes(self, number_bytes: int, *, quantized: bool) -> float:
        """Weights that are read for one token of every row: the head, not the embedding."""
        language = NF4_BYTES if quantized else number_bytes
        return self.language_weights * language + self.embedding_weights * number_bytes

    def adapter_bytes(self, rank: int, number_bytes: int) -> int:
        """One adapter: all linear layers of the language model, and a projector of its own."""
        attention = 4 * self.hidden + 2 * (self.heads + self.kv_heads) * self.head_size
        mlp = 3 * (self.hidden + self.intermediate)
        return number_bytes * (self.layers * rank * (attention + mlp) + self._projector)

    def prompt_flops(self, tokens: int) -> float:
        """Of a prompt in the language model; each token sees those before it."""
        seen = 4 * self.layers * self.heads * self.head_size * tokens**2 / 2
        return 2 * self.language_weights * tokens + seen

    def frame_flops(self, pool_stride: int) -> float:
        """Of a frame in the layers of the vision tower that are used, and in the projector."""
        patches = self.patches
        linear = 2 * self._vision(self.vision_layers) * patches
        seen = 4 * self.vision_layers * self.vision_hidden * patches**2
        return linear + seen + 2 * self._projector * self.tokens_per_frame(pool_stride)

    def frame_bytes(self, number_bytes: int) -> int:
        """Of a frame on its way through the vision tower."""
        values = 5 * self.vision_hidden + 2 * self.vision_intermediate
        return self.patches * values * number_bytes

    def token_bytes(self, number_bytes: int) -> int:
        """Of a token on its way through a layer of the language model."""
        return (8 * self.hidden + 3 * self.intermediate) * number_bytes


def _size(part: Mapping[str, Any], name: str, otherwise: int | None = None) -> int:
    """Raises ValueError: it is none; where it is not said at all, `otherwise` counts."""
    value = part.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}, which is no size")
    return value


UNFIXED = ("dynamic", "longrope")
"""Kinds of RoPE scaling by which a text depends on how long those before it or beside it are."""


def context_of(text: Mapping[str, Any]) -> tuple[int, str]:
    """Positions that the language model can tell apart, and the kind of its RoPE scaling.

    transformers 5 writes `rope_parameters` where older versions wrote `rope_scaling`.
    """
    positions = int(text["max_position_embeddings"])
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    if kind == "default":
        return positions, kind
    factor = float(scaling.get("factor") or 1.0)
    original = scaling.get("original_max_position_embeddings")
    # With a stated original length, max_position_embeddings may be the scaled one already.
    return max(positions, math.floor((original or positions) * factor)), kind


def _llava(text: dict[str, Any]) -> Geometry:
    """With CLIP ViT-L/14 at 336 pixels, as all published ones have it."""
    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "intermediate_size": 4096,
        "image_size": 336,
        "patch_size": 14,
    }
    return Geometry.from_config({"text_config": text, "vision_config": vision})


KNOWN: dict[str, Geometry] = {
    # lmsys/vicuna-7b-v1.5, with the vocabulary of llava-hf/LLaVA-NeXT-Video-7B-hf: three new tokens
    # more, up to a multiple of 64 (transformers, convert_llava_next_video_weights_to_hf.py).
    "vicuna-7b": _llava(
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "intermediate_size": 11008,
            "vocab_size": 32064,
            "max_position_embeddings": 4096,
        }
    ),
    # NousResearch/Nous-Hermes-2-Yi-34B, likewise, as in llava-hf/LLaVA-NeXT-Video-34B-hf.
    "yi-34b": _llava(
        {
            "hidden_size": 7168,
            "num_hidden_layers": 60,
            "num_attention_heads": 56,
            "num_key_value_heads": 8,
            "intermediate_size": 20480,
            "vocab_size": 64064,
            "max_position_embeddings": 4096,
        }
    ),
    # Qwen/Qwen3-8B; there is no published checkpoint of ours with it.
    "qwen3-8b": _llava(
        {
            "model_type": "qwen3",
            "hidden_size": 4096,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 12288,
            "vocab_size": 151936,
            "max_position_embeddings": 40960,
        }
    ),
}
"""By a short name, from the model pages on huggingface.co."""

HUB: dict[str, str] = {
    "llava-hf/LLaVA-NeXT-Video-7B-hf": "vicuna-7b",
    "llava-hf/LLaVA-NeXT-Video-7B-DPO-hf": "vicuna-7b",
    "llava-hf/LLaVA-NeXT-Video-34B-hf": "yi-34b",
    "llava-hf/LLaVA-NeXT-Video-34B-DPO-hf": "yi-34b",
}
"""Id on the hub -> which of them."""

SYLLABLES: dict[str, float] = {"vicuna-7b": 3.15, "qwen3-8b": 2.18}
"""Short name -> tokens that a Korean syllable takes at most (workers/model/syllables.py), with the
tokenizers of Llama 2 and of Qwen3."""
IN_BYTES = 3.5
"""Of a tokenizer that is not known here: a syllable has three bytes, and there are spaces. Numbers
and names may take more, and a worker, which asks its own, then plans with that."""
