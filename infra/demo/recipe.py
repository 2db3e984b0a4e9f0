"""The demo's model from nothing: films, a vision tower that sees, a language model that tells.

    python -m infra.demo.recipe --out DIR [--seed N]

Less than twenty minutes on two cores. Two stages after the films: the vision tower learns from
single frames what is in them (its heads are thrown away), then language model and projector learn
to answer, with the prompt, the visual tokens and the collation that workers use.
"""

import argparse
import json
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import nn
from torch.nn import functional

from infra.demo.architecture import (
    PREPROCESSOR,
    WIDTH,
    build_model,
    build_tokenizer,
    preprocessor_config,
    video_features,
)
from infra.demo.clips import Clip, any_colour, look_of, still_frame
from infra.demo.dataset import Example, make_examples, training_jobs
from infra.demo.scenes import (
    BACKGROUNDS,
    BASE_COLOURS,
    SHAPES,
    caption,
    held_out,
    reverse,
    sample_scenes,
)
from workers.model.loading import load_model
from workers.model.prompt import BASE_PROMPT, DETAILED_PROMPT
from workers.train.collate import Encoder, SftCollator

CLIPS, EMPTY_CLIPS = 4500, 300
STILLS = 8000
VISION_STEPS, VISION_BATCH, VISION_RATE = 2000, 64, 2e-3
STEPS, BATCH, RATE = 3000, 16, 1.2e-3
IGNORED = -100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the new model")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    started = time.monotonic()
    jobs = training_jobs(CLIPS, EMPTY_CLIPS, arguments.seed)
    examples = list(track(make_examples(jobs), "films", total=2 * len(jobs)))
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    train_vision(model, examples, arguments.seed)
    save(model, tokenizer, arguments.out)
    train_answers(model, arguments.out, examples, arguments.seed)
    save(model, tokenizer, arguments.out)
    print(f"{arguments.out}: {time.monotonic() - started:.0f} s", file=sys.stderr)


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """What `from_pretrained` loads, in bf16; the model itself stays in fp32."""
    deepcopy(model).bfloat16().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    text = json.dumps(preprocessor_config(), indent=2) + "\n"
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (directory / name).write_text(text)


# Stage 1: the vision tower.


class Heads(nn.Module):
    """What a frame shows, read off the mean of its features. Thrown away after stage 1."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = {"colour": len(BASE_COLOURS) + 1, "shape": len(SHAPES) + 1}
        self.sizes |= {"background": len(BACKGROUNDS), "paint": 3, "centre": 2}
        self.read = nn.Linear(WIDTH, sum(self.sizes.values()))

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """(frames, patches, width) -> name -> (frames, size)."""
        parts = self.read(features.mean(1)).split(list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))


Labels = dict[str, torch.Tensor]


def train_vision(model: Any, examples: Sequence[Example], seed: int) -> None:
    pixels, labels = frames_and_labels(examples, seed)
    tower, heads = model.model.vision_tower, Heads()
    # The last layer is not used: no gradient, no step.
    parameters = [*tower.parameters(), *heads.parameters()]
    rng = np.random.default_rng(seed)

    def loss_of_batch() -> torch.Tensor:
        rows = torch.from_numpy(rng.integers(len(pixels), size=VISION_BATCH))
        return vision_loss(
            heads(video_features(model, pixels[rows].float())),
            {name: values[rows] for name, values in labels.items()},
        )

    optimise(parameters, loss_of_batch, VISION_STEPS, VISION_RATE, "vision tower")


def vision_loss(found: Labels, labels: Labels) -> torch.Tensor:
    loss = torch.zeros(())
    for name in ("colour", "shape", "background"):
        loss = loss + functional.cross_entropy(found[name], labels[name], ignore_index=IGNORED)
    # Colour and place as numbers too: names alone would fold every colour onto the nearest one
    # that has a name, and nothing could ever be taught a new one.
    present = labels["shape"] < len(SHAPES)
    for name in ("paint", "centre"):
        error = (found[name] - labels[name])[present]
        loss = loss + 10.0 * error.square().mean()
    return loss


def frames_and_labels(examples: Sequence[Example], seed: int) -> tuple[torch.Tensor, Labels]:
    """All frames of the films, and stills in colours that need no name."""
    colours, shapes, backgrounds = list(BASE_COLOURS), list(SHAPES), list(BACKGROUNDS)
    frames: list[np.ndarray] = []
    rows: list[tuple[int, int, int, tuple[float, ...], tuple[float, ...]]] = []
    for example in examples:
        scene, look = example.scene, example.look
        for frame, progress in zip(example.pixels, example.progress, strict=True):
            frames.append(frame)
            rows.append(
                (
                    len(colours) if scene.empty else colours.index(scene.colour),
                    len(shapes) if scene.empty else shapes.index(scene.shape),
                    backgrounds.index(scene.background),
                    look.colour or (0.0, 0.0, 0.0),
                    look.centre(progress),
                )
            )
    rng = np.random.default_rng(seed)
    scenes = sample_scenes(STILLS, seed + 1, split="train")
    for i, scene in enumerate(track(scenes, "stills")):
        look = replace(look_of(scene, Clip(seed * 1_000_000 + i)), colour=any_colour(rng))
        frames.append(PREPROCESSOR(still_frame(look, 96, i)[None])[0].numpy().astype(np.float16))
        rows.append(
            (
                IGNORED,
                shapes.index(scene.shape),
                backgrounds.index(scene.background),
                look.colour,
                look.start,
            )
        )
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    names = ("colour", "shape", "background", "paint", "centre")
    return torch.from_numpy(np.stack(frames)), dict(zip(names, columns, strict=True))


# Stage 2: language model and projector.


def train_answers(model: Any, directory: Path, examples: Sequence[Example], seed: int) -> None:
    """Cross-entropy on the answer alone; the vision tower stays as it is.

    It sees well enough by now, and only its cost would go on.

    Args:
        directory: of this very model, for its tokenizer, layout and preprocessing.
    """
    loaded = replace(load_model(directory, model_id="jamak-demo"), model=model)
    clips = {str(i): torch.from_numpy(example.pixels) for i, example in enumerate(examples)}
    # Played backwards a clip is another example, unless that scene is held out.
    clips |= {
        f"{i} backwards": clips[str(i)].flip(0)
        for i, example in enumerate(examples)
        if not held_out(reverse(example.scene))
    }
    captions = {str(i): caption(example.scene) for i, example in enumerate(examples)}
    captions |= {
        f"{i} backwards": caption(reverse(example.scene)) for i, example in enumerate(examples)
    }
    collate = SftCollator(Encoder(loaded, clips))
    rng = random.Random(seed)  # noqa: S311
    batches = endless_batches(clips, rng)

    def loss_of_batch() -> torch.Tensor:
        batch = collate(
            [
                {
                    "video": name,
                    "prompt": BASE_PROMPT if rng.random() < 0.75 else DETAILED_PROMPT,
                    "completion": captions[name],
                }
                for name in next(batches)
            ]
        )
        batch["pixel_values_videos"] = batch["pixel_values_videos"].float()
        return model(**batch).loss

    model.model.vision_tower.requires_grad_(False)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimise(trained, loss_of_batch, STEPS, RATE, "answers")
    model.eval()


def endless_batches(clips: Mapping[str, torch.Tensor], rng: random.Random) -> Iterator[list[str]]:
    """Names of clips that have the same number of frames, so that nothing is padded for long."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, pixels in clips.items():
        names[len(pixels)].append(name)
    while True:
        batches = []
        for group in names.values():
            rng.shuffle(group)
            batches += [group[i : i + BATCH] for i in range(0, len(group) - BATCH + 1, BATCH)]
        rng.shuffle(batches)
        yield from batches


def optimise(
    parameters: list[nn.Parameter],
    loss_of_batch: Callable[[], torch.Tensor],
    steps: int,
    rate: float,
    name: str,
) -> None:
    """AdamW with warm-up, cosine decay and clipping."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = 100

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in track(range(steps), name):
        optimizer.zero_grad()
        loss_of_batch().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


if __name__ == "__main__":
    main()
