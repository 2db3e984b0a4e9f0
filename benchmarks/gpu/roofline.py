"""The least time that a caption can take on a card: a formula, and its constants.

Frames and prompt are operations, at the card's peak. A new token is bytes, at its bandwidth: the
weights, which the rows share, and each row's own keys and values.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from workers.caption.machines import Machine
from workers.model.geometry import Geometry

FORMULA = (
    "seconds a caption = (prompt FLOP + frames x frame FLOP) / peak "
    "+ new tokens x (weight bytes / rows + (prompt + new tokens / 2) x KV bytes) / bandwidth"
)
MAKERS = {
    "H200": (4.8e12, 989e12),
    "H100 80GB HBM3": (3.35e12, 989e12),
    "A100-SXM4-40GB": (1.555e12, 312e12),
    "A100-PCIE-40GB": (1.555e12, 312e12),
    "L4": (300e9, 121e12),
    "T4": (320e9, 65e12),
}
"""The end of a device's name -> bytes and dense 16-bit operations a second, by the maker."""


@dataclass(frozen=True)
class Ceiling:
    bandwidth: float
    flops: float
    whose: str


def ceiling_of(device: torch.device) -> Ceiling:
    """The maker's rates; of a device that is not in the table what copies and products reach."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    for known, (bandwidth, flops) in MAKERS.items():
        if name.endswith(known):
            return Ceiling(bandwidth, flops, f"the maker's, of the {known}")
    cuda = device.type == "cuda"
    side, size = (8192, 2**30) if cuda else (512, 2**24)
    dtype = torch.bfloat16 if cuda else torch.float32
    a = torch.randn(side, side, device=device, dtype=dtype)
    x = torch.empty(size, dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    product = _seconds(lambda: a @ a, device)
    copied = _seconds(lambda: y.copy_(x), device)
    return Ceiling(2 * size / copied, 2 * side**3 / product, "measured by a copy and a product")


def _seconds(what: Callable[[], Any], device: torch.device) -> float:
    """The best of a few."""
    best = float("inf")
    for _ in range(5):
        synchronize(device)
        began = time.perf_counter()
        what()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Roofline:
    """Of one caption."""

    prompt_flop: float
    weight_bytes: float
    """Read at each step."""
    kv_bytes: int
    """Of a token."""
    rows: int
    prompt_tokens: int
    new_tokens: float
    seconds: float

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def roofline(
    geometry: Geometry,
    machine: Machine,
    ceiling: Ceiling,
    *,
    rows: int,
    frames: int,
    prompt_tokens: int,
    new_tokens: float,
) -> Roofline:
    flop = prompt_flop(geometry, frames, prompt_tokens)
    weights = geometry.step_bytes(machine.number_bytes, quantized=machine.quantized)
    kv = geometry.kv_values * machine.number_bytes
    step = weights / rows + (prompt_tokens + new_tokens / 2) * kv
    seconds = flop / ceiling.flops + new_tokens * step / ceiling.bandwidth
    return Roofline(flop, weights, kv, rows, prompt_tokens, new_tokens, seconds)


def prompt_flop(geometry: Geometry, frames: int, prompt_tokens: int) -> float:
    """Of all that comes before the first new token."""
    seen = frames * geometry.frame_flops(geometry.pool_stride)
    return geometry.prompt_flops(prompt_tokens) + seen
