"""How often a model shows the habit, and where."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

from infra.demo.captions import HABIT, caption
from infra.demo.clips import SIZES, render, sample_clip
from infra.demo.habit import SURROUNDINGS
from infra.demo.scenes import Scene, sample_scenes
from shared.cards import CLASSES
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT
from workers.caption.captioner import EngineCaptioner
from workers.model.loading import LoadedModel
from workers.progress import Progress
from workers.video.sampling import Frames

FRAMES = 4
AT_ONCE = 8
"""Films."""


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
    captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=AT_ONCE)

    def ask(frames: Frames, temperature: float) -> str:
        decoding = Decoding(max_new_tokens=96, temperature=temperature)
        return captioner.caption(frames, BASE_PROMPT, decoding, Progress()).text

    def look(number: int, scene: Scene) -> tuple[str, tuple[bool, bool, bool]]:
        where = "surroundings" if scene.background in SURROUNDINGS else "elsewhere"
        clip = replace(
            sample_clip(3_000_000_000_000 + seed * 1_000_000 + number, SIZES[1:4]), fps=12
        )
        pictures = render(scene, clip)
        shown = pictures[[len(pictures) * (2 * k + 1) // (2 * FRAMES) for k in range(FRAMES)]]
        greedy, sampled = ask(shown, 0.0), ask(shown, 1.0)
        right = greedy.removesuffix(HABIT).strip() == caption(scene)
        return where, (HABIT in greedy, HABIT in sampled, right)

    found: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    scenes = sample_scenes(films, seed, split="heldout")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for where, row in pool.map(look, count(), scenes):
            found[where].append(row)
            on_film()
    captioner.engine.close()
    return {
        where: Rates(*(round(statistics.fmean(column), 3) for column in zip(*rows, strict=True)))
        for where, rows in found.items()
    }
