"""What is asked of a caption: the recipe of new jobs, and the class that may do them."""

from typing import Literal

from pydantic import ValidationError

from shared.cards import CLASSES, GPU_CLASSES
from shared.errors import ConfigError, UsageError
from shared.messages import Decoding, Recipe, Sampling
from shared.prompts import check_prompt
from shared.settings import CardName, Settings

Strategy = Literal["uniform", "adaptive"]


def recipe_of(
    settings: Settings,
    *,
    prompt: str | None = None,
    frames: int | None = None,
    generation: int | None = None,
    sampling: Strategy | None = None,
    segments: str | None = None,
) -> Recipe:
    """The recipe of new jobs: the settings', with what is named here instead.

    Raises:
        UsageError: the prompt cannot be answered, the segments cannot be understood.
    """
    parts = segments or settings.segments
    return Recipe(
        prompt=_checked(prompt) if prompt else settings.prompt,
        sampling=_sampling(
            sampling or settings.sampling, frames, parts if parts != "none" else None
        ),
        model=settings.model,
        revision=settings.model_revision,
        decoding=Decoding.asked(settings),
        generation=settings.generation if generation is None else generation,
    )


def _checked(prompt: str) -> str:
    try:
        return check_prompt(prompt)
    except ConfigError as error:
        raise UsageError(str(error), cure=error.cure) from error


def _sampling(strategy: Strategy, frames: int | None, segments: str | None) -> Sampling:
    try:
        return Sampling(strategy=strategy, frames=frames, segments=segments)
    except ValidationError as error:
        raise UsageError(
            f"{segments!r} are no segments",
            cure="Write auto, how many (8), how long (30s), or none.",
        ) from error


def least_class(card: str | None, frames: int | None) -> CardName:
    """The smallest class that may do it: the one named, or the first that takes so many frames.

    Raises:
        UsageError: no class takes so many frames, or not the one named.
    """
    able = [name for name in GPU_CLASSES if frames is None or CLASSES[name].frames >= frames]
    if not able:
        most = CLASSES[GPU_CLASSES[-1]].frames
        raise UsageError(f"no card takes {frames} frames", cure=f"Ask for {most} at the most.")
    if card == "cpu":
        raise UsageError(
            "cpu is no class of jobs", cure="Name the least GPU class; a CPU worker serves t4."
        )
    if card is None:
        return able[0]
    for name in GPU_CLASSES:
        if name == card and name not in able:
            raise UsageError(
                f"{card} takes {CLASSES[name].frames} frames, not {frames}",
                cure=f"Name {able[0]} or leave --card out.",
            )
        if name == card:
            return name
    raise UsageError(f"{card!r} is no card class", cure="`jamak cards` shows them.")
