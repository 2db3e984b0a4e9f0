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
from torch.nn import functional as F

from workers.caption.engine.linear import Linear, Packed, can_pack
from workers.model.adapter_files import ALPHA_PER_RANK, PROJECTOR, Adapter

BASE = 0


class Delta:
    """What the adapters add to the product of some layers that get the same input."""

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Linear], slots: int) -> None:
        self._names, self._slots = names, slots
        self._sizes = [(layer.in_features, layer.out_features) for layer in layers]
        self._rank = 0
        self._down: torch.Tensor
        """(layers * slots * rank, in)"""
        self._ups: list[torch.Tensor]
        """For each layer (out, slots * rank)."""
        self._times: list[Linear]
        """By `_down` and by each of `_ups`."""

    def grow(self, rank: int, dtype: torch.dtype, device: torch.device) -> None:
        """Room for adapters of this rank; those that are there stay."""
        count, slots = len(self._names), self._slots
        down = torch.zeros(count, slots, rank, self._sizes[0][0], dtype=dtype, device=device)
        ups = [torch.zeros(out, slots, rank, dtype=dtype, device=device) for _, out in self._sizes]
        if self._rank:
            down[:, :, : self._rank] = self._down.view(count, slots, self._rank, -1)
            for new, old in zip(ups, self._ups, strict=True):
                new[:, :, : self._rank] = old.view(-1, slots, self._rank)
        self._rank = rank
        self._down, self._ups = down.flatten(0, 2), [up.flatten(1) for up in ups]
        self._pack()

    def _pack(self) -> None:
        weights = [self._down, *self._ups]
        self._times = [Packed(one) if can_pack(one) else _Plain(one) for one in weights]

    def put(self, slot: int, adapter: Adapter) -> None:
        """`slot` from 1."""
        at = (slot - 1) * self._rank
        for number, (name, up) in enumerate(zip(self._names, self._ups, strict=True)):
            start = number * self._slots * self._rank + at
            down = self._down[start : start + self._rank]
            a = adapter.tensors[f"base_model.model.{name}.lora_A.weight"]
            b = adapter.tensors[f"base_model.model.{name}.lora_B.weight"]
            down[: len(a)], down[len(a) :] = a, 0
            mine = up[:, at : at + self._rank]
            mine[:, : len(a)], mine[:, len(a) :] = b * ALPHA_PER_RANK, 0
        self._pack()

    def add(self, y: torch.Tensor, x: torch.Tensor, others: torch.Tensor) -> None:
        """To y (tokens, sum of out), in place; `others` (tokens, slots * rank) is True where a
        column is not the token's."""
        down, *ups = self._times
        low = down(x).view(len(x), len(ups), -1).masked_fill_(others[:, None], 0)
        parts = y.split_with_sizes([out for _, out in self._sizes], dim=1)
        for number, (part, up) in enumerate(zip(parts, ups, strict=True)):
            part += up(low[:, number].contiguous())


class _Plain:
    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight)


@dataclass
class Slot:
    version: str | None = None
    users: int = 0
    projector: dict[str, torch.Tensor] = field(default_factory=dict)


class AdapterSlots:
    """Only the engine's thread calls it, once the model runs.

    Args:
        model: a LlavaNextVideoForConditionalGeneration.
        slots: adapters at once, besides the base model.
    """

    def __init__(self, model: Any, slots: int) -> None:
        self._projector = model.model.multi_modal_projector
        self._device, self._dtype = model.device, model.dtype
        self._slots = [Slot() for _ in range(slots + 1)]
        self._deltas: list[Delta] = []
        self._rank = 0
        """The highest so far: until there is an adapter, none takes any memory."""

    def delta(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> Delta:
        """For layers that get the same input; to be asked for once."""
        made = Delta(names, layers, len(self._slots) - 1)
        self._deltas.append(made)
        return made

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

    def load(self, number: int, version: str, adapter: Adapter) -> None:
        """Into a slot that is free."""
        slot = self._slots[number]
        if number == BASE or slot.users:
            raise ValueError(f"slot {number} is in use")
        slot.version = None  # until all of it is there
        if adapter.rank > self._rank:
            self._rank = adapter.rank
            for delta in self._deltas:
                delta.grow(adapter.rank, self._dtype, self._device)
        for delta in self._deltas:
            delta.put(number, adapter)
        prefix = f"base_model.model.model.{PROJECTOR}."
        slot.projector = {
            name.removeprefix(prefix): tensor.to(self._device, self._dtype)
            for name, tensor in adapter.tensors.items()
            if name.startswith(prefix)
        }
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

    def others(self, slots: torch.Tensor) -> torch.Tensor:
        """(tokens,) slot numbers -> (tokens, slots * rank), True where a column is not theirs."""
        numbers = torch.arange(1, len(self._slots), device=slots.device)
        return (slots[:, None] != numbers).repeat_interleave(self._rank, dim=1)
