"""Card classes: how many frames and visual tokens a caption gets on which card.

The choice is automatic, returns its reason, and can be overridden (JAMAK_CARD, JAMAK_DEVICE).
Knows nothing of torch: it asks the driver's `nvidia-smi`.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

from shared.errors import ConfigError
from shared.settings import CardName, Settings

Dtype = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class CardClass:
    name: CardName
    memory_gb: int | None
    frames: int
    """Most frames of one caption."""
    visual_tokens: int
    """Most visual tokens of one caption; with 3x3 pooling frames bind first, with 2x2 both."""
    quantized: bool
    """Language model in 4-bit NF4."""
    dtype: Dtype
    queue: str
    """Jobs that need at least this class."""


CLASSES: dict[CardName, CardClass] = {
    card.name: card
    for card in (
        CardClass("t4", 16, 4, 576, True, "float16", "caption.t4"),
        CardClass("l4", 24, 8, 1152, True, "bfloat16", "caption.l4"),
        CardClass("a100", 40, 16, 2304, False, "bfloat16", "caption.a100"),
        CardClass("h100", 80, 32, 4608, False, "bfloat16", "caption.h100"),
        CardClass("cpu", None, 4, 576, False, "float32", "caption.t4"),
    )
}

GPU_CLASSES: tuple[CardName, ...] = ("t4", "l4", "a100", "h100")
"""From the smallest to the largest: a card may do the work of every class before its own."""

DEFAULT_CLASS: CardName = "l4"
"""The budget of a card that cannot be classified."""


@dataclass(frozen=True)
class Gpu:
    """What the driver says about the first visible device. `None` = it does not say."""

    name: str
    memory_gib: float | None
    compute_capability: float | None


@dataclass(frozen=True)
class CardChoice:
    card: CardClass
    device: Literal["cuda", "cpu"]
    dtype: Dtype
    reason: str
    memory_bytes: int | None = None
    """Of the card, where its driver says so."""

    @property
    def emulated(self) -> bool:
        """A GPU class's budget on the CPU."""
        return self.device == "cpu" and self.card.name != "cpu"

    @property
    def quantized(self) -> bool:
        return self.card.quantized and self.device == "cuda"


def choose_card(settings: Settings, gpu: Gpu | None) -> CardChoice:
    """The class of this machine, and why.

    Raises:
        ConfigError: the settings ask for what this machine cannot do, or the card is too small.
    """
    if settings.device == "cpu":
        name = settings.card or "cpu"
        return CardChoice(CLASSES[name], "cpu", "float32", f"JAMAK_DEVICE=cpu, class {name}")
    if settings.card == "cpu":
        return CardChoice(CLASSES["cpu"], "cpu", "float32", "JAMAK_CARD=cpu")
    if gpu is None:
        if settings.card or settings.device == "cuda":
            asked = f"JAMAK_CARD={settings.card}" if settings.card else "JAMAK_DEVICE=cuda"
            raise ConfigError(
                f"{asked}, but no NVIDIA GPU is visible here",
                cure="Set JAMAK_DEVICE=cpu to run that class's budget on the CPU, "
                "or start this worker on a machine with a GPU.",
            )
        return CardChoice(CLASSES["cpu"], "cpu", "float32", "no NVIDIA GPU is visible")
    if gpu.compute_capability is not None and gpu.compute_capability < 7.5:
        raise ConfigError(
            f"{gpu.name} has compute capability {gpu.compute_capability}; 7.5 is the least",
            cure="Use a T4 or newer card, or set JAMAK_DEVICE=cpu.",
        )
    if settings.card:
        card, why = CLASSES[settings.card], f"JAMAK_CARD={settings.card} on {gpu.name}"
    else:
        card, why = _by_memory(gpu)
    if gpu.compute_capability is None:
        dtype = card.dtype
    else:
        # SM 75 has no bf16; everything newer has it, a t4-class slice of a large card too.
        dtype = "bfloat16" if gpu.compute_capability >= 8.0 else "float16"
    memory = None if gpu.memory_gib is None else int(gpu.memory_gib * 2**30)
    return CardChoice(card, "cuda", dtype, why, memory)


def _by_memory(gpu: Gpu) -> tuple[CardClass, str]:
    if gpu.memory_gib is None:
        return CLASSES[DEFAULT_CLASS], f"{gpu.name} does not tell its memory: the default class"
    # Usable memory lies below the label: a T4 shows 15.0 GiB, an L4 22.2, an A100-40 39.4.
    for floor_gib, name in ((70.0, "h100"), (36.0, "a100"), (21.0, "l4"), (13.0, "t4")):
        if gpu.memory_gib >= floor_gib:
            why = f"{gpu.name} with {gpu.memory_gib:.1f} GiB (class {name} from {floor_gib:.0f})"
            return CLASSES[name], why  # type: ignore[index]  # the literals above
    raise ConfigError(
        f"{gpu.name} has {gpu.memory_gib:.1f} GiB; the smallest class, t4, needs 13",
        cure="Use a larger card or MIG slice, or set JAMAK_CARD=t4 to try anyway.",
    )


def detect_gpu() -> Gpu | None:
    """The first visible NVIDIA device (or MIG slice), or None."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not shutil.which("nvidia-smi"):
        return None
    listing = _nvidia_smi("-L")
    facts = _nvidia_smi(
        "--query-gpu=uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits"
    )
    return parse_nvidia_smi(facts, listing, os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def parse_nvidia_smi(facts: str, listing: str, visible: str = "") -> Gpu | None:
    """Read `nvidia-smi --query-gpu=uuid,name,memory.total,compute_cap` and `nvidia-smi -L`.

    `visible` is CUDA_VISIBLE_DEVICES: an index, a UUID or a MIG UUID; its first entry counts.
    A MIG slice's memory is in its profile's name: `MIG 3g.20gb Device 0: (UUID: MIG-...)`.
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in facts.splitlines() if line]
    if not rows:
        return None
    first = visible.split(",")[0].strip()
    row = rows[int(first)] if first.isdigit() and int(first) < len(rows) else rows[0]
    row = next((r for r in rows if first and r[0] == first), row)
    _, name, memory, capability = row
    memory_gib = int(memory) / 1024 if memory.isdigit() else None
    slices = re.findall(r"MIG (\S*?(\d+)gb)\s.*\(UUID: (MIG-[^)]+)\)", listing)
    for profile, gigabytes, uuid in slices:
        if not first.startswith("MIG-") or uuid == first:
            name, memory_gib = f"{name} MIG {profile}", float(gigabytes)
            break
    try:
        return Gpu(name, memory_gib, float(capability))
    except ValueError:
        return Gpu(name, memory_gib, None)


def _nvidia_smi(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments],  # noqa: S607  # wherever the driver put it
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def served_queues(card: CardClass) -> list[str]:
    """The caption queues a worker of this class takes from: its own class first, then below."""
    own = GPU_CLASSES.index("t4" if card.name == "cpu" else card.name)
    names = [CLASSES[name].queue for name in reversed(GPU_CLASSES[: own + 1])]
    return [queue for name in names for queue in (name, f"{name}.bulk")]
