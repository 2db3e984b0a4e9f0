"""Models and work of the engine's benchmark.

Random weights, in two sizes, and films for the shipped demo model. With random weights each request
has a number of new tokens that is reached exactly: the end token is never the likeliest.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
)

from infra.demo.architecture import initialise, preprocessor_config
from infra.demo.clips import Clip, render
from infra.demo.evaluation import jobs_of
from workers.model.loading import LoadedModel
from workers.model.prompt import BASE_PROMPT, prompt_ids
from workers.video.shape import Frames

DEMO = Path(__file__).parent.parent / "infra" / "demo" / "models" / "llama"
TEXT_TOKENS = 36
FILM = {"width": 96, "height": 72, "fps": 12, "duration_s": 1.5}


@dataclass(frozen=True)
class Geometry:
    """Of a random model."""

    image: int
    """Pixels; with patches of 14 and 2x2 pooling."""
    vision_width: int
    vision_layers: int
    width: int
    mlp: int
    layers: int
    heads: int


LARGE = Geometry(336, 256, 8, 512, 1408, 12, 8)
"""46 M parameters: heavy enough that weights count, and not the calls around them."""
SMALL = Geometry(56, 64, 3, 64, 128, 2, 2)
"""For --quick."""


@dataclass(frozen=True)
class Work:
    """One caption to make."""

    frames: Frames
    ids: tuple[int, ...]
    """Each visual token one of them."""
    new_tokens: int


def random_checkpoint(folder: Path, geometry: Geometry) -> Path:
    """A directory as `save_pretrained` makes it."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    side = geometry.image
    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=geometry.vision_width,
            intermediate_size=4 * geometry.vision_width,
            num_hidden_layers=geometry.vision_layers,
            num_attention_heads=geometry.vision_width // 64 or 1,
            image_size=side,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=geometry.width,
            intermediate_size=geometry.mlp,
            num_hidden_layers=geometry.layers,
            num_attention_heads=geometry.heads,
            num_key_value_heads=geometry.heads,
            vocab_size=len(tokenizer),
            max_position_embeddings=4096,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=[[side, 2 * side], [2 * side, side], [2 * side, 2 * side]],
    )
    torch.manual_seed(0)
    model = LlavaNextVideoForConditionalGeneration(config)
    initialise(model)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = {
        **preprocessor_config(),
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def random_work(
    loaded: LoadedModel, count: int, frames: int, new_tokens: tuple[int, int]
) -> list[Work]:
    """Two that follow each other have as many new tokens together as any other two."""
    rng = random.Random(frames)  # noqa: S311  # no secret
    noise = np.random.default_rng(frames)
    least, most = new_tokens
    side, layout, tokenizer = loaded.preprocessor.crop, loaded.layout, loaded.tokenizer
    lengths: list[int] = []
    while len(lengths) < count:
        length = rng.randint(least, most)
        lengths += [length, least + most - length]
    made = []
    for length in lengths[:count]:
        text = [rng.randrange(5, len(tokenizer)) for _ in range(TEXT_TOKENS)]
        ids = [tokenizer.bos_token_id, layout.video_token_id, *text]
        shown = noise.integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
        made.append(Work(shown, tuple(layout.expand(ids, videos=[frames])), length))
    return made


def films(loaded: LoadedModel, count: int) -> list[Work]:
    """Of 4 frames and of 8, in turn."""
    ids = prompt_ids(loaded.tokenizer, BASE_PROMPT)
    made = []
    for number, job in enumerate(jobs_of(max(count, 10), 2026)[:count]):
        pictures = render(job.scene, Clip(seed=job.clip.seed, **FILM))
        frames = 4 + 4 * (number % 2)
        at = np.linspace(0, len(pictures) - 1, frames).round().astype(int)
        expanded = loaded.layout.expand(ids, videos=[frames])
        made.append(Work(pictures[at], tuple(expanded), 96))
    return made
