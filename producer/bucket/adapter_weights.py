"""How far the weights of two adapters lie apart, without any library: the file is simple enough.

Format: github.com/huggingface/safetensors, "Format": 8 bytes, a header in JSON of so many bytes,
which names each tensor's type, shape and place, and the numbers behind it, little-endian.
"""

import json
import math
import mmap
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import BadAdapter

MOST_HEADER_BYTES = 4 << 20
AT_ONCE = 1 << 14
"""Numbers, as objects of Python: faster than one by one, and little memory."""
_PART = re.compile(r"([a-z_0-9]+)(?:\.lora_[AB])?\.(?:weight|bias)")
"""Of a tensor's name the last module: `q_proj`, `linear_1`."""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Change:
    """Of all modules of one name, taken together."""

    part: str
    parameters: int
    """That both have in the same shape."""
    change: float | None
    """Length of the difference by the length of the first one's; None: that one is 0, or
    something in them is no number."""
    unlike: int
    """Tensors that only one has, or that have another shape."""


def changes(first: Path, second: Path) -> list[Change]:
    """By the parts of the model, in the order of their names.

    Raises:
        BadAdapter: a file is no safetensors file of numbers.
    """
    parts: dict[str, _Sums] = {}
    with _mapped(first) as ours, _mapped(second) as theirs:
        before, after = tensors(ours), tensors(theirs)
        for name in sorted(before.keys() | after.keys()):
            sums = parts.setdefault(_part(name), _Sums())
            one, other = before.get(name), after.get(name)
            if one is None or other is None or one.shape != other.shape:
                sums.unlike += 1
            else:
                sums.add(_numbers(ours, one), _numbers(theirs, other))
    return [sums.told(part) for part, sums in sorted(parts.items())]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    if not path.stat().st_size:
        raise BadAdapter("it is no safetensors file: it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def tensors(file: mmap.mmap | bytes) -> dict[str, Tensor]:
    """Raises BadAdapter."""
    try:
        (length,) = struct.unpack("<Q", file[:8])
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file[8 : 8 + length])
        found = {}
        for name, told in header.items():
            if name == "__metadata__":
                continue
            start, end = (8 + length + int(at) for at in told["data_offsets"])
            tensor = Tensor(told["dtype"], tuple(map(int, told["shape"])), start, end)
            size_bytes = _BYTES[tensor.dtype] * math.prod(tensor.shape)
            if not 0 <= start <= end <= len(file) or end - start != size_bytes:
                raise ValueError(f"{name} does not lie in it")
            found[name] = tensor
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise BadAdapter(f"it is no safetensors file: {error}") from error
    return found


_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def _numbers(file: mmap.mmap, tensor: Tensor) -> Sequence[float]:
    raw = file[tensor.start : tensor.end]
    if tensor.dtype == "F16":
        return struct.unpack(f"<{len(raw) // 2}e", raw)
    if tensor.dtype == "BF16":  # the upper half of an F32
        wide = bytearray(2 * len(raw))
        wide[2::4], wide[3::4] = raw[0::2], raw[1::2]
        raw = bytes(wide)
    numbers = array("f")
    numbers.frombytes(raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class _Sums:
    def __init__(self) -> None:
        self.parameters = self.unlike = 0
        self.difference = self.length = 0.0
        """Squared."""

    def add(self, ours: Sequence[float], theirs: Sequence[float]) -> None:
        self.parameters += len(ours)
        for start in range(0, len(ours), AT_ONCE):
            some = tuple(ours[start : start + AT_ONCE])
            self.difference += math.dist(some, tuple(theirs[start : start + AT_ONCE])) ** 2
            self.length += math.hypot(*some) ** 2

    def told(self, part: str) -> Change:
        change = math.sqrt(self.difference / self.length) if self.length else math.nan
        is_number = math.isfinite(change)
        return Change(part, self.parameters, change if is_number else None, self.unlike)


def _part(name: str) -> str:
    found = _PART.search(name)
    return found[1] if found else name
