"""The demo's lesson: the base model learns a colour that it never met, purple.

Which films to train on, which to show and to judge by. Half of the training films repeat what the
model knows already (replay), or it would forget that while it learns.
"""

from dataclasses import dataclass

from infra.demo.clips import SIZES, Clip, sample_clip
from infra.demo.scenes import Scene, empty_scenes, sample_scenes

SMALL = SIZES[:3]

NEW, REPLAYED, REPLAYED_EMPTY = 150, 140, 10


@dataclass(frozen=True)
class Take:
    """One film of the lesson."""

    id: str
    scene: Scene
    clip: Clip


@dataclass(frozen=True)
class Training:
    """The settings with which the lesson works, measured on one CPU thread."""

    learning_rate: float = 3e-3
    steps: int = 100
    batch_size: int = 8
    rank: int = 16
    alpha: int = 32


def training_takes(seed: int = 1) -> list[Take]:
    """Purple, replay, and a little of nothing at all; only combinations of the training split."""
    scenes = [
        *sample_scenes(NEW, seed, split="train", unseen=True),
        *sample_scenes(REPLAYED, seed, split="train"),
        *empty_scenes(REPLAYED_EMPTY, seed),
    ]
    return _takes("train", scenes, seed, 0)


def new_takes(n: int, seed: int = 1) -> list[Take]:
    """Fresh purple films of held-out combinations: wrong before the lesson, right after it."""
    return _takes("new", sample_scenes(n, seed, split="heldout", unseen=True), seed, 1)


def known_takes(n: int, seed: int = 1) -> list[Take]:
    """Fresh films of what the base model knows: right before the lesson, and after it."""
    return _takes("known", sample_scenes(n, seed, split="heldout"), seed, 2)


def _takes(name: str, scenes: list[Scene], seed: int, series: int) -> list[Take]:
    first = 2_000_000_000_000 + seed * 1_000_000 + series * 100_000
    return [
        Take(f"{name}-{i:04}", scene, sample_clip(first + i, SMALL))
        for i, scene in enumerate(scenes)
    ]
