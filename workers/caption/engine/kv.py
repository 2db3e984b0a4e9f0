"""Keys and values of all rows: allocated once, a row's own length each, physical place = position.

What lies behind a row's length is masked, and must be finite all the same: 0 x NaN is NaN. So
whoever gets a row finds zeros there, whatever went wrong with those before.
"""

import torch


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
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.rows, self.positions = rows, positions
        self.nowhere = positions
        """Nobody looks there."""

    @property
    def bytes(self) -> int:
        return sum(one.nbytes for one in (*self.keys, *self.values))

    def copy(self, source: int, target: int, length: int) -> None:
        """The first `length` positions of a row, and zeros behind."""
        for one in (*self.keys, *self.values):
            one[target, :, :length] = one[source, :, :length]
            one[target, :, length:] = 0

    def clear(self, row: int) -> None:
        for one in (*self.keys, *self.values):
            one[row].zero_()

    def shrink(self, rows: int) -> None:
        """Forget all, and give back the memory of those beyond. Nobody may be at work."""
        for tensors in (self.keys, self.values):
            for layer, one in enumerate(tensors):
                tensors[layer] = torch.zeros_like(one[:rows])
        self.rows = rows
