"""One film, with the budget of each card class: what more frames are good for, and what they cost.

A worker of a large class serves the smaller ones too, so a single one answers for all of them.
"""

from dataclasses import dataclass

from infra.demo.clips import Clip
from infra.demo.lesson import Take
from infra.demo.scenes import Scene, single
from infra.demo.screening import Screening, Told
from infra.demo.steps import DemoFailed, Steps
from infra.local.stack import LocalStack
from shared.cards import CLASSES, GPU_CLASSES, CardClass
from shared.settings import CardName

PREFIX = "budgets/"

TAKE = Take(
    "a-film-with-a-cut",
    Scene(
        "navy",
        single("navy", "yellow", "star", "to the lower right").figures,
        then=single("white", "green", "heart", "growing"),
    ),
    Clip(seed=2_000_000_900_000, width=320, height=240, fps=30, duration_s=8.0),
)


@dataclass(frozen=True)
class Budgeted:
    """What was said with one class's budget."""

    card: CardClass
    told: Told


def served_classes(card: CardName) -> list[CardClass]:
    """Those whose jobs a worker of this class takes, from the smallest."""
    return [CLASSES[name] for name in GPU_CLASSES[: GPU_CLASSES.index(card) + 1]]


def show_budgets(
    steps: Steps, stack: LocalStack, screening: Screening, card: CardName
) -> list[Budgeted]:
    """Raises DemoFailed."""
    classes = served_classes(card)
    with steps.step("one film, with the frames of each class", len(classes) + 1) as step:
        (path,) = screening.film([TAKE], stack.directory, step.advance)
        shown = screening.show([TAKE], [path], PREFIX)
        screening.captions(shown, lambda: None)
        found = []
        for one in classes:
            # One after the other: none is to wait for another one's turn at the model.
            asked = screening.ask_again(shown, PREFIX, frames=one.frames)
            (told,) = screening.captions(asked, step.advance, frames=one.frames)
            if told.failed:
                raise DemoFailed(f"{one.name}: the film got no caption: {told.caption}")
            found.append(Budgeted(one, told))
    return found
