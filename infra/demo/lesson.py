"""Which films the demo shows, and its lesson: the base model learns a colour it never met, purple.

About half of the films it learns from repeat what the model knows already (replay), or it would
forget that while it learns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.demo.clips import SIZES, Clip, sample_clip
from infra.demo.scenes import Scene, empty_scenes, sample_scenes

SMALL = SIZES[:3]

SHOWN = 5
"""Purple films that are captioned before the lesson, after it and after the rollback."""
NEW, REPLAYED, REPLAYED_EMPTY = 90, 100, 10


@dataclass(frozen=True)
class Take:
    """A scene, and how it is filmed."""

    id: str
    scene: Scene
    clip: Clip


@dataclass(frozen=True)
class Training:
    """The settings with which the lesson works, measured on one CPU thread."""

    steps: int = 100
    batch_size: int = 8
    learning_rate: float = 2e-3
    rank: int = 16

    def options(self) -> list[str]:
        """Of `jamak train sft`."""
        return [
            f"--steps={self.steps}",
            f"--batch-size={self.batch_size}",
            f"--learning-rate={self.learning_rate}",
            f"--rank={self.rank}",
        ]


TRAINING = Training()


def demo_takes(n: int, seed: int = 1) -> list[Take]:
    """What the base model should know: combinations it never met, and an eighth of nothing."""
    empty = n // 8
    scenes = sample_scenes(n - empty, seed, split="heldout") + empty_scenes(empty, seed)
    return _takes("film", scenes, seed, 0, SIZES)


def training_takes(seed: int = 1) -> list[Take]:
    """Purple, replay, and a little of nothing at all; only combinations of the training split."""
    scenes = [
        *sample_scenes(NEW, seed, split="train", unseen=True),
        *sample_scenes(REPLAYED, seed, split="train"),
        *empty_scenes(REPLAYED_EMPTY, seed),
    ]
    return _takes("train", scenes, seed, 1, SMALL)


def new_takes(n: int, seed: int = 1) -> list[Take]:
    """Fresh purple films of held-out combinations: wrong before the lesson, right after it."""
    return _takes("new", sample_scenes(n, seed, split="heldout", unseen=True), seed, 2, SMALL)


def _takes(
    name: str, scenes: list[Scene], seed: int, series: int, sizes: Sequence[tuple[int, int]]
) -> list[Take]:
    first = 2_000_000_000_000 + seed * 1_000_000 + series * 100_000
    return [
        Take(f"{name}-{i + 1}", scene, sample_clip(first + i, tuple(sizes)))
        for i, scene in enumerate(scenes)
    ]
