"""Keys and values of all rows: allocated once, a row's own length each, physical place = position.

What lies behind a row's length is masked, and must be finite all the same: 0 x NaN is NaN. So
whoever gets a row finds zeros there, whatever went wrong with those before. No more is zeroed than
may have been written, and on a CPU what was never written takes no memory.
"""

from math import prod
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import torch

HOST = torch.device("cpu")


class KV:
    """Per layer (rows, kv heads, positions + 1, head size).

    One position more than a row is seen to have: there writes who is over, and who never was.
    """

    def __init__(
        self,
        *,
        layers: int,
        rows: int,
        heads: int,
        positions: int,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (rows, heads, positions + 1, size)
        self.keys = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.values = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.rows, self.positions = rows, positions
        self.nowhere = positions
        """Nobody looks there."""
        self._written = [0] * rows
        """Positions of each row behind which all is zero, but for the last one."""

    @property
    def bytes(self) -> int:
        return sum(one.nbytes for one in (*self.keys, *self.values))

    def writes(self, row: int, end: int) -> None:
        """Somebody is about to, up to this position."""
        self._written[row] = max(self._written[row], end)

    def copy(self, source: int, target: int, length: int) -> None:
        """The first `length` positions of a row, and zeros behind."""
        for one in (*self.keys, *self.values):
            one[target, :, :length] = one[source, :, :length]
        self._zero(target, length)
        self._written[target] = length

    def clear(self, row: int) -> None:
        self._zero(row, 0)
        self._written[row] = 0

    def _zero(self, row: int, start: int) -> None:
        end = self._written[row]
        for one in (*self.keys, *self.values):
            one[row, :, start:end] = 0
            one[row, :, self.nowhere] = 0

    def shrink(self, rows: int) -> None:
        """Forget all, and give back the memory of those beyond. Nobody may be at work."""
        for tensors in (self.keys, self.values):
            for layer, one in enumerate(tensors):
                tensors[layer] = _zeros(one[:rows].shape, one.dtype, one.device)
        self.rows, self._written = rows, [0] * rows


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Raises MemoryError, torch.OutOfMemoryError."""
    if device != HOST:
        return torch.zeros(shape, dtype=dtype, device=device)
    try:
        pages = mmap(-1, prod(shape) * dtype.itemsize, MAP_PRIVATE | MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(str(error)) from error
    return torch.frombuffer(pages, dtype=dtype).view(shape)
