"""Which model this worker captions with, once it is known that the machine can hold it.

Weights are many gigabytes: what does not fit is refused by arithmetic, before any of them is
fetched or read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cards import CardChoice
from shared.errors import ConfigError, DoesNotFit
from shared.messages import Decoding
from shared.settings import Settings
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.hosts import detect_host, machine_on
from workers.caption.machines import machine_of
from workers.model.checkpoint import find_checkpoint, find_geometry
from workers.model.geometry import Geometry
from workers.model.syllables import longest, tokens_a_syllable
from workers.model.tokens import read_tokenizer

AT_LEAST = 1.0
"""Tokens that a syllable takes, as long as there is no tokenizer to ask."""


@dataclass(frozen=True)
class Fitting:
    directory: Path
    tokenizer: Any
    plan: CardPlan


def checkpoint_that_fits(settings: Settings, choice: CardChoice) -> Fitting:
    """Fetched if need be, with the plan for it.

    Raises:
        ConfigError: it does not fit the memory that is really there, or is nowhere to be found.
    """
    where = settings.model, settings.model_revision, settings.model_path
    if settings.model_path is not None:
        find_checkpoint(*where)  # whether it is one at all
    planned(settings, choice, find_geometry(*where), AT_LEAST)
    checkpoint = find_checkpoint(*where)
    tokenizer = read_tokenizer(checkpoint)
    each = tokens_a_syllable(tokenizer)
    return Fitting(
        checkpoint, tokenizer, planned(settings, choice, Geometry.read(checkpoint), each)
    )


def planned(settings: Settings, choice: CardChoice, geometry: Geometry, each: float) -> CardPlan:
    """Args:
        each: tokens that a syllable takes.

    Raises:
        ConfigError: it cannot hold.
    """
    # No prompt has more tokens than bytes, but for what a tokenizer puts before it.
    asked = Asked(len(settings.prompt.encode()) + 2, longest(Decoding.asked(settings), each))
    if choice.device == "cpu":
        machine = machine_on(detect_host(), geometry)
    else:
        machine = machine_of(choice.card, dtype=choice.dtype, memory=choice.memory_bytes)
    try:
        return plan_card(choice.card, machine, geometry, asked)
    except DoesNotFit as error:
        raise ConfigError(str(error), cure=error.cure) from error
