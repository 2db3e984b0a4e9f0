"""What the vision tower made of frames, kept in memory for the next caption of the same ones.

It depends on pixels and vision weights alone: another prompt, another draw or another adapter needs
no more than it. Of a bounded size; what was wanted longest ago goes first. Knows nothing of videos:
whoever keeps something says by a key what it is of.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch

from shared import telemetry

BESIDES = 4096
"""Bytes that an entry takes for its key, and for what is told of the frames."""


@dataclass(frozen=True, eq=False)
class Features:
    """Pooled, and not projected yet: they stand for their frames."""

    tensor: torch.Tensor
    """(visual tokens, vision hidden), on the CPU."""
    frames: int
    pool_stride: int
    sight: str
    """What they were seen with: `Captioner.sight`."""
    seed: int
    """Of the pixels: what is drawn depends on them."""


class Kept:
    """Thread-safe.

    Args:
        most_bytes: 0 = nothing is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Any:
        """What was kept under it; None: nothing."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            return found[0]

    def keep(self, key: Hashable, what: object, size: int) -> None:
        """Args:
        size: bytes of it.
        """
        size += BESIDES
        with self._lock:
            self._forget(key)
            if size <= self.most_bytes:
                while self._bytes + size > self.most_bytes:
                    self._forget(next(iter(self._entries)))
                self._entries[key] = what, size
                self._bytes += size
            telemetry.FEATURES_BYTES.set(self._bytes)

    def _forget(self, key: Hashable) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._bytes -= size
