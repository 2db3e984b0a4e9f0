"""Adapters of the language model in slots, several of them in one batch; and a projector for each.

All adapters' matrices stand side by side in one pair of matrices per layer: for each token the
columns of the others are set to zero. So a token's numbers depend on its own adapter only, weights
are read once whatever the batch, and the addresses never change. Slot 0 is the base model.

What is copied into a slot has been checked (workers/model/adapter_files.py). A slot that rows still
use is not overwritten: its users are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from workers.caption.engine.linear import Linear, Packed, can_pack
from workers.model.adapter_files import ALPHA_PER_RANK, PROJECTOR, Adapter

BASE = 0


class Delta:
    """What the adapters add to the product of some layers that get the same input."""

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Linear], slots: int, rank: int):
        self.names = names
        self._rank, self._width = rank, slots * rank
        like = {"dtype": torch.float32, "device": layers[0].weight.device}
        self._down = torch.zeros(len(layers) * self._width, layers[0].in_features, **like)
        self._up = [torch.zeros(layer.out_features, self._width, **like) for layer in layers]
        self._packed: list[Linear] = []

    def compute_in(self, dtype: torch.dtype) -> None:
        self._down = self._down.to(dtype)
        self._up = [one.to(dtype) for one in self._up]
        self._pack()

    def _pack(self) -> None:
        if not can_pack(self._down):
            return
        if not self._packed:
            self._packed = [Packed(one) for one in (self._down, *self._up)]
            return
        for packed, weight in zip(self._packed, (self._down, *self._up), strict=True):
            packed.pack(weight)  # type: ignore[attr-defined]

    def put(self, slot: int, adapter: Adapter | None) -> None:
        """`slot` from 1. None: nothing is added there."""
        start = (slot - 1) * self._rank
        for number, (name, up) in enumerate(zip(self.names, self._up, strict=True)):
            into = number * self._width + start
            down = self._down[into : into + self._rank]
            up_part = up[:, start : start + self._rank]
            down.zero_()
            up_part.zero_()
            if adapter is not None:
                prefix = f"base_model.model.{name}"
                a = adapter.tensors[f"{prefix}.lora_A.weight"]
                b = adapter.tensors[f"{prefix}.lora_B.weight"]
                down[: len(a)] = a
                up_part[:, : b.shape[1]] = b * ALPHA_PER_RANK
        self._pack()

    def add(self, y: torch.Tensor, x: torch.Tensor, others: torch.Tensor) -> None:
        """To y (tokens, sum of out) in place; `others` (tokens, slots * rank) is True where a
        column is not the token's."""
        downs, *ups = self._packed or [_times(one) for one in (self._down, *self._up)]
        low = downs(x).view(len(x), len(ups), -1).masked_fill_(others[:, None], 0)
        start = 0
        for number, (up, weight) in enumerate(zip(ups, self._up, strict=True)):
            y[:, start : start + len(weight)] += up(low[:, number].contiguous())
            start += len(weight)


def _times(weight: torch.Tensor) -> Linear:
    return lambda x: x @ weight.T


class Projector:
    """LLaVA's two layers with an activation between them."""

    def __init__(self, module: Any) -> None:
        self._act = module.act
        self.names = [name for name, _ in module.named_parameters()]
        self._module = module

    def __call__(self, features: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(self._module, weights, (features,))
        return result


@dataclass
class Slot:
    version: str | None = None
    users: int = 0
    projector: dict[str, torch.Tensor] = field(default_factory=dict)


class AdapterSlots:
    """Only the engine's thread calls it.

    Args:
        slots: adapters at once, besides the base model.
        rank: the highest an adapter may have.
    """

    def __init__(self, model: Any, slots: int, rank: int) -> None:
        self._rank, self._count = rank, slots
        self._slots = [Slot() for _ in range(slots + 1)]
        self._projector = model.model.multi_modal_projector
        self._deltas: list[Delta] = []
        self._device, self._dtype = model.device, model.dtype
        self.rank = rank

    def delta(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> Delta:
        """For layers that get the same input; to be asked for once."""
        made = Delta(names, layers, self._count, self._rank)
        made.compute_in(self._dtype)
        self._deltas.append(made)
        return made

    def find(self, version: str | None) -> int | None:
        """Its slot; None: it is in none."""
        if version is None:
            return BASE
        for number, slot in enumerate(self._slots):
            if slot.version == version:
                return number
        return None

    def free(self, keep: str | None) -> int | None:
        """A slot that nobody uses and that does not hold `keep`; empty ones first."""
        unused = [
            (slot.version is not None, number)
            for number, slot in enumerate(self._slots)
            if number != BASE and not slot.users and (slot.version is None or slot.version != keep)
        ]
        return min(unused)[1] if unused else None

    def load(self, number: int, version: str, adapter: Adapter) -> None:
        slot = self._slots[number]
        if number == BASE or slot.users:
            raise ValueError(f"slot {number} is in use")
        slot.version = None
        prefix = f"base_model.model.model.{PROJECTOR}."
        slot.projector = {
            name.removeprefix(prefix): tensor.to(self._device, self._dtype)
            for name, tensor in adapter.tensors.items()
            if name.startswith(prefix)
        }
        for delta in self._deltas:
            delta.put(number, adapter)
        slot.version = version

    def hold(self, number: int) -> None:
        self._slots[number].users += 1

    def release(self, number: int) -> None:
        self._slots[number].users -= 1

    def users(self) -> list[int]:
        return [slot.users for slot in self._slots]

    def version(self, number: int) -> str | None:
        return self._slots[number].version

    def project(self, features: torch.Tensor, number: int) -> torch.Tensor:
        """(tokens, vision hidden) -> (tokens, hidden)."""
        if number == BASE:
            base: torch.Tensor = self._projector(features)
            return base
        weights = self._slots[number].projector
        result: torch.Tensor = torch.func.functional_call(self._projector, weights, (features,))
        return result

    def others(self, slots: torch.Tensor) -> torch.Tensor | None:
        """(tokens,) slot numbers on the device -> (tokens, slots * rank), True where not theirs."""
        mine = slots[:, None] - 1 == torch.arange(self._count, device=slots.device)
        return ~mine.repeat_interleave(self._rank, dim=1)
