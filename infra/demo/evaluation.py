"""How good a demo model is, on fresh films, through the whole path that a worker takes:
MP4 file -> PyAV -> uniform sampling -> preprocessing -> visual tokens -> generate.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from infra.demo.clips import SIZES, Clip, render, sample_clip, write_mp4
from infra.demo.scenes import (
    Scene,
    caption,
    empty_scenes,
    freeze,
    parse,
    reverse,
    sample_scenes,
)
from shared.cards import CLASSES
from shared.messages import Decoding
from workers.caption.captioner import GenerateCaptioner
from workers.model.loading import LoadedModel
from workers.model.prompt import BASE_PROMPT
from workers.progress import Progress
from workers.video.sampling import Frames, sample_frames

FRAMES = 4
"""What the smallest card class samples; all figures are for it unless they say otherwise."""
MORE_FRAMES = 8
ATTRIBUTES = ("background", "colour", "shape", "motion")


@dataclass(frozen=True)
class Quality:
    """Shares from 0 to 1."""

    n: int
    """Films with an object; every combination of attributes is held out from training."""
    exact: float
    """The caption is the expected sentence, letter by letter."""
    by_resolution: dict[str, float]
    by_attribute: dict[str, float]
    by_frames: dict[str, float]
    """Sampled frames -> exact."""
    empty: float
    """Films of nothing: the caption says so."""
    reversed: float
    """Films of a motion, played backwards: the caption tells the opposite motion."""
    still: float
    """Films of the first frame of a motion: the caption says that nothing moves."""
    ms_per_video: float
    """Median of decoding, preprocessing and generating."""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Eyewitness:
    """Asks one model about films."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._captioner = GenerateCaptioner(loaded, CLASSES["cpu"])
        self.seconds: list[float] = []

    def ask(self, film: Path, frames: int = FRAMES) -> str:
        started = time.perf_counter()
        sample = sample_frames(film, frames)
        answer = self._captioner.caption(
            sample.frames, BASE_PROMPT, Decoding(max_new_tokens=32), Progress()
        )
        if frames == FRAMES:
            self.seconds.append(time.perf_counter() - started)
        return answer.text


def measure(
    loaded: LoadedModel,
    *,
    n: int,
    seed: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    on_film: Callable[[], None] = lambda: None,
) -> Quality:
    """Film `n` held-out scenes and n // 5 empty ones, and ask the model about all of them.

    A fifth of the films with a motion is asked about again, reversed and frozen.

    Args:
        on_film: called after each of the `films_in(n)` films.
    """
    witness = Eyewitness(loaded)
    scenes = sample_scenes(n, seed, split="heldout")
    hits: dict[str, list[bool]] = defaultdict(list)

    def judge(kind: str, said: str, truth: Scene) -> None:
        hits[kind].append(said == caption(truth))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        for i, scene in enumerate([*scenes, *empty_scenes(n // 5, seed)]):
            clip = sample_clip(_clip_seed(seed, i), tuple(sizes))
            frames = render(scene, clip)
            said = _told(witness, path, frames, clip)
            if scene.empty:
                judge("empty", said, scene)
            else:
                judge("exact", said, scene)
                judge(clip.resolution, said, scene)
                judge("more frames", witness.ask(path, MORE_FRAMES), scene)
                seen = parse(said)
                for name in ATTRIBUTES:
                    hits[name].append(
                        seen is not None and getattr(seen, name) == getattr(scene, name)
                    )
                if scene.motion != "still" and len(hits["reversed"]) < n // 5:
                    backwards, frozen = frames[::-1], np.repeat(frames[:1], len(frames), axis=0)
                    judge("reversed", _told(witness, path, backwards, clip), reverse(scene))
                    judge("still", _told(witness, path, frozen, clip), freeze(scene))
            on_film()
    share = {kind: round(statistics.fmean(found), 4) for kind, found in hits.items()}
    return Quality(
        n=n,
        exact=share["exact"],
        by_resolution={
            name: share[name] for name in (f"{w}x{h}" for w, h in sizes) if name in share
        },
        by_attribute={name: share[name] for name in ATTRIBUTES},
        by_frames={str(FRAMES): share["exact"], str(MORE_FRAMES): share["more frames"]},
        empty=share["empty"],
        reversed=share["reversed"],
        still=share["still"],
        ms_per_video=round(1000 * statistics.median(witness.seconds), 1),
    )


def films_in(n: int) -> int:
    return n + n // 5


def _clip_seed(seed: int, i: int) -> int:
    """Apart from every training clip's, which are 1,000,000 times the seed and a little more."""
    return 1_000_000_000_000 + seed * 1_000_000 + i


def _told(witness: Eyewitness, path: Path, frames: Frames, clip: Clip) -> str:
    write_mp4(path, frames, clip.fps)
    return witness.ask(path)
