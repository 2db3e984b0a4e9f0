"""A machine without a GPU: how much memory its processes may take, and what its CPU computes in.

Small models stay in 32-bit floats: a caption is the same bytes alone and in company then, and
nothing would be gained. A large one runs in bfloat16 where the CPU has instructions for it, or
where only so it fits the memory. Knows nothing of torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from workers.caption.machines import GIB, Machine
from workers.model.geometry import Geometry

SMALL = GIB
"""Bytes of 32-bit weights, of a model for which nothing else is taken."""
FREE = 0.1
"""Of the memory, for decoders, the system and what Python needs."""
BF16 = {"amx_bf16", "avx512_bf16", "bf16"}
"""As Linux names such instructions, of x86 and of Arm."""


@dataclass(frozen=True)
class Host:
    memory: int
    """Bytes, of the machine or of the container."""
    bf16: bool
    """Its CPU multiplies matrices of bfloat16 itself."""


def detect_host() -> Host:
    limits = [psutil.virtual_memory().total, *_limits(Path("/sys/fs/cgroup"), Path("/proc"))]
    return Host(min(limits), _has_bf16(Path("/proc/cpuinfo")))


def _limits(cgroups: Path, proc: Path) -> Iterable[int]:
    """Of the control groups that this process is in, from its own to the outermost."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, inside = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = cgroups / kinds
        name = "memory.limit_in_bytes" if kinds else "memory.max"
        group = root / inside.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (limit := _number(folder / name)):
                yield limit


def _number(file: Path) -> int | None:
    """None: there is none, or it says `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _has_bf16(cpuinfo: Path) -> bool:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not BF16.isdisjoint(flags.partition(":")[2].split())


def machine_on(host: Host, geometry: Geometry) -> Machine:
    """What this model is computed in here."""
    usable = int(host.memory * (1 - FREE))
    exact = Machine(None, "float32", quantized=False, host=usable)
    if geometry.weight_bytes(4, quantized=False) < SMALL:
        return exact
    if not host.bf16 and exact.weights_held(geometry) <= usable:
        return exact
    return Machine(None, "bfloat16", quantized=False, host=usable, native=host.bf16)
