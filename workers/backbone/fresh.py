"""The weights that neither of the two models has: drawn from a seed, or a mean.

Knows nothing of files to be written.
"""

import hashlib
import math
from collections.abc import Collection, Iterator

import torch

from workers.backbone.tensors import New, Stored

KINDS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def drawn(name: str, kind: str, shape: tuple[int, ...], seed: int) -> New:
    """Weights of a deviation of 1/sqrt(fan-in), so that what goes through stays as large as it was;
    no bias. A vector is drawn as the embedding of a token, which it stands for."""

    def content() -> Iterator[bytes]:
        if name.endswith(".bias"):
            yield bytes(math.prod(shape) * KINDS[kind].itemsize)
            return
        # Its own generator: what is drawn does not depend on what was drawn before.
        generator = torch.Generator().manual_seed(_seed_of(name, seed))
        numbers = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        yield bytes_of(numbers.to(KINDS[kind]))

    return New(name, kind, shape, content)


def _seed_of(name: str, seed: int) -> int:
    """Neighbouring seeds share nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little") >> 1


def resized(name: str, table: Stored, rows: int, known: int, fresh: Collection[int]) -> New:
    """A row for each token: those of the old table, and their mean for `fresh` ones.

    The score of a mean is the mean of all scores, so a fresh token is never the likeliest before it
    was trained.

    Args:
        rows: of the new table; those beyond the old one are fresh.
        known: tokens that the old tokenizer has; rows behind them were never trained.
    """
    old, width = table.shape
    made = sorted({*fresh, *range(old, rows)})

    def content() -> Iterator[bytes]:
        mean = bytes_of(_mean(table, known))
        at = 0
        for row in made:
            if at < row:
                yield from table.rows(at, row)
            yield mean
            at = row + 1
        if at < rows:
            yield from table.rows(at, rows)

    return New(name, table.kind, (rows, width), content)


def _mean(table: Stored, rows: int) -> torch.Tensor:
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    for piece in table.rows(0, rows):
        numbers = torch.frombuffer(bytearray(piece), dtype=KINDS[table.kind])
        total += numbers.view(-1, table.shape[1]).sum(0, dtype=torch.float64)
    return (total / rows).to(KINDS[table.kind])
