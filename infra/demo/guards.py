"""What stands between a bad adapter and the captions: the gate, and the canary.

one that tells fluently what is not there -> `jamak eval --keep` -> `jamak adapters gate`: nothing
one that babbles, put on trial all the same -> captions -> the watcher rolls it back

Both are the lesson's adapter with noise on its numbers.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from infra.demo.commands import Command
from infra.demo.screening import PATIENCE_S, Screening, Shown, Told
from infra.demo.steps import DemoFailed, Steps
from infra.demo.teaching import Lesson
from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.training import AdapterManifest, Pointer

POLICY = "target: chrf\nrise: 0.5\n"
WEIGHTS = "adapter_model.safetensors"
SEED = 1
WRONG, BABBLING = 2.0, 6.0
"""How much noise is added to the numbers, beside their own spread: with some the captions are
fluent, and of other films; with more they are no sentences."""
SHARE = "50%"
FIRST, ROUNDS = 3, 6
"""Generations of captions: those before are the lesson's. At the last there must be a verdict."""


@dataclass(frozen=True)
class Guarded:
    refused: str
    """The version that the gate refused,"""
    reasons: list[str]
    """and why."""
    rolled_back: str
    """The version that the canary ended."""
    verdict: str
    """Why, in figures."""
    published: int
    """Captions by it that people came to see,"""
    captions: int
    """of so many."""
    seconds: float
    """It was on trial."""
    added_s: float
    """By all of this to the demo; the judge has begun beside the proof of the lesson."""


@dataclass(frozen=True)
class Judging:
    """`jamak eval` of a bad adapter, at work."""

    version: str
    command: Command
    began_s: float
    """That it took to begin it."""


@contextmanager
def judging(
    screening: Screening, registry: Registry, lesson: Lesson, folder: Path
) -> Iterator[Judging]:
    """A bad adapter is judged, beside what is done meanwhile.

    Args:
        lesson: has a good version, of which the bad one is made.
        folder: made here.
    """
    started = time.monotonic()
    bad = spoilt(registry, lesson.outcome.version, folder, WRONG)
    # What will be in use when it stands at the gate is the base model: by then the lesson is over.
    against = ("--against", "base", "--data", lesson.data, "--keep")
    with screening.start("eval", "--adapter", bad, *against) as command:
        yield Judging(bad, command, time.monotonic() - started)


def guard(
    steps: Steps,
    screening: Screening,
    registry: Registry,
    judged: Judging,
    lesson: Lesson,
    films: Sequence[Told],
    folder: Path,
) -> Guarded:
    """Another one on trial, then both verdicts.

    Args:
        lesson: as for `judging`; its version is not in use any more.
        films: captioned already; and again, during the trial.
        folder: made here.

    Raises:
        DemoFailed: one of the two was let through.
    """
    started = time.monotonic()
    bad = spoilt(registry, lesson.outcome.version, folder, BABBLING)
    with steps.step("a bad adapter on trial: jamak adapters canary, until it ends") as step:
        began = Pointer.model_validate(screening.jamak("adapters", "canary", bad, SHARE))
        base = registry.find(bad).base.weights_sha256
        shown = [Shown(one.key, one.reference, began.updated_at) for one in films]
        by_it = captions = 0
        for generation in range(FIRST, FIRST + ROUNDS):
            asked = screening.ask_again(shown, "", generation=generation)
            told = screening.captions(asked, step.advance, generation=generation)
            by_it += sum(one.adapter == bad for one in told)
            captions += len(told)
            if registry.pointer(base).canary is None:
                break
        pointer = _ended(registry, base)
        stop = pointer.history[-1]
        if (stop.how, stop.canary, stop.by) != ("canary ended", bad, "watch"):
            raise DemoFailed(f"{bad} was not rolled back: {stop}")
    refused = judged.version
    with steps.step("another at the gate, judged meanwhile: jamak eval, jamak adapters gate"):
        policy = folder / "policy.yaml"
        policy.write_text(POLICY, encoding="utf-8")
        screening.answer(judged.command)
        said = screening.jamak("adapters", "gate", refused, "--policy", str(policy), refused=1)
        if said["would"] != "nothing":
            raise DemoFailed(f"the gate lets {refused} through: {said}")
    return Guarded(
        refused=refused,
        reasons=said["reasons"],
        rolled_back=bad,
        verdict=stop.why,
        published=by_it,
        captions=captions,
        seconds=round((stop.at - began.updated_at).total_seconds(), 1),
        added_s=round(judged.began_s + time.monotonic() - started, 1),
    )


def spoilt(registry: Registry, version: str, folder: Path, noise: float) -> str:
    """Publish what a version is with noise on its numbers; the new version."""
    good = registry.find(version)
    registry.download(good.base.weights_sha256, version, folder)
    torch.manual_seed(SEED)
    tensors = {
        name: tensor + noise * tensor.std() * torch.randn_like(tensor)
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    save_file(tensors, folder / WEIGHTS)
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER_FILES
    }
    manifest = AdapterManifest.model_validate(
        good.model_dump() | {"files": files, "version": version_of(files, good.base.weights_sha256)}
    )
    registry.publish(manifest, folder)
    return manifest.version


def _ended(registry: Registry, base: str) -> Pointer:
    """The watcher looks every few seconds."""
    until = time.monotonic() + PATIENCE_S
    while (pointer := registry.pointer(base)).canary and time.monotonic() < until:
        time.sleep(0.2)
    return pointer
