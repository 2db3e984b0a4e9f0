"""Models of true geometry and random weights, made on the device; and work for them.

Nothing is downloaded. The end token is never the likeliest, so that each caption is as long as it
was asked to be.
"""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    Qwen3Config,
)

from shared.messages import ModelIdentity
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.model.geometry import KNOWN, Geometry
from workers.model.layout import VisualLayout
from workers.model.loading import LoadedModel
from workers.model.preprocess import Preprocessor

LANGUAGE = {"vicuna-7b": LlamaConfig, "qwen3-8b": Qwen3Config}
BOS, EOS, PAD = 1, 2, 0
TEXT_TOKENS = 36
FILMS = 4
"""Different ones; captions of the same film cost what others do."""

TINY: dict[str, Geometry] = {
    name: replace(
        KNOWN[name],
        hidden=64,
        layers=2,
        heads=2,
        kv_heads=kv_heads,
        head_size=32,
        intermediate=128,
        vocabulary=512,
        vision_hidden=64,
        vision_layers=2,
        vision_layers_held=3,
        vision_intermediate=128,
        image_size=56,
    )
    for name, kv_heads in (("vicuna-7b", 2), ("qwen3-8b", 1))
}
"""For --quick."""


def config_of(name: str, geometry: Geometry) -> LlavaNextVideoConfig:
    side = geometry.image_size
    return LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=geometry.vision_hidden,
            intermediate_size=geometry.vision_intermediate,
            num_hidden_layers=geometry.vision_layers_held,
            num_attention_heads=geometry.vision_hidden // 64,
            image_size=side,
            patch_size=geometry.patch_size,
        ),
        text_config=LANGUAGE[name](
            hidden_size=geometry.hidden,
            intermediate_size=geometry.intermediate,
            num_hidden_layers=geometry.layers,
            num_attention_heads=geometry.heads,
            num_key_value_heads=geometry.kv_heads,
            head_dim=geometry.head_size,
            vocab_size=geometry.vocabulary,
            max_position_embeddings=geometry.context,
            tie_word_embeddings=geometry.tied,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        ),
        video_token_index=geometry.vocabulary - 2,
        image_token_index=geometry.vocabulary - 1,
        spatial_pool_stride=geometry.pool_stride,
        image_grid_pinpoints=[[side, 2 * side], [2 * side, side], [2 * side, 2 * side]],
    )


class Tokens:
    """In the place of a tokenizer: the model's numbers mean nothing."""

    eos_token_id, pad_token_id = EOS, PAD

    def decode(self, tokens: Any, **_: Any) -> str:
        return " ".join(map(str, tokens))


def random_model(
    name: str, geometry: Geometry, device: torch.device, dtype: torch.dtype
) -> LoadedModel:
    config = config_of(name, geometry)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaNextVideoForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.requires_grad_(False).eval()
    model.lm_head.weight[EOS] = 0
    side = geometry.image_size
    return LoadedModel(
        model=model,
        tokenizer=Tokens(),
        preprocessor=Preprocessor(side, side, (0.5,) * 3, (0.5,) * 3),
        layout=VisualLayout.from_config(config),
        identity=ModelIdentity(id=name, revision="random", weights_sha256="0" * 64),
        device=device,
        dtype=dtype,
        context=geometry.context,
        ends=frozenset([EOS]),
    )


def can_quantise() -> bool:
    return find_spec("bitsandbytes") is not None


def quantise(loaded: LoadedModel) -> None:
    """Linear layers of the language model become 4-bit ones, as loading makes them."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for module in [*loaded.model.model.language_model.modules()]:
        for short, layer in [*module.named_children()]:
            if type(layer) is not torch.nn.Linear:
                continue
            small = Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=False,
                compute_dtype=loaded.dtype,
                quant_type="nf4",
                device="meta",
            )
            weight = layer.weight.data.cpu()
            small.weight = Params4bit(
                weight, requires_grad=False, quant_type="nf4", compress_statistics=True
            )
            setattr(module, short, small.to(loaded.device))


@dataclass(frozen=True)
class Work:
    frames: int
    new_tokens: tuple[int, int]
    """At least, at most."""

    @property
    def mean(self) -> float:
        return sum(self.new_tokens) / 2


def requests_of(loaded: LoadedModel, work: Work, count: int, **fields: Any) -> list[Request]:
    """Two that follow each other have as many new tokens together as any other two."""
    generator = torch.Generator().manual_seed(work.frames)
    side, (least, most) = loaded.preprocessor.crop, work.new_tokens
    films = [torch.randn(work.frames, 3, side, side, generator=generator) for _ in range(FILMS)]
    made: list[Request] = []
    for number in range(count):
        if number % 2 == 0:
            length = int(torch.randint(least, most + 1, (1,), generator=generator))
        else:
            length = least + most - length
        text = torch.randint(3, 400, (TEXT_TOKENS,), generator=generator).tolist()
        ids = loaded.layout.expand([BOS, loaded.layout.video_token_id, *text], videos=[work.frames])
        pixels = films[number % FILMS] if work.frames else None
        made.append(Request(tuple(ids), pixels, samplings=(Sampling(length),), **fields))
    return made
