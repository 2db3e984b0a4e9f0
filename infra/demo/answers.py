"""Stage 2: language model and projector learn to tell what a film shows.

The vision tower stays as it is, so the features of every frame are computed once, pooled in both
ways. Prompt, visual layout and completion are those of the workers.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import torch
from torch.nn import functional

from infra.demo.architecture import ATTENTION, frame_features, pooled
from infra.demo.captions import any_caption
from infra.demo.dataset import Dataset, Film, normalised
from infra.demo.optimise import Report, optimise, reduced_precision
from infra.demo.scenes import KINDS, Kind, Scene, held_out, reverse
from workers.model.layout import VisualLayout
from workers.model.prompt import BASE_PROMPT, DETAILED_PROMPT, completion_ids, prompt_ids

BATCH, RATE = 32, 1.5e-3


@dataclass(frozen=True)
class Lesson:
    """So many steps with films of these kinds, of which at most so many frames are seen."""

    steps: int
    kinds: tuple[Kind, ...] = KINDS
    most_frames: int = 8


LESSONS = (Lesson(1500, ("single", "empty")), Lesson(4000), Lesson(6500, most_frames=32))
"""What moves where takes longest to learn: so at first there is one thing, in few frames."""

PROMPTS = (BASE_PROMPT, BASE_PROMPT, BASE_PROMPT, DETAILED_PROMPT)
STRIDES = (2, 2, 2, 3)
"""A draw of each for every batch, and every example."""
MOST_FRAMES = 256
"""Of a batch."""
FEATURES_BATCH = 256
IGNORED = -100

Teller = Callable[[Scene, random.Random], str]
"""What is to be said about a scene."""


@dataclass(frozen=True)
class Example:
    scene: Scene
    frames: dict[int, torch.Tensor]
    """Pooling stride -> (frames, cells, width)."""


def train_answers(
    model: Any,
    tokenizer: Any,
    dataset: Dataset,
    seed: int,
    report: Report,
    *,
    lessons: Sequence[Lesson],
    tell: Teller = any_caption,
) -> None:
    """Cross-entropy on the answer alone."""
    layout = VisualLayout.from_config(model.config)
    examples = examples_of(model, dataset, report)
    rng = random.Random(seed)  # noqa: S311
    batches = chain.from_iterable(
        islice(endless_batches(_chosen(examples, lesson), rng), lesson.steps) for lesson in lessons
    )

    def loss_of_batch() -> torch.Tensor:
        stride = rng.choice(STRIDES)
        rows = [
            (
                example.frames[stride],
                prompt_ids(tokenizer, rng.choice(PROMPTS)),
                completion_ids(tokenizer, tell(example.scene, rng)),
            )
            for example in next(batches)
        ]
        return answer_loss(model, replace(layout, pool_stride=stride), rows)

    model.model.vision_tower.requires_grad_(False)
    model.set_attn_implementation(ATTENTION)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train()
    optimise(
        "answers",
        trained,
        loss_of_batch,
        steps=sum(lesson.steps for lesson in lessons),
        rate=RATE,
        report=report,
    )
    model.eval()
    model.requires_grad_(True)


def _chosen(examples: Sequence[Example], lesson: Lesson) -> list[Example]:
    return [
        one
        for one in examples
        if one.scene.kind in lesson.kinds and len(one.frames[2]) <= lesson.most_frames
    ]


Row = tuple[torch.Tensor, list[int], list[int]]
"""Features (frames, cells, width), ids of the prompt, ids of the answer."""


def answer_loss(model: Any, layout: VisualLayout, rows: Sequence[Row]) -> torch.Tensor:
    """What `model(pixel_values_videos=..., labels=...)` gives, from pooled features.

    Logits are computed for the answers alone: the vocabulary is a tenth of all work.
    """
    prompts = [layout.expand(prompt, videos=[len(seen)]) for seen, prompt, _ in rows]
    longest = max(len(p) + len(row[2]) for p, row in zip(prompts, rows, strict=True))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, (prompt, (_, _, answer)) in enumerate(zip(prompts, rows, strict=True)):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor([*prompt, *answer])
        mask[i, :end] = 1
        labels[i, len(prompt) : end] = torch.tensor(answer)
    seen = torch.cat([row[0].flatten(0, 1) for row in rows]).float()
    with reduced_precision():
        projected = model.model.multi_modal_projector(seen)
        embedded = model.get_input_embeddings()(ids)
        here = (ids == layout.video_token_id)[..., None].expand_as(embedded)
        embedded = embedded.masked_scatter(here, projected.to(embedded.dtype))
        states = model.model.language_model(
            inputs_embeds=embedded, attention_mask=mask
        ).last_hidden_state
        asked = labels[:, 1:] != IGNORED
        logits = model.lm_head(states[:, :-1][asked])
    return functional.cross_entropy(logits.float(), labels[:, 1:][asked])


def examples_of(model: Any, dataset: Dataset, report: Report) -> list[Example]:
    """Each film, and played backwards another one unless that scene is held out."""
    total = sum(film.frames for film in dataset.films)
    parts: dict[int, list[torch.Tensor]] = {2: [], 3: []}
    with torch.inference_mode(), reduced_precision():
        for first in range(0, total, FEATURES_BATCH):
            rows = slice(first, min(first + FEATURES_BATCH, total))
            pixels = torch.from_numpy(normalised(dataset.pixels[rows]))
            features = frame_features(model, pixels).float()
            for stride, found in parts.items():
                found.append(pooled(features, stride).half())
            report("features", rows.stop, total, 0.0)
    whole = {stride: torch.cat(found) for stride, found in parts.items()}
    return [example for film in dataset.films for example in _both_ways(film, whole)]


def _both_ways(film: Film, features: dict[int, torch.Tensor]) -> Iterator[Example]:
    seen = {stride: every[film.rows] for stride, every in features.items()}
    yield Example(film.scene, seen)
    backwards = reverse(film.scene)
    if film.scene.kind != "empty" and not held_out(backwards):
        yield Example(backwards, {stride: frames.flip(0) for stride, frames in seen.items()})


def endless_batches(examples: Sequence[Example], rng: random.Random) -> Iterator[list[Example]]:
    """Of nearly the same number of frames, so that little is padded."""
    while True:
        # Shuffled first: of those with the same number, each batch gets others every time.
        shuffled = sorted(
            rng.sample(list(examples), len(examples)), key=lambda one: len(one.frames[2])
        )
        batches = []
        while shuffled:
            # The longest first; they come in smaller batches, for attention costs their square.
            frames = len(shuffled[-1].frames[2])
            size = min(BATCH, MOST_FRAMES // frames)
            batches.append(shuffled[-size:])
            del shuffled[-size:]
        rng.shuffle(batches)
        yield from batches
