"""The adapter step: the caption worker learns a colour that its model never met, and unlearns it.

wrong captions -> `jamak train sft` -> the worker picks the adapter up -> right captions
-> `jamak adapters rollback` -> the old captions again
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from infra.demo.lesson import SHOWN, TRAINING, new_takes, training_takes
from infra.demo.screening import Screening, Shown, Told
from infra.demo.steps import DemoFailed, Steps
from infra.local.stack import LocalStack
from shared.bucket.registry import Registry
from shared.training import TrainOutcome

PREFIX = "purple/"
DATA = "datasets/purple/manifest.jsonl"


@dataclass(frozen=True)
class Lesson:
    """A training, and films about what it teaches."""

    shown: list[Shown]
    before: list[Told]
    """What was said of them without it."""
    outcome: TrainOutcome
    data: str
    """The manifest that it was taught with."""
    picked_up_s: float
    """From the move of the pointer to the worker's word that it uses the adapter."""


@dataclass(frozen=True)
class Proof:
    """What is said of these films now."""

    lesson: Lesson
    after: list[Told]
    """With the adapter."""
    rolled_back: list[Told]
    """When it is not in use any more."""


def right_share(told: list[Told]) -> float:
    return fmean(one.right for one in told)


def teach(steps: Steps, stack: LocalStack, screening: Screening, registry: Registry) -> Lesson:
    """Until the captioner uses what was trained.

    Raises:
        DemoFailed: a step failed.
    """
    folder = stack.directory / "lesson"
    folder.mkdir()
    takes, to_learn = new_takes(SHOWN), training_takes()
    with steps.step("filming something new: purple", len(takes) + len(to_learn)) as step:
        paths = screening.film(takes, folder, step.advance)
        lesson_paths = screening.film(to_learn, folder, step.advance)
    with steps.step("captioning it, before the lesson", len(takes)) as step:
        shown = screening.show(takes, paths, PREFIX)
        before = screening.captions(shown, step.advance)
        if any(one.failed for one in before):
            raise DemoFailed(f"captioning it failed: {_said(before)}")
    data = f"{stack.output}{DATA}"
    with steps.step("uploading a training set", len(to_learn)) as step:
        screening.publish_training_set(to_learn, lesson_paths, data, step.advance)
    with steps.step("training: jamak train sft", TRAINING.steps) as step:
        outcome = train(screening, data, lambda: _follow(stack.log("trainer"), step.show))
    with steps.step("picking the adapter up") as step:
        screening.until_adapter(outcome.version)
        pointer = next(p for p in map(registry.pointer, registry.bases()) if p.version)
        picked_up_s = (datetime.now(UTC) - pointer.updated_at).total_seconds()
    return Lesson(shown, before, outcome, data, round(picked_up_s, 1))


def prove(steps: Steps, screening: Screening, lesson: Lesson) -> Proof:
    """Raises DemoFailed: it taught nothing, or does not go away."""
    shown, before, version = lesson.shown, lesson.before, lesson.outcome.version
    with steps.step("captioning it again: jamak enqueue --generation 1", len(shown)) as step:
        after = _again(screening, shown, 1, step.advance)
        better = right_share(after) > max(0.5, right_share(before))
        if not better or any(one.adapter != version for one in after):
            raise DemoFailed(f"the captions did not get better: {_said(after)}")
    with steps.step("the way back: jamak adapters rollback", len(shown)) as step:
        screening.jamak("adapters", "rollback")
        screening.until_adapter(None)
        rolled_back = _again(screening, shown, 2, step.advance)
        if _said(rolled_back) != _said(before) or any(one.adapter for one in rolled_back):
            raise DemoFailed(f"the old captions are not back: {_said(rolled_back)}")
    return Proof(lesson, after, rolled_back)


def train(screening: Screening, data: str, while_it_runs: Callable[[], None]) -> TrainOutcome:
    outcome = TrainOutcome.model_validate(
        screening.jamak(
            "train",
            "sft",
            "--data",
            data,
            *TRAINING.options(),
            "--wait",
            while_it_runs=while_it_runs,
        )
    )
    if not outcome.activated:
        raise DemoFailed(f"the adapter is not in use: {outcome.why_not_activated}")
    return outcome


def _again(
    screening: Screening, shown: list[Shown], generation: int, on_caption: Callable[[], None]
) -> list[Told]:
    asked = screening.ask_again(shown, PREFIX, generation=generation)
    return screening.captions(asked, on_caption, generation=generation)


def _follow(log: Path, show: Callable[[int, int, str], None]) -> None:
    """Show how far the training is, by the last word of its worker's log about it."""
    for line in reversed(log.read_text(errors="replace").splitlines()[-50:]):
        if '"event": "training"' in line:
            said = json.loads(line)
            show(said["step"], said["steps"], said["stage"])
            return


def _said(told: list[Told]) -> list[str]:
    return [one.caption for one in told]
