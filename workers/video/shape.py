"""What frames are, and how large a model wants them. Knows no library that decodes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
"""(frames, height, width, 3), RGB."""


@dataclass(frozen=True)
class Shape:
    """What a model looks at: the shorter edge scaled, then the square in the middle. Pixels."""

    shortest_edge: int
    crop: int | None
    """None: all of it."""

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The longer edge is cut to whole pixels, not rounded, as transformers' CLIP does."""
        longer = int(self.shortest_edge * max(height, width) / min(height, width))
        return (self.shortest_edge, longer) if width <= height else (longer, self.shortest_edge)
