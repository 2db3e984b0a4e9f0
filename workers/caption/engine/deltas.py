"""What adapters add to the product of some layers that get the same input.

Two forms, as the base model's weights have them (linear.py). Packed for oneDNN, each adapter's
matrices lie by themselves, and only its own tokens are multiplied by them: to change an adapter is
to change references. Everywhere else all adapters' matrices stand side by side in one pair, and for
each token the columns of the others are set to zero: weights are read once whatever the batch, and
their addresses stay what they are. Either way a token's numbers depend on its own adapter alone.

What takes long is done by `ready`, in anybody's thread; `put` is the engine's.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from workers.caption.engine.linear import Packed, can_pack
from workers.caption.engine.transfer import locked
from workers.model.adapter_files import ALPHA_PER_RANK, Adapter


class Whose:
    """Which tokens are which adapter's.

    Args:
        numbers: (tokens,) the slot of each; 0 = the base model.
        slots: how many there are, from 1.
    """

    def __init__(self, numbers: torch.Tensor, slots: int) -> None:
        self._numbers, self._slots = numbers, slots

    def of(self, tokens: torch.Tensor) -> "Whose":
        """Some of them."""
        return Whose(self._numbers[tokens], self._slots)

    @cached_property
    def groups(self) -> list[tuple[int, torch.Tensor | None]]:
        """Adapters with their tokens; None: all tokens are its own. On a CPU: it is read."""
        found: dict[int, list[int]] = {}
        for token, number in enumerate(self._numbers.tolist()):
            found.setdefault(number, []).append(token)
        if len(found) == 1:
            return [(number, None) for number in found if number]
        return [(number, torch.tensor(found[number])) for number in sorted(found) if number]

    @cached_property
    def others(self) -> torch.Tensor:
        """(tokens, slots) True where an adapter is not the token's."""
        numbers = torch.arange(1, self._slots + 1, device=self._numbers.device)
        return self._numbers[:, None] != numbers


class Delta(Protocol):
    def ready(self, adapter: Adapter) -> list[Any]:
        """Its matrices for these layers, in the form that they are used in."""

    def room(self, rank: int) -> Any:
        """For adapters of a higher rank than there were, with those that are there in it."""

    def move(self, room: Any) -> None:
        """Into it."""

    def put(self, slot: int, ready: list[Any]) -> None:
        """`slot` from 1, which no token uses; there is room."""

    def add(self, y: torch.Tensor, x: torch.Tensor, whose: Whose) -> None:
        """To y (tokens, sum of out), in place."""


def delta(
    names: Sequence[str],
    layers: Sequence[nn.Linear],
    slots: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Delta:
    outs = [layer.out_features for layer in layers]
    if can_pack(dtype, device):
        return PackedDelta(names, outs, slots)
    return JoinedDelta(names, layers[0].in_features, outs, slots, dtype, device)


class PackedDelta:
    """Each adapter by itself, on a CPU."""

    def __init__(self, names: Sequence[str], outs: list[int], slots: int) -> None:
        self._names, self._outs = names, outs
        self._slots: list[list[Packed]] = [[] for _ in range(slots)]

    def ready(self, adapter: Adapter) -> list[Packed]:
        down, *ups = _matrices(self._names, adapter)
        return [Packed(one.float()) for one in (down.flatten(0, 1), *ups)]

    def room(self, rank: int) -> None:
        """Each adapter brings its own."""

    def move(self, room: None) -> None:
        pass

    def put(self, slot: int, ready: list[Packed]) -> None:
        self._slots[slot - 1] = ready

    def add(self, y: torch.Tensor, x: torch.Tensor, whose: Whose) -> None:
        parts = y.split_with_sizes(self._outs, dim=1)
        for slot, tokens in whose.groups:
            down, *ups = self._slots[slot - 1]
            lows = down(x if tokens is None else x[tokens]).chunk(len(ups), dim=1)
            for part, low, up in zip(parts, lows, ups, strict=True):
                more = up(low.contiguous())
                if tokens is None:
                    part += more
                else:
                    part.index_add_(0, tokens, more)


class JoinedDelta:
    """All of them side by side."""

    def __init__(
        self,
        names: Sequence[str],
        into: int,
        outs: list[int],
        slots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._names, self._into, self._outs, self._slots = names, into, outs, slots
        self._dtype, self._device = dtype, device
        self._rank = 0
        """The highest so far: until there is an adapter, none takes any memory."""
        self._down: torch.Tensor
        """(layers, slots, rank, in)"""
        self._ups: list[torch.Tensor]
        """For each layer (out, slots, rank)."""

    def ready(self, adapter: Adapter) -> list[torch.Tensor]:
        matrices = _matrices(self._names, adapter)
        return [locked(one.to(self._dtype), self._device) for one in matrices]

    def put(self, slot: int, ready: list[torch.Tensor]) -> None:
        rank = ready[0].shape[1]
        for all_of, new in zip((self._down, *self._ups), ready, strict=True):
            mine = all_of[:, slot - 1]
            mine[:, :rank].copy_(new, non_blocking=True)
            mine[:, rank:] = 0

    def room(self, rank: int) -> list[torch.Tensor]:
        count, slots = len(self._outs), self._slots

        def room(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=self._dtype, device=self._device)

        down = room(count, slots, rank, self._into)
        ups = [room(out, slots, rank) for out in self._outs]
        if self._rank:
            down[:, :, : self._rank] = self._down
            for new, old in zip(ups, self._ups, strict=True):
                new[:, :, : self._rank] = old
        return [down, *ups]

    def move(self, room: list[torch.Tensor]) -> None:
        self._down, *self._ups = room
        self._rank = self._down.shape[2]

    def add(self, y: torch.Tensor, x: torch.Tensor, whose: Whose) -> None:
        low = F.linear(x, self._down.flatten(0, 2)).view(len(x), *self._down.shape[:3])
        low = low.masked_fill_(whose.others[:, None, :, None], 0)
        parts = y.split_with_sizes(self._outs, dim=1)
        for number, (part, up) in enumerate(zip(parts, self._ups, strict=True)):
            part += F.linear(low[:, number].flatten(1), up.flatten(1))


def _matrices(names: Sequence[str], adapter: Adapter) -> list[torch.Tensor]:
    """(layers, rank, in) of the way down, and for each layer (out, rank) of the way up, with the
    scale folded in."""
    prefix = "base_model.model."
    downs = [adapter.tensors[f"{prefix}{name}.lora_A.weight"] for name in names]
    ups = [adapter.tensors[f"{prefix}{name}.lora_B.weight"] * ALPHA_PER_RANK for name in names]
    return [torch.stack(downs), *ups]
