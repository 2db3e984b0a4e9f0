"""What captions are computed on: the cards that classes are named after, and others of their class.

Peak rates are the makers' (dense fp16 or bf16); what of them is reached is assumed, not measured.
"""

from dataclasses import dataclass

from shared.cards import CardClass, Dtype
from shared.settings import CardName
from workers.model.geometry import Geometry

GIB = 2**30
BYTES: dict[Dtype, int] = {"float16": 2, "bfloat16": 2, "float32": 4}

RESERVE = 0.06
"""Of a card's memory, for what the allocator cannot use."""
DEVICE_BYTES = int(0.6 * GIB)
"""The device's own: context, kernels, workspace."""
BANDWIDTH, PEAK = 0.85, 0.55
"""Of the makers' rates, what reading weights and multiplying matrices come to."""


@dataclass(frozen=True)
class Machine:
    """What a class's captions are computed on."""

    memory: int | None
    """Bytes of the card; None: a CPU."""
    dtype: Dtype
    quantized: bool
    bandwidth: float = 0.0
    """Bytes a second, as the maker says; 0: nothing is known of it."""
    flops: float = 0.0
    host: int | None = None
    """Of a CPU: bytes of its memory that can be used, where that is known."""
    native: bool = False
    """A CPU that multiplies matrices of bfloat16 itself."""

    @property
    def number_bytes(self) -> int:
        return BYTES[self.dtype]

    @property
    def usable(self) -> int:
        """Bytes for weights, keys and values, and what is computed."""
        return int((self.memory or 0) * (1 - RESERVE)) - DEVICE_BYTES

    def weights_held(self, geometry: Geometry) -> int:
        """Bytes of weights in memory: in 32-bit floats on a CPU those of the language model are
        there twice (workers/caption/engine/linear.py)."""
        held = geometry.weight_bytes(self.number_bytes, quantized=self.quantized)
        if self.memory is None and self.dtype == "float32":
            held += 4 * (geometry.language_weights + geometry.embedding_weights)
        return int(held)


SPEEDS: dict[CardName, tuple[float, float, float]] = {
    "t4": (15.0, 320e9, 65e12),
    "l4": (22.2, 300e9, 121e12),
    "a100": (39.4, 1555e9, 312e12),
    "h100": (79.1, 3350e9, 989e12),
}
"""Card -> GiB that a driver shows, bytes and operations a second (NVIDIA's data sheets of the T4,
L4, A100-40 and H100 SXM)."""


def machine_of(
    card: CardClass,
    *,
    device: str = "cuda",
    dtype: Dtype | None = None,
    memory: int | None = None,
) -> Machine:
    """The card that a class is named after, or one of its class.

    Args:
        dtype: of the computation; without it the class's.
        memory: bytes that it really has.
    """
    if device == "cpu" or card.name == "cpu":
        return Machine(None, "float32", quantized=False)
    gib, bandwidth, flops = SPEEDS[card.name]
    return Machine(
        int(gib * GIB) if memory is None else memory,
        dtype or card.dtype,
        card.quantized,
        bandwidth,
        flops,
    )


def gib(size: float) -> str:
    return f"{size / GIB:.2f}"
