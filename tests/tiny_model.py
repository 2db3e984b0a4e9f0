"""A random LLaVA-NeXT-Video of the real class, small enough to load in a blink.

All widths are multiples of 64, as bitsandbytes needs them for 4-bit weights.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
)

from tests.tokenizers import character_tokenizer

IMAGE_SIZE = 48


def make_checkpoint(folder: Path, *, pool_stride: int = 2, **text: Any) -> Path:
    """A directory as `save_pretrained` makes it; `text` overrides the language model's config."""
    tokenizer = character_tokenizer()
    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=IMAGE_SIZE,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            **{
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 1024,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
                **text,
            }
        ),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        spatial_pool_stride=pool_stride,
        image_grid_pinpoints=[[48, 96], [96, 48], [96, 96]],
    )
    torch.manual_seed(0)
    model = LlavaNextVideoForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.model.language_model.parameters():
            if parameter.ndim == 2:  # louder than the default: the answers then differ by the input
                parameter.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": IMAGE_SIZE},
                "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711],
            }
        )
    )
    return folder
