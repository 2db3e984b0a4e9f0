"""From the host to the device and back, without either waiting for the other.

A plain copy waits until the device has done all that it was asked before: a whole step. From locked
memory it goes up when its turn comes; what comes down is asked for at once, and read later.
"""

import torch


def locked(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the host, in memory from which a copy to the device keeps nobody waiting."""
    return values.pin_memory() if device.type == "cuda" else values


def up(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, where it may lie already."""
    return values if values.is_cuda else locked(values, device).to(device, non_blocking=True)


class Down:
    """A tensor on its way from the device: read it when something else has been begun."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._here = tensor.to("cpu", non_blocking=True)
        self._arrived = None
        if self._here.is_pinned():  # so it came from a GPU
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def tolist(self) -> list[list[float]]:
        """Waits for what was asked of the device before the copy, and for nothing after it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        rows: list[list[float]] = self._here.tolist()
        return rows
