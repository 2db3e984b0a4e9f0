"""Bad and odd videos, each with what may come of it: made by code, the same each time.

Broken, lying, huge and merely unusual files. Knows nothing of how they are decoded.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.damaged import cuts, damaged
from tests.hostile.encrypted import encrypted
from tests.hostile.expected import Made
from tests.hostile.giants import giants
from tests.hostile.lying_matroska import lying_matroska
from tests.hostile.lying_mp4 import lying_boxes, lying_mp4
from tests.hostile.no_videos import no_videos, pointers, sounds
from tests.hostile.odd import odd, turned
from tests.hostile.streams import streams


@dataclass(frozen=True)
class Hostile:
    name: str
    path: Path
    expect: frozenset[str]
    """What may come of it: "ok", "partial" (frames are missing or damaged), or the `reason` of an
    error."""


def make_corpus(folder: Path) -> list[Hostile]:
    """Write every file of it into the folder."""
    corpus = []
    for name, expect, content in made():
        path = folder / name
        path.write_bytes(content)
        corpus.append(Hostile(name, path, expect))
    return corpus


@functools.cache
def made() -> list[tuple[str, frozenset[str], bytes]]:
    """Once a run: it takes seconds."""
    return [one for group in GROUPS for one in group()]


GROUPS: list[Callable[[], Made]] = [
    no_videos,
    sounds,
    pointers,
    encrypted,
    cuts,
    damaged,
    odd,
    turned,
    lying_mp4,
    lying_boxes,
    lying_matroska,
    giants,
    streams,
]
