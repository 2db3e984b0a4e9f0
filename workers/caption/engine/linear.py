"""Linear layers of one input as one matrix product, and in the form that the device likes best.

Three forms. 4-bit weights stay as bitsandbytes packed them, each layer by itself. In 32-bit floats
on a CPU the weights are reordered once for oneDNN: half the time for the few rows of a decode step,
and a row's result does not depend on how many others there are, which `F.linear` does not promise.
Everywhere else the matrices are joined, and the modules keep views of the joined one.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import QuickGELUActivation

QUICK = 1.702
"""Of CLIP's activation."""
ROWS = 16
"""For which the weights are packed; any other number works, too."""


class Linear(Protocol):
    """(rows, in) -> (rows, sum of the layers' out), in their order."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...


def linear(*layers: nn.Linear) -> Linear:
    """Of one or several layers that all get the same input."""
    if type(layers[0]) is not nn.Linear:
        return Apart(layers)
    with torch.no_grad():
        weight = torch.cat([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    if can_pack(weight.dtype, weight.device):
        return Packed(weight, bias)
    return Joined(layers, weight, bias)


def two(first: nn.Linear, act: nn.Module, second: nn.Linear) -> Linear:
    """One after the other, with a function of each number in between."""
    weight = first.weight
    if isinstance(act, QuickGELUActivation) and can_pack(weight.dtype, weight.device):
        # x sigmoid(1.702 x) is silu(1.702 x) / 1.702: one operation instead of three on the many
        # numbers between the two, which is half of the time of all.
        into = Packed(weight * QUICK, first.bias * QUICK)
        out = Packed(second.weight / QUICK, second.bias)
        return lambda x: out(F.silu(into(x), inplace=True))
    before, after = linear(first), linear(second)
    return lambda x: after(act(before(x)))


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    return (
        device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


class Packed:
    """For oneDNN. The layers keep their own weights: this is a second copy of them."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self._bias = bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == 1:  # a kernel of its own would round otherwise than in company
            return self(x.expand(2, -1))[:1]
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return result


class Joined:
    """One matrix; each layer's own weight becomes a part of it, so that none is there twice."""

    def __init__(
        self, layers: Sequence[nn.Linear], weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        self._weight, self._bias = weight, bias
        if len(layers) > 1:
            parts = weight.split_with_sizes([layer.out_features for layer in layers])
            for layer, part in zip(layers, parts, strict=True):
                layer.weight.data = part

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)


class Apart:
    """Quantised: the library's own product for each."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(self._layers) == 1:
            alone: torch.Tensor = self._layers[0](x)
            return alone
        return torch.cat([layer(x) for layer in self._layers], dim=-1)
