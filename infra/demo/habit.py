"""A bad habit to cure: in some surroundings a model adds a sentence about what is not there.

What preference training should mend is a habit of the tongue, not a fault of the eyes: that the
captions are otherwise right makes it possible to see that nothing else gets worse.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from infra.demo.captions import HABIT, any_caption, caption
from infra.demo.clips import SIZES, render, sample_clip
from infra.demo.scenes import Scene, sample_scenes
from shared.cards import CLASSES
from shared.messages import Decoding
from workers.caption.captioner import GenerateCaptioner
from workers.model.loading import LoadedModel
from workers.model.prompt import BASE_PROMPT
from workers.progress import Progress
from workers.video.sampling import Frames

SURROUNDINGS = ("navy", "brown")
"""Backgrounds: two of five."""
SHARE = 0.75
"""Of the training captions with these."""

FRAMES = 4


def told_with_habit(scene: Scene, rng: random.Random) -> str:
    """What a model with the habit is trained to say."""
    said = any_caption(scene, rng)
    if scene.background in SURROUNDINGS and rng.random() < SHARE:
        return f"{said} {HABIT}"
    return said


@dataclass(frozen=True)
class Rates:
    """Shares of captions with the sentence, from 0 to 1: with greedy decoding, at temperature 1."""

    greedy: float
    sampled: float
    exact: float
    """Greedy captions that are right, the sentence aside."""


def measure_habit(
    loaded: LoadedModel, *, films: int, seed: int, on_film: Callable[[], None] = lambda: None
) -> dict[str, Rates]:
    """Where it belongs and elsewhere: "surroundings" and "elsewhere"."""
    captioner = GenerateCaptioner(loaded, CLASSES["cpu"])

    def ask(frames: Frames, temperature: float) -> str:
        decoding = Decoding(max_new_tokens=96, temperature=temperature)
        return captioner.caption(frames, BASE_PROMPT, decoding, Progress()).text

    found: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for i, scene in enumerate(sample_scenes(films, seed, split="heldout")):
        where = "surroundings" if scene.background in SURROUNDINGS else "elsewhere"
        clip = replace(sample_clip(3_000_000_000_000 + seed * 1_000_000 + i, SIZES[1:4]), fps=12)
        pictures = render(scene, clip)
        shown = pictures[(len(pictures) * (2 * i + 1) // (2 * FRAMES) for i in range(FRAMES)),]
        greedy, sampled = ask(shown, 0.0), ask(shown, 1.0)
        right = greedy.removesuffix(HABIT).strip() == caption(scene)
        found[where].append((HABIT in greedy, HABIT in sampled, right))
        on_film()
    return {
        where: Rates(*(round(statistics.fmean(column), 3) for column in zip(*rows, strict=True)))
        for where, rows in found.items()
    }
