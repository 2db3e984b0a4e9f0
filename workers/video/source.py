"""Where a video's bytes come from: anything that can give a range of them.

Knows nothing of S3 or HTTP: whoever names a source brings the `fetch` for it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import EmptyFile, Missing


@dataclass(frozen=True)
class Source:
    name: str
    """How messages call it."""
    size_bytes: int
    fetch: Callable[[int, int], bytes]
    """`fetch(start, end)`: exactly these bytes, the end not included; from many threads at once.
    It must always be of one and the same content, or raise."""
    stop: Callable[[], None] = lambda: None
    """Nobody waits any more for what is being fetched now: what can be ended of it, is."""
    still: bool = False
    """A picture that stands alone is wanted, and no video: it is one of a single frame."""


def file_source(path: Path, *, still: bool = False) -> Source:
    """A file on this machine. Raises Missing, EmptyFile."""
    if not path.is_file():
        raise Missing(f"{path}: there is no such file", cure="Check the path.")
    size = path.stat().st_size
    if size == 0:
        raise EmptyFile(f"{path.name} has 0 bytes", size_bytes=0)

    def fetch(start: int, end: int) -> bytes:
        with path.open("rb") as file:
            return os.pread(file.fileno(), end - start, start)

    return Source(path.name, size, fetch, still=still)
