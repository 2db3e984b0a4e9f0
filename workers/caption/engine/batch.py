"""What is computed in one pass: a token of each row that decodes, and parts of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Part:
    """Of one prompt."""

    row: int
    start: int
    """Position of its first token."""
    inputs: torch.Tensor
    """(tokens, hidden)"""
    slot: int
    last: bool
    """Its last token's logits are wanted."""

    @property
    def end(self) -> int:
        return self.start + len(self.inputs)


@dataclass(frozen=True)
class Batch:
    rows: int
    """0 .. rows - 1 decode."""
    tokens: torch.Tensor
    """(rows,) the token each says last; on the device, as all of these."""
    lengths: torch.Tensor
    """(rows,) positions before it."""
    longest: int
    """The greatest of `lengths`, which the host knows by itself."""
    slots: torch.Tensor | None
    """(rows,) the adapter of each; None: the base model for all."""
    parts: Sequence[Part]
