"""Scenes become films, and films what a worker would make of them: the frames that it samples.

All is kept as arrays in one folder, so that several trainings can read it at once.
"""

import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from infra.demo.architecture import CLIP_MEAN, CLIP_STD, PREPROCESSOR
from infra.demo.captions import caption, parse
from infra.demo.clips import SIZES, Clip, film, sample_clip, still
from infra.demo.scenes import (
    BACKGROUNDS,
    COLOURS,
    KNOWN,
    SHAPES,
    Kind,
    Scene,
    Vocabulary,
    sample_scenes,
)
from infra.demo.staging import Look, any_colour, staged
from workers.video.sampling import sample_frames

PROCESSES = 2
FEW = 200
"""Fewer films are drawn before another process has imported what it needs."""

FRAMES = {4: 0.4, 8: 0.3, 16: 0.18, 32: 0.12}
"""Frames sampled of a film -> how often. Short films have fewer than asked for."""

# Small pictures are cheap to make, and differ from large ones only in their compression.
TRAINING_SIZES = (SIZES[0], *SIZES[1:4] * 4, *SIZES[4:7])
TRAINING_PIXELS = 2_500_000
"""Of all frames of a film."""
STILL_SIDE = 96

UNNAMED, ABSENT = -1, -1

LABELS = np.dtype(
    [
        ("background", "i4"),
        ("colour", "i4", 2),  # of each object; UNNAMED if it has no name
        ("shape", "i4", 2),  # ABSENT if there is no such object
        ("place", "f4", (2, 2)),  # x, y in sides of the picture
        ("radius", "f4", 2),
        ("paint", "f4", (2, 3)),  # RGB, 0 to 1
    ]
)
"""What one frame shows."""


@dataclass(frozen=True)
class Curriculum:
    """How much of what a model is shown."""

    seed: int
    vocabulary: Vocabulary = KNOWN
    films: dict[Kind, int] = field(
        default_factory=lambda: {
            "empty": 600,
            "single": 4500,
            "two_objects": 4500,
            "scene_change": 4500,
        }
    )
    stills: int = 10_000
    """Pictures of objects in colours that need no name."""

    def jobs(self) -> list[tuple[Scene, Clip, int]]:
        """What to film, how, and how many frames to sample of it. No held-out combination."""
        scenes = [
            scene
            for kind, n in self.films.items()
            for scene in sample_scenes(
                n, self.seed, split="train", kind=kind, vocabulary=self.vocabulary
            )
        ]
        rng = np.random.default_rng(self.seed)
        rng.shuffle(scenes)  # type: ignore[arg-type]  # a list is fine
        counts = rng.choice(list(FRAMES), size=len(scenes), p=list(FRAMES.values()))
        return [
            (
                scene,
                sample_clip(self.seed * 1_000_000 + i, TRAINING_SIZES, most_pixels=TRAINING_PIXELS),
                int(count),
            )
            for i, (scene, count) in enumerate(zip(scenes, counts, strict=True))
        ]


@dataclass(frozen=True)
class Film:
    """A film in the dataset."""

    scene: Scene
    first: int
    """Where its frames begin among all."""
    frames: int

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + self.frames)


@dataclass(frozen=True)
class Dataset:
    films: list[Film]
    pixels: NDArray[np.uint8]
    """(frames, 3, S, S): those of all films, then the stills. Not normalised."""
    labels: NDArray[np.void]
    """(frames,) of LABELS."""

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        index = json.loads((folder / "films.json").read_text(encoding="utf-8"))
        return cls(
            [Film(_scene(one["caption"]), one["first"], one["frames"]) for one in index],
            np.load(folder / "pixels.npy", mmap_mode="r"),
            np.load(folder / "labels.npy"),
        )


def make_dataset(curriculum: Curriculum, folder: Path) -> None:
    """Film, sample and keep everything that the curriculum names."""
    films: list[Film] = []
    pixels: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.void]] = []
    first = 0
    jobs = curriculum.jobs()
    sampled = track(_filmed(jobs), "films", total=len(jobs))
    for (scene, _, _), (frames, shown) in zip(jobs, sampled, strict=True):
        films.append(Film(scene, first, len(frames)))
        first += len(frames)
        pixels.append(frames)
        labels.append(shown)
    for frame, shown in track(_stills(curriculum), "stills", total=curriculum.stills):
        pixels.append(frame)
        labels.append(shown)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pixels.npy", np.concatenate(pixels))
    np.save(folder / "labels.npy", np.concatenate(labels))
    index = [
        {"caption": caption(one.scene), "first": one.first, "frames": one.frames} for one in films
    ]
    (folder / "films.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(frames, 3, S, S) as the vision tower takes them."""
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (pixels.astype(np.float32) / 255.0 - mean) / std


def _bytes_of(normal: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Back from the preprocessor's output, exactly: bytes are what it came from."""
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return np.rint((normal * std + mean) * 255.0).astype(np.uint8)


Sampled = tuple[NDArray[np.uint8], NDArray[np.void]]
"""Frames and labels."""


def _filmed(jobs: Sequence[tuple[Scene, Clip, int]]) -> Iterator[Sampled]:
    if len(jobs) < FEW:
        yield from map(_sampled, jobs)
        return
    # Not forked: the parent may hold threads of torch.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        yield from pool.map(_sampled, jobs, chunksize=16)


def _sampled(job: tuple[Scene, Clip, int]) -> Sampled:
    scene, clip, count = job
    with tempfile.TemporaryDirectory() as folder:
        sample = sample_frames(film(scene, clip, Path(folder) / "film"), count)
    staging = staged(scene, clip.seed)
    last_s = max(1, clip.frame_count - 1) / clip.fps
    shown = []
    for time_s in sample.timestamps_s:
        part, progress = staging.at(time_s / last_s)
        shown.append(_label(scene.parts[part], staging.looks[part], progress))
    return _bytes_of(PREPROCESSOR(sample.frames).numpy()), np.concatenate(shown)


def _stills(curriculum: Curriculum) -> Iterator[Sampled]:
    rng = np.random.default_rng(curriculum.seed)
    kinds: tuple[Kind, ...] = ("single", "two_objects")
    for n, kind in enumerate(kinds):
        scenes = sample_scenes(
            curriculum.stills // len(kinds),
            curriculum.seed + 1,
            split="train",
            kind=kind,
            vocabulary=curriculum.vocabulary,
        )
        for i, scene in enumerate(scenes):
            (look,) = staged(scene, curriculum.seed * 1_000_000 + i).looks
            figures = tuple(replace(figure, colour=any_colour(rng)) for figure in look.figures)
            look, progress = replace(look, figures=figures), float(rng.random())
            frame = still(look, STILL_SIDE, n * curriculum.stills + i, progress)
            label = _label(scene, look, progress)
            label["colour"] = UNNAMED
            yield _bytes_of(PREPROCESSOR(frame[None]).numpy()), label


def _label(scene: Scene, look: Look, progress: float) -> NDArray[np.void]:
    """(1,) of LABELS."""
    label = np.zeros(1, LABELS)
    label["background"] = BACKGROUNDS.index(scene.background)
    label["colour"], label["shape"] = UNNAMED, ABSENT
    for i, (figure, drawn) in enumerate(zip(scene.figures, look.figures, strict=True)):
        x, y, radius = drawn.at(progress)
        label["colour"][0, i] = COLOURS.index(figure.colour)
        label["shape"][0, i] = SHAPES.index(figure.shape)
        label["place"][0, i] = x, y
        label["radius"][0, i] = radius
        label["paint"][0, i] = drawn.colour
    return label


def _scene(text: str) -> Scene:
    scene = parse(text)
    if scene is None:
        raise ValueError(f"not a caption of ours: {text!r}")
    return scene
