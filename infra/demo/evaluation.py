"""How good demo models are, on fresh films, through the whole path that a worker takes:
file -> PyAV -> uniform sampling -> preprocessing -> visual tokens -> generate.

Every film is shown to every model, with each card class's number of frames.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from infra.demo.captions import caption, parse
from infra.demo.clips import SIZES, Clip, Size, render, sample_clip, write_film
from infra.demo.scenes import BACKGROUNDS, Kind, Scene, freeze, reverse, sample_scenes
from shared.cards import CLASSES, GPU_CLASSES
from shared.messages import Decoding
from workers.caption.captioner import EngineCaptioner
from workers.model.loading import LoadedModel, load_model
from workers.model.prompt import BASE_PROMPT
from workers.progress import Progress
from workers.video.sampling import Frames, sample_frames

FRAMES = tuple(CLASSES[name].frames for name in GPU_CLASSES)
"""Of the card classes, from the fewest."""
FEWEST, DEFAULT = FRAMES[0], FRAMES[1]
SHARES: dict[Kind, float] = {
    "single": 0.5,
    "two_objects": 0.2,
    "scene_change": 0.2,
    "empty": 0.1,
}
"""Of the films."""
CONTROLLED = 0.3
"""Share of the films of one object that are shown again, changed."""
PROCESSES = 2
ATTRIBUTES = ("background", "colour", "shape", "motion")
DECODING = Decoding(max_new_tokens=96)


@dataclass(frozen=True)
class Job:
    """A film to ask about."""

    scene: Scene
    clip: Clip
    controls: bool


@dataclass(frozen=True)
class Answer:
    """What one model said of one film."""

    question: str
    """"plain", "pool3", "nf4", or the name of a control."""
    frames: int
    """Sampled at the most."""
    scene: Scene
    """What is shown."""
    clip: Clip
    said: str
    seconds: float

    @property
    def exact(self) -> bool:
        return self.said == caption(self.scene)

    def motion_is_right(self) -> bool:
        seen = parse(self.said)
        return seen is not None and motions(seen) == motions(self.scene)

    def objects_are_right(self) -> bool:
        seen = parse(self.said)
        return seen is not None and seen.figures == self.scene.figures


@dataclass(frozen=True)
class Quality:
    """Shares from 0 to 1. One object, `FEWEST` frames and 2x2 pooling, unless it says otherwise."""

    n: int
    """Films; each that shows an object shows a combination that no training film shows."""
    exact: float
    """The caption is the expected sentence, letter by letter."""
    two_objects: float
    scene_change: float
    """With `DEFAULT` frames."""
    empty: float
    pool3: float
    nf4_identical: float
    """With the language model in 4 bits: the same caption, right or wrong."""
    by_frames: dict[str, float]
    by_resolution: dict[str, float]
    by_codec: dict[str, float]
    by_attribute: dict[str, float]
    by_kind: dict[str, dict[str, float]]
    """Kind of scene -> frames -> share."""
    reversed: float
    """Played backwards: the opposite motion is told."""
    still: float
    """The first frame repeated: it is told that nothing moves."""
    other_background: float
    """The same film before another background: the same object is told."""
    confusion: dict[str, dict[str, int]]
    """Attribute -> "truth > answer" -> how often."""
    ms_per_video: float
    """Median of decoding, preprocessing and generating."""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def motions(scene: Scene) -> tuple[str, ...]:
    return tuple(figure.motion for part in scene.parts for figure in part.figures)


def jobs_of(n: int, seed: int, sizes: Sequence[Size] = SIZES) -> list[Job]:
    """About n films of held-out scenes, of every kind."""
    jobs = []
    for kind, share in SHARES.items():
        scenes = sample_scenes(round(n * share), seed, split="heldout", kind=kind)
        controlled = round(len(scenes) * CONTROLLED) if kind == "single" else 0
        for i, scene in enumerate(scenes):
            clip = sample_clip(_clip_seed(seed, len(jobs)), sizes)
            jobs.append(Job(scene, clip, i < controlled))
    return jobs


def _clip_seed(seed: int, i: int) -> int:
    """Apart from every training clip's, which are 1,000,000 times the seed and a little more."""
    return 1_000_000_000_000 + seed * 1_000_000 + i


class Eyewitness:
    """Asks one model about films."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._captioner = EngineCaptioner(loaded, CLASSES["h100"])

    def ask(self, film: Path, frames: int = FEWEST) -> str:
        return self.tell(sample_frames(film, frames).frames)

    def tell(self, frames: Frames) -> str:
        return self._captioner.caption(frames, BASE_PROMPT, DECODING, Progress()).text


@dataclass(frozen=True)
class Witnesses:
    """One checkpoint, as it can be loaded."""

    plain: Eyewitness
    pool3: Eyewitness
    nf4: Eyewitness

    @classmethod
    def of(cls, directory: Path) -> "Witnesses":
        load = partial(load_model, directory, model_id="jamak-demo")
        loaded = load(), load(pool_stride=3), load(quantized=True)
        return cls(*map(Eyewitness, loaded))


def interview(
    models: Mapping[str, Witnesses], job: Job, frames: Sequence[int] = FRAMES
) -> dict[str, list[Answer]]:
    """Film it once, and ask every model."""
    pictures = render(job.scene, job.clip)
    answers: dict[str, list[Answer]] = {name: [] for name in models}

    def ask(question: str, scene: Scene, shown: Frames, counts: Sequence[int]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"film{job.clip.suffix}"
            write_film(path, shown, job.clip.fps, job.clip.codec)
            for count in counts:
                for name, witnesses in models.items():
                    started = time.perf_counter()
                    said = witnesses.plain.ask(path, count)
                    seconds = time.perf_counter() - started
                    answers[name].append(Answer(question, count, scene, job.clip, said, seconds))
            if question == "plain" and scene.kind == "single":
                for name, witnesses in models.items():
                    for how in ("pool3", "nf4"):
                        said = getattr(witnesses, how).ask(path, FEWEST)
                        answers[name].append(Answer(how, FEWEST, scene, job.clip, said, 0.0))

    ask("plain", job.scene, pictures, frames)
    if job.controls:
        frozen = np.repeat(pictures[:1], len(pictures), axis=0)
        other = _elsewhere(job.scene)
        ask("reversed", reverse(job.scene), pictures[::-1], (FEWEST,))
        ask("still", freeze(job.scene), frozen, (FEWEST,))
        ask("other background", other, render(other, job.clip), (FEWEST,))
    return answers


def interviews(
    directories: Sequence[Path],
    jobs: Sequence[Job],
    frames: Sequence[int] = FRAMES,
    *,
    processes: int = PROCESSES,
) -> Iterator[dict[str, list[Answer]]]:
    """Of each film, in order: the name of each checkpoint's folder -> its answers.

    Each process loads every checkpoint; a single one is this one.
    """
    if processes == 1:
        _load(directories, frames)
        yield from map(_interview, jobs)
        return
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_load,
        initargs=(directories, frames),
    ) as pool:
        yield from pool.map(_interview, jobs)


_loaded: tuple[dict[str, Witnesses], Sequence[int]]
"""Of a process of the pool."""


def _load(directories: Sequence[Path], frames: Sequence[int]) -> None:
    global _loaded
    torch.set_num_threads(1)  # one caption at a time of a tiny model: more would only wait
    _loaded = {directory.name: Witnesses.of(directory) for directory in directories}, frames


def _interview(job: Job) -> dict[str, list[Answer]]:
    models, frames = _loaded
    return interview(models, job, frames)


def _elsewhere(scene: Scene) -> Scene:
    after = (BACKGROUNDS.index(scene.background) + 2) % len(BACKGROUNDS)
    return replace(scene, background=BACKGROUNDS[after])


def summary(answers: Sequence[Answer]) -> Quality:
    """Of one model."""
    plain = [one for one in answers if one.question == "plain"]
    singles = [one for one in plain if one.scene.kind == "single"]
    few = [one for one in singles if one.frames == FEWEST]
    by_kind: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for one in plain:
        by_kind[one.scene.kind][str(one.frames)].append(one.exact)
    kinds = {kind: _shares(by_frames) for kind, by_frames in by_kind.items()}

    def asked(question: str) -> list[Answer]:
        return [one for one in answers if one.question == question]

    return Quality(
        n=len({one.clip.seed for one in plain}),
        exact=kinds["single"][str(FEWEST)],
        two_objects=kinds["two_objects"][str(FEWEST)],
        scene_change=kinds["scene_change"][str(DEFAULT)],
        empty=kinds["empty"][str(FEWEST)],
        pool3=_share(one.exact for one in asked("pool3")),
        nf4_identical=_share(
            one.said == other.said for one, other in zip(few, asked("nf4"), strict=True)
        ),
        by_frames=kinds["single"],
        by_resolution=_grouped((one.clip.resolution, one.exact) for one in few),
        by_codec=_grouped((one.clip.codec, one.exact) for one in few),
        by_attribute=_grouped(pair for one in few for pair in _attributes_right(one)),
        by_kind=kinds,
        reversed=_share(one.motion_is_right() for one in asked("reversed")),
        still=_share(one.motion_is_right() for one in asked("still")),
        other_background=_share(one.objects_are_right() for one in asked("other background")),
        confusion=confusion(few),
        ms_per_video=round(1000 * statistics.median(one.seconds for one in few), 1),
    )


def confusion(answers: Sequence[Answer]) -> dict[str, dict[str, int]]:
    """Of films of one object."""
    pairs: dict[str, Counter[str]] = {name: Counter() for name in ATTRIBUTES}
    for answer in answers:
        truth, seen = _attributes(answer.scene), _attributes(parse(answer.said))
        for name in ATTRIBUTES:
            pairs[name][f"{truth[name]} > {seen[name]}"] += 1
    return {name: dict(counted) for name, counted in pairs.items()}


def _attributes(scene: Scene | None) -> dict[str, str]:
    if scene is None or scene.kind != "single":
        return dict.fromkeys(ATTRIBUTES, "(other)")
    return {"background": scene.background, **asdict(scene.figures[0])}


def _attributes_right(answer: Answer) -> Iterator[tuple[str, bool]]:
    truth, seen = _attributes(answer.scene), _attributes(parse(answer.said))
    return ((name, truth[name] == seen[name]) for name in ATTRIBUTES)


def _grouped(pairs: Iterator[tuple[str, bool]]) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for name, right in pairs:
        groups[name].append(right)
    return _shares(groups)


def _shares(groups: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    return {name: _share(right) for name, right in groups.items()}


def _share(right: Iterable[bool]) -> float:
    found = list(right)
    return round(statistics.fmean(found), 4) if found else 0.0


def misses(answers: Sequence[Answer], most: int) -> list[Answer]:
    """Of films as they are; what a control gets wrong is no film of its own."""
    wrong = (one for one in answers if one.question in ("plain", "pool3") and not one.exact)
    return list(islice(wrong, most))
