"""All that is planned for the captions of a worker, each number with its reason.

What is really free is measured elsewhere (workers/caption/warmup.py), and `within` counts the rows
in it. Knows nothing of torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from shared.cards import CardClass
from shared.errors import DoesNotFit
from workers.caption.machines import GIB, Machine, gib
from workers.model.geometry import Geometry

MOST_ROWS = 64
"""More rows wait longer for each other, and the keys and values that they read cost more than the
weights that they share."""
CPU_ROWS, CPU_KV = 8, 2 * GIB
"""A CPU gains little beyond; and memory there is everybody's."""
STALL_S = 0.1
"""For so long at most rows that decode wait for a part of a prompt."""
CHUNKS = (128, 256, 512, 1024, 2048)
"""A prompt is worked off in parts of one of these lengths."""
VISION_FRAMES = 4
"""At once in the vision tower."""
ADAPTERS, RANK = 2, 16
"""In memory at once; what room is left for each."""
ROOM = 128
"""Positions beyond what the settings need, for a longer prompt or answer of a recipe."""
BLOCK = 64
"""Positions of a row are a multiple of it."""
TYPICAL_TOKENS = 110
"""Of a caption, for the expected seconds."""
FETCH_S = 2.0
"""About what fetching and decoding of a video takes."""
AHEAD = (4, 16)
"""Videos that are fetched and decoded at once: at least, at most."""

MOST_AT_ONCE = MOST_ROWS + AHEAD[1]
"""Jobs in hand, whatever the card and the model."""

T = TypeVar("T")


@dataclass(frozen=True)
class Figure(Generic[T]):
    """A number of a plan, and why it is this one."""

    value: T
    why: str


@dataclass(frozen=True)
class CardPlan:
    """Of all captions of a worker."""

    card: CardClass
    machine: Machine
    geometry: Geometry
    pool_stride: int
    frames: Figure[int]
    visual_tokens: Figure[int]
    positions: Figure[int]
    """Of a row: visual, prompt and new tokens."""
    weight_bytes: Figure[int]
    kv_bytes: Figure[int]
    """Of one caption at its longest."""
    rows: Figure[int]
    """Captions at once."""
    chunk: Figure[int]
    """Tokens of prompts in a step."""
    ahead: Figure[int]
    """Videos that are fetched and decoded while others are captioned."""
    seconds: Figure[float | None]
    """A caption, when all rows are in use."""

    @property
    def row_bytes(self) -> int:
        """One position more is kept: a row that is over may be begun once more."""
        return (self.positions.value + 1) * self.geometry.kv_values * self.machine.number_bytes

    @property
    def adapter_bytes(self) -> int:
        return ADAPTERS * self.geometry.adapter_bytes(RANK, self.machine.number_bytes)

    @property
    def at_once(self) -> int:
        """Jobs in hand that keep all rows full."""
        return self.rows.value + self.ahead.value

    def figures(self) -> Iterator[tuple[str, Figure[Any]]]:
        """Each number with its name."""
        for what, value in vars(self).items():
            if isinstance(value, Figure):
                yield what, value

    def within(self, free: int) -> "CardPlan":
        """With the rows that fit memory that was measured, after what a step takes.

        Raises:
            DoesNotFit: not one does.
        """
        rows = (free - self.adapter_bytes) // self.row_bytes
        if rows < 1:
            raise DoesNotFit(
                f"{gib(free)} GiB are free after a warm-up, and a caption's keys and values take "
                f"{gib(self.row_bytes)} GiB",
                cure="Choose a smaller JAMAK_CARD, or a card with more memory.",
            )
        if rows >= self.rows.value:
            return self
        why = f"{gib(free)} GiB are free after a warm-up with the largest prompt"
        return replace(self, rows=Figure(rows, why))


@dataclass(frozen=True)
class Asked:
    """What a plan is for."""

    prompt_tokens: int = 64
    """Without the visual ones."""
    new_tokens: int = 256
    pool_stride: int | None = None
    """None: the checkpoint's, or 3 where memory forces it."""
    frames: int | None = None
    """None: as many as the card's class allows."""
