"""The frames of a video in another order: what a rejected text is judged before.

A caption that tells what happens is right before the frames as they are, and wrong before these. Of
a video in which nothing moves both are the same, and such a row teaches nothing true.
"""

import torch

from shared.rows import FrameOrder


def reordered(frames: torch.Tensor, order: FrameOrder | None) -> torch.Tensor:
    """(frames, ...), its first dimension in another order.

    `shuffled` is the same for every video of so many frames: the second, the fourth, ..., and then
    the first, the third, ...: no direction is left in it.
    """
    count = len(frames)
    if order == "reversed":
        return frames.flip(0)
    if order == "shuffled":
        return frames[[*range(1, count, 2), *range(0, count, 2)]]
    return frames
