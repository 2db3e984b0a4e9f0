"""How much memory a GPU really has for keys and values: compute the largest prompt once, and look.

The formula of workers/caption/sums.py knows neither the allocator nor the kernels; this does.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from shared.errors import ConfigError, LacksMemory
from workers.caption.card_plan import MOST_ROWS, VISION_FRAMES, CardPlan
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.caption.machines import RESERVE
from workers.model.loading import LoadedModel
from workers.model.memory import lacks_memory


class Memory(Protocol):
    """Of a device, in bytes."""

    def begin(self) -> None:
        """From here on the most that is taken at once counts."""

    def most(self) -> int:
        """More than when it began."""

    def free(self) -> tuple[int, int]:
        """And all there is."""


class Cuda:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def begin(self) -> None:
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def most(self) -> int:
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - self._before

    def free(self) -> tuple[int, int]:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)


@contextmanager
def enough_memory() -> Iterator[None]:
    """To start with. Raises ConfigError: there is less of it than was planned with."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, LacksMemory) or lacks_memory(error)):
            raise
        raise ConfigError(
            f"memory ran out before the first caption: {error}",
            cure="Look at what else uses the memory, on a card with nvidia-smi; or set JAMAK_CARD "
            "to a smaller class.",
        ) from error


def free_after_warmup(loaded: LoadedModel, plan: CardPlan, memory: Memory) -> int:
    """Bytes for keys and values, after a step's own."""
    patches = VISION_FRAMES * loaded.layout.patches_per_side**2
    size = Size(1, plan.positions.value, plan.chunk.value, patches)
    engine = Engine(loaded, size)
    try:
        memory.begin()
        engine.submit(_largest(loaded, plan)).result()
        took = memory.most()
    finally:
        engine.close()
    del engine
    gc.collect()
    free, total = memory.free()
    # One row was there: the logits of the others are still to come.
    vocabulary = plan.geometry.vocabulary
    logits = MOST_ROWS * vocabulary * (4 + plan.machine.number_bytes)
    return int(free - took - logits - RESERVE * total)


def _largest(loaded: LoadedModel, plan: CardPlan) -> Request:
    """All frames, and a prompt up to a row's last position."""
    crop, video = loaded.preprocessor.crop, loaded.layout.video_token_id
    pixels = torch.zeros(plan.frames.value, 3, crop, crop)
    visual = plan.frames.value * loaded.layout.tokens_per_frame
    new = 2
    others = plan.positions.value - visual - new
    word = 0 if video else 1
    return Request((video,) * visual + (word,) * others, pixels, samplings=(Sampling(new),))
