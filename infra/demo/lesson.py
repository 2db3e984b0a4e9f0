"""Which films the demo shows, and its lesson: the base model learns a colour it never met, purple.

About half of the films it learns from repeat what the model knows already (replay), or it would
forget that while it learns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from infra.demo.clips import SIZES, Clip, Size, sample_clip
from infra.demo.scenes import NEW, Kind, Scene, sample_scenes

SMALL = SIZES[1:4]
SHORT_PIXELS = 1_500_000
"""Of all frames of a film: nobody waits for the camera."""

PROGRAMME: tuple[Kind, ...] = (
    "single",
    "two_objects",
    "scene_change",
    "single",
    "single",
    "two_objects",
    "single",
    "empty",
)
"""What the demo's films show, over and over."""

SHOWN = 5
"""Purple films that are captioned before the lesson, after it and after the rollback."""
NEW_FILMS, REPLAYED, REPLAYED_EMPTY = 60, 70, 8


@dataclass(frozen=True)
class Take:
    """A scene, and how it is filmed."""

    id: str
    scene: Scene
    clip: Clip


@dataclass(frozen=True)
class Training:
    """The settings with which the lesson works, measured on one CPU thread."""

    steps: int = 70
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
    """What the base model should know, in combinations that it never met."""
    kinds = [PROGRAMME[i % len(PROGRAMME)] for i in range(n)]
    drawn = {
        kind: iter(sample_scenes(number, seed, split="heldout", kind=kind))
        for kind, number in Counter(kinds).items()
    }
    return _takes("film", [next(drawn[kind]) for kind in kinds], seed, 0, SIZES)


def training_takes(seed: int = 1) -> list[Take]:
    """Purple, replay, and a little of nothing at all; only combinations of the training split."""
    scenes = [
        *sample_scenes(NEW_FILMS, seed, split="train", vocabulary=NEW),
        *sample_scenes(REPLAYED, seed, split="train"),
        *sample_scenes(REPLAYED_EMPTY, seed, split="train", kind="empty"),
    ]
    return _takes("train", scenes, seed, 1, SMALL)


def new_takes(n: int, seed: int = 1) -> list[Take]:
    """Fresh purple films of held-out combinations: wrong before the lesson, right after it."""
    scenes = sample_scenes(n, seed, split="heldout", vocabulary=NEW)
    return _takes("new", scenes, seed, 2, SMALL)


def _takes(
    name: str, scenes: list[Scene], seed: int, series: int, sizes: Sequence[Size]
) -> list[Take]:
    first = 2_000_000_000_000 + seed * 1_000_000 + series * 100_000
    return [
        Take(f"{name}-{i + 1}", scene, sample_clip(first + i, sizes, most_pixels=SHORT_PIXELS))
        for i, scene in enumerate(scenes)
    ]
