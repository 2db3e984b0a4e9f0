"""The tiny model before its training: LLaVA-NeXT-Video in every part, only small.

Configuration keys and their meaning are those of the real checkpoints; widths are multiples of 64,
so that 4-bit loading works as it does there.
"""

import math
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from infra.demo.captions import HABIT, phrasings
from infra.demo.scenes import COLOURS, KINDS, Vocabulary, sample_scenes
from workers.model.preprocess import Preprocessor
from workers.model.prompt import BASE_PROMPT, DETAILED_PROMPT

Backbone = Literal["llama", "qwen3"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)

IMAGE_SIZE = 72
PATCH_SIZE = 12
WIDTH = 128
VISION_LAYERS = 4
"""One more than is used: the features are those before the last layer."""
TEXT_LAYERS = 4
TEXT_MLP = 384
POSITIONS = 1024

ATTENTION = "eager"
"""While training: on a CPU, with so few tokens, twice as fast as the backward pass of SDPA's."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

PREPROCESSOR = Preprocessor(IMAGE_SIZE, IMAGE_SIZE, CLIP_MEAN, CLIP_STD)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text can be written, the demo's own words cost a token each."""
    everything = Vocabulary(COLOURS)
    corpus = [
        " " + text
        for kind in KINDS
        for scene in sample_scenes(1000, 0, split="train", kind=kind, vocabulary=everything)
        for text in phrasings(scene)
    ]
    corpus += [BASE_PROMPT, DETAILED_PROMPT, " " + HABIT] * 20
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        [text.replace("<video>", "") for text in corpus],
        trainers.BpeTrainer(
            vocab_size=768,
            special_tokens=["<pad>", "<s>", "</s>", "<image>", "<video>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    start = ("<s>", bpe.token_to_id("<s>"))
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[start]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "<video>"],
        model_max_length=POSITIONS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_config(tokenizer: PreTrainedTokenizerFast, backbone: Backbone) -> LlavaNextVideoConfig:
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=WIDTH,
    )
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": TEXT_MLP,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    text = LlamaConfig(**sizes) if backbone == "llama" else Qwen3Config(**sizes)
    side = IMAGE_SIZE
    return LlavaNextVideoConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[
            [side, 2 * side],
            [2 * side, side],
            [2 * side, 2 * side],
            [3 * side, side],
            [side, 3 * side],
        ],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        spatial_pool_mode="average",
        spatial_pool_stride=2,
        tie_word_embeddings=True,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, backbone: Backbone
) -> LlavaNextVideoForConditionalGeneration:
    model = LlavaNextVideoForConditionalGeneration(build_config(tokenizer, backbone))
    initialise(model)
    settings = model.generation_config
    settings.bos_token_id = tokenizer.bos_token_id
    settings.eos_token_id = tokenizer.eos_token_id
    settings.pad_token_id = tokenizer.pad_token_id
    return model


def initialise(model: nn.Module) -> None:
    """1/sqrt(fan-in), as suits narrow layers; the usual 0.02 was found for wide ones."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            # What is added to the residual stream starts small.
            residual = name.endswith(("o_proj", "out_proj", "down_proj", "fc2"))
            nn.init.normal_(module.weight, std=(0.5 if residual else 1.0) / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            positions = "position_embedding" in name
            nn.init.normal_(module.weight, std=0.1 if positions else 1 / math.sqrt(WIDTH))


def preprocessor_config() -> dict[str, Any]:
    """The same keys as the real checkpoints' file; 3 = bicubic."""
    return {
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": IMAGE_SIZE},
    }


def frame_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(frames, 3, S, S) -> (frames, patches, width): what is pooled and then projected."""
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    return states[model.config.vision_feature_layer][:, 1:]


def pooled(features: torch.Tensor, stride: int) -> torch.Tensor:
    """(frames, patches, width) -> (frames, fewer, width), averaged stride x stride."""
    frames, patches, width = features.shape
    side = math.isqrt(patches)
    plane = features.transpose(1, 2).reshape(frames, width, side, side)
    return nn.functional.avg_pool2d(plane, stride).flatten(2).transpose(1, 2)
