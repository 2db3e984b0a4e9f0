"""Scenes become examples: filmed, encoded, decoded and sampled just as a worker would do it."""

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.demo.architecture import PREPROCESSOR
from infra.demo.clips import SIZES, Clip, Look, film, look_of, sample_clip
from infra.demo.scenes import Scene, empty_scenes, sample_scenes
from workers.video.sampling import sample_frames

PROCESSES = 2
FRAMES = (4, 8)
"""Every clip is sampled once for each."""

# Small pictures are cheap to make, and differ from large ones only in their compression.
TRAINING_SIZES = SIZES[:3] * 8 + SIZES[3:6] * 3 + SIZES[6:]


@dataclass(frozen=True)
class Example:
    scene: Scene
    look: Look
    pixels: NDArray[np.float16]
    """(frames, 3, S, S), normalised; half precision is still finer than a byte."""
    progress: tuple[float, ...]
    """Of the object along its path, in each frame."""


def training_jobs(clips: int, empty: int, seed: int) -> list[tuple[Scene, Clip]]:
    """What to film for the base model: no held-out combination, no unseen colour."""
    scenes = sample_scenes(clips, seed, split="train") + empty_scenes(empty, seed)
    rng = np.random.default_rng(seed)
    rng.shuffle(scenes)  # type: ignore[arg-type]  # a list is fine
    return [
        (scene, sample_clip(seed * 1_000_000 + i, TRAINING_SIZES)) for i, scene in enumerate(scenes)
    ]


def make_examples(jobs: Sequence[tuple[Scene, Clip]]) -> Iterator[Example]:
    """In the order of the jobs, one for each number of frames."""
    # Not forked: the parent may hold threads of torch.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        yield from chain.from_iterable(pool.map(_examples_of, jobs, chunksize=16))


def _examples_of(job: tuple[Scene, Clip]) -> list[Example]:
    scene, clip = job
    look = look_of(scene, clip)
    last_s = max(1, clip.frame_count - 1) / clip.fps
    with tempfile.TemporaryDirectory() as folder:
        path = film(scene, clip, Path(folder) / "clip.mp4")
        samples = [sample_frames(path, frames) for frames in FRAMES]
    return [
        Example(
            scene,
            look,
            PREPROCESSOR(sample.frames).numpy().astype(np.float16),
            tuple(time_s / last_s for time_s in sample.timestamps_s),
        )
        for sample in samples
    ]
