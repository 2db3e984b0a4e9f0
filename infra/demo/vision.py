"""Stage 1: the vision tower learns, from single frames, what is in them and where.

What it learns with is thrown away afterwards: linear heads on the pooled features, which are what
the language model will be given. Each cell says which colours and shapes are near its centre, in
proportion, and of the nearest object its paint, place and size; with 2x2 and with 3x3 pooling.

Place is asked for in the picture, not in the cell: a language model can hardly see which cell a
token comes from. And of one object, not of all: it must be able to ask where the red one was.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from infra.demo.architecture import ATTENTION, IMAGE_SIZE, PATCH_SIZE, WIDTH, frame_features, pooled
from infra.demo.dataset import ABSENT, UNNAMED, Dataset, normalised
from infra.demo.optimise import Report, optimise, reduced_precision
from infra.demo.scenes import BACKGROUNDS, COLOURS, SHAPES

STEPS, BATCH, RATE = 5500, 96, 2e-3
STRIDES = (2, 3)
"""Of the pooling."""

NEAR = 0.2
"""From there on a cell must know the paint, place and size of its nearest object."""

SIZES = {
    "background": len(BACKGROUNDS),
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "both": len(COLOURS) * len(SHAPES),
    "paint": 3,
    "place": 2,
    "radius": 1,
}
Readings = dict[str, torch.Tensor]
"""Name -> (frames, cells, size)."""


def train_vision(model: Any, dataset: Dataset, seed: int, report: Report) -> None:
    """The tower of `model` is trained in place."""
    tower, heads = model.model.vision_tower, nn.Linear(WIDTH, sum(SIZES.values()))
    rng = np.random.default_rng(seed)

    def loss_of_batch() -> torch.Tensor:
        rows = np.sort(rng.integers(len(dataset.pixels), size=BATCH))
        pixels = torch.from_numpy(normalised(dataset.pixels[rows]))
        with reduced_precision():
            features = frame_features(model, pixels).float()
        return vision_loss(heads, features, dataset.labels[rows])

    model.set_attn_implementation(ATTENTION)
    tower.train()
    parameters = [*tower.parameters(), *heads.parameters()]
    optimise("vision tower", parameters, loss_of_batch, steps=STEPS, rate=RATE, report=report)
    tower.eval()


def vision_loss(
    heads: nn.Linear, features: torch.Tensor, labels: np.ndarray[Any, Any]
) -> torch.Tensor:
    """(frames, patches, width), and what the frames show."""
    loss = torch.zeros(())
    for stride in STRIDES:
        cells = pooled(features, stride)
        parts = heads(cells).split(list(SIZES.values()), dim=-1)
        found = dict(zip(SIZES, parts, strict=True))
        loss = loss + _loss_of(found, _truth(labels, IMAGE_SIZE // PATCH_SIZE // stride))
    return loss


def _loss_of(found: Readings, truth: Readings) -> torch.Tensor:
    background = truth["background"].expand(-1, found["background"].shape[1])
    loss = functional.cross_entropy(found["background"].flatten(0, 1), background.flatten())
    for name in ("colour", "shape", "both"):
        errors = functional.binary_cross_entropy_with_logits(
            found[name], truth[name], reduction="none"
        ).sum(-1)
        asked = torch.ones_like(errors) if name == "shape" else truth["named"]
        loss = loss + (errors * asked).sum() / asked.sum()
    # Colour as numbers too: names alone would fold every colour onto the nearest one that has a
    # name, and nothing could ever be taught a new one.
    for name, weight in (("paint", 3.0), ("place", 10.0), ("radius", 30.0)):
        errors = (found[name] - truth[name]).square().sum(-1)
        loss = loss + weight * (errors * truth["near"]).sum() / truth["near"].sum()
    return loss


def _truth(labels: np.ndarray[Any, Any], side: int) -> Readings:
    """For a grid of side x side cells."""
    near = _nearness(torch.from_numpy(labels["place"]), side)  # (frames, objects, cells)
    shapes, colours = torch.from_numpy(labels["shape"]), torch.from_numpy(labels["colour"])
    near = near * (shapes != ABSENT)[..., None]
    named = ~((shapes != ABSENT) & (colours == UNNAMED)).any(1)

    def spread(index: torch.Tensor, n: int) -> torch.Tensor:
        """Names (frames, objects) -> their shares (frames, cells, n)."""
        names = functional.one_hot(index.long().clamp(min=0), n).float()
        return torch.einsum("foc,fon->fcn", near, names).clamp(max=1)

    nearest = near.argmax(1)  # (frames, cells)

    def of_nearest(values: torch.Tensor) -> torch.Tensor:
        """(frames, objects, size) -> (frames, cells, size)."""
        return values.gather(1, nearest[..., None].expand(-1, -1, values.shape[-1]))

    return {
        "background": torch.from_numpy(labels["background"]).long()[:, None],
        "shape": spread(shapes, len(SHAPES)),
        "colour": spread(colours, len(COLOURS)),
        "both": spread(colours * len(SHAPES) + shapes, SIZES["both"]),
        "paint": of_nearest(torch.from_numpy(labels["paint"])),
        "place": of_nearest(torch.from_numpy(labels["place"])),
        "radius": of_nearest(torch.from_numpy(labels["radius"])[..., None]),
        "near": (near.amax(1) > NEAR).float(),
        "named": named[:, None].expand(-1, side * side).float(),
    }


def _nearness(places: torch.Tensor, side: int) -> torch.Tensor:
    """(frames, objects, 2) -> (frames, objects, cells): bilinear weights, 1 at a cell's centre."""
    centres = (torch.arange(side) + 0.5) / side
    inside = places.clamp(0.5 / side, 1 - 0.5 / side)
    along = (1 - (inside[..., None] - centres).abs() * side).clamp(min=0)  # (f, o, axis, side)
    x, y = along[:, :, 0], along[:, :, 1]
    return (y[..., :, None] * x[..., None, :]).flatten(2)
