"""Adapters of the language model in slots, several of them in one batch; and a projector for each.

Slot 0 is the base model. What an adapter adds to a layer is in deltas.py. What comes into a slot
has been checked (workers/model/adapter_files.py) and made ready by whoever brings it, so that rows
that decode hardly wait for it. A slot that rows still use is not overwritten: its users are
counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from workers.caption.engine.deltas import Delta, Whose, delta
from workers.caption.engine.transfer import locked, up
from workers.model.adapter_files import PROJECTOR, Adapter

BASE = 0


@dataclass(frozen=True)
class Ready:
    """An adapter in the form in which it is used."""

    rank: int
    matrices: list[list[Any]]
    """For each delta."""
    projector: dict[str, torch.Tensor]


@dataclass
class Slot:
    version: str | None = None
    users: int = 0
    projector: dict[str, torch.Tensor] = field(default_factory=dict)


class AdapterSlots:
    """Only the engine's thread calls it, once the model runs; but anybody's makes adapters ready.

    Args:
        model: a LlavaNextVideoForConditionalGeneration.
        slots: adapters at once, besides the base model.
    """

    def __init__(self, model: Any, slots: int) -> None:
        self._projector = model.model.multi_modal_projector
        self._device, self._dtype = model.device, model.dtype
        self._slots = [Slot() for _ in range(slots + 1)]
        self._deltas: list[Delta] = []
        self.rank = 0
        """The highest so far. As long as it stays, so do all addresses."""

    def delta(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> Delta:
        """For layers that get the same input; to be asked for once."""
        made = delta(names, layers, len(self._slots) - 1, self._dtype, self._device)
        self._deltas.append(made)
        return made

    def ready(self, adapter: Adapter) -> Ready:
        """In any thread."""
        prefix = f"base_model.model.model.{PROJECTOR}."
        projector = {
            name.removeprefix(prefix): locked(tensor.to(self._dtype), self._device)
            for name, tensor in adapter.tensors.items()
            if name.startswith(prefix)
        }
        return Ready(adapter.rank, [one.ready(adapter) for one in self._deltas], projector)

    def find(self, version: str | None) -> int | None:
        """Its slot; None: it is in none."""
        if version is None:
            return BASE
        versions = [slot.version for slot in self._slots]
        return versions.index(version) if version in versions else None

    def free(self, keep: str | None) -> int | None:
        """A slot that nobody uses and that does not hold `keep`; an empty one rather than not."""
        unused = [
            (slot.version is not None, number)
            for number, slot in enumerate(self._slots)
            if number != BASE and not slot.users and (slot.version is None or slot.version != keep)
        ]
        return min(unused)[1] if unused else None

    def load(self, number: int, version: str, ready: Ready) -> None:
        """Into a slot that is free."""
        slot = self._slots[number]
        if number == BASE or slot.users:
            raise ValueError(f"slot {number} is in use")
        slot.version = None  # until all of it is there
        if ready.rank > self.rank:
            # First for all layers: if memory ends, nothing has moved.
            rooms = [one.room(ready.rank) for one in self._deltas]
            for one, room in zip(self._deltas, rooms, strict=True):
                one.move(room)
            self.rank = ready.rank
        for one, matrices in zip(self._deltas, ready.matrices, strict=True):
            one.put(number, matrices)
        slot.projector = {name: up(one, self._device) for name, one in ready.projector.items()}
        slot.version = version

    def hold(self, number: int) -> None:
        self._slots[number].users += 1

    def release(self, number: int) -> None:
        self._slots[number].users -= 1

    @property
    def users(self) -> list[int]:
        """Of each slot."""
        return [slot.users for slot in self._slots]

    def project(self, features: torch.Tensor, number: int) -> torch.Tensor:
        """(visual tokens, vision hidden) -> (visual tokens, hidden)."""
        own = self._slots[number].projector
        result: torch.Tensor = torch.func.functional_call(self._projector, own, (features,))
        return result

    def whose(self, numbers: torch.Tensor) -> Whose:
        """(tokens,) slot numbers."""
        return Whose(numbers, len(self._slots) - 1)
