"""Tensors from file to file, as bytes, a few at a time.

A safetensors file is a header in JSON, which says where each tensor lies, and their bytes behind it
(github.com/huggingface/safetensors, "Format"). The library writes a file from tensors that are all
in memory; here a file may be larger than that. Knows nothing of what the tensors mean.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH = {"BF16": 2, "F16": 2, "F32": 4}
"""Kinds of numbers that weights may be of, and the bytes of each."""
CHUNK = 8 << 20
"""Bytes in memory at once."""
ALIGNED = 8
"""A header is filled up with spaces, so that numbers begin at a multiple of their width."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    kind: str
    shape: tuple[int, ...]
    begin: int
    """Of its first byte in the file."""

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * WIDTH[self.kind]

    def rows(self, first: int, end: int) -> Iterator[bytes]:
        """The bytes of some rows, whole rows in each piece where one row is no larger than that."""
        step = max(1, CHUNK // self.row_bytes) * self.row_bytes
        at, left = self.begin + first * self.row_bytes, (end - first) * self.row_bytes
        with self.file.open("rb") as opened:
            opened.seek(at)
            while left:
                piece = opened.read(min(step, left))
                assert piece, f"{self.file} was cut short while it was read"
                left -= len(piece)
                yield piece

    def whole(self) -> Iterator[bytes]:
        return self.rows(0, self.shape[0])


@dataclass(frozen=True)
class New:
    """A tensor of a file to be written."""

    name: str
    kind: str
    shape: tuple[int, ...]
    content: Callable[[], Iterable[bytes]]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        return self.numbers * WIDTH[self.kind]


def stored_in(files: Iterable[Path]) -> dict[str, Stored]:
    """All tensors by name. The files are whole (workers/model/weights.py)."""
    found = {}
    for file in files:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        for name, told in header.items():
            if name != "__metadata__":
                begin = 8 + length + told["data_offsets"][0]
                found[name] = Stored(file, told["dtype"], tuple(told["shape"]), begin)
    return found


def in_shards(tensors: Iterable[New], most: int) -> list[list[New]]:
    """In their order; none larger than `most` bytes, except of a single tensor."""
    shards: list[list[New]] = []
    size = 0
    for one in tensors:
        if not shards or size + one.size > most:
            shards.append([])
            size = 0
        shards[-1].append(one)
        size += one.size
    return shards


def write_tensors(file: Path, tensors: Sequence[New]) -> None:
    # The widest first: then all of them begin at a multiple of their width.
    ordered = sorted(tensors, key=lambda one: (-WIDTH[one.kind], one.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for one in ordered:
        offsets = [at, at := at + one.size]
        header[one.name] = {"dtype": one.kind, "shape": list(one.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for one in ordered:
            begin = opened.tell()
            for piece in one.content():
                opened.write(piece)
            assert opened.tell() - begin == one.size, one.name
