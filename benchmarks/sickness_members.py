"""One process of the fleet that falls ill, and what it may take of the machine."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local.metrics import is_ready, read_metrics
from infra.local.processes import Process
from shared.errors import JamakError

TAKEN = ("jamak_captions_total", "jamak_caption_failures_total", "jamak_caption_duplicates_total")
AGAIN_S = 1.0
"""Before one that ended is started again."""
MOST_MEMORY = 4 << 30
"""Of one process. Ours hold well under 1 GB; the S3 server holds all that was uploaded."""


class TooMuchMemory(JamakError):
    """A process of the fleet grows until the machine has no memory left."""

    reason = "too_much_memory"


def check_memory(process: Process) -> None:
    """Raises TooMuchMemory."""
    with suppress(psutil.NoSuchProcess):
        used = psutil.Process(process.pid).memory_info().rss
        if used > MOST_MEMORY:
            raise TooMuchMemory(f"{process.name} holds {used / 2**30:.1f} GB of memory")


@dataclass
class Member:
    """A process that is started again when it ends."""

    name: str
    port: int
    start: Callable[[], Process]
    process: Process
    scratch: Path
    exits: list[int] = field(default_factory=list)
    _ended_at: float | None = None

    def tend(self) -> None:
        code = self.process.poll()
        if code is None:
            return
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            self.exits.append(code)
        elif time.monotonic() - self._ended_at > AGAIN_S:
            self._ended_at = None
            self.scratch.mkdir(parents=True, exist_ok=True)  # as a new container has it
            self.process = self.start()

    @property
    def ready(self) -> bool:
        return self.process.poll() is None and is_ready(self.port)

    @property
    def taken(self) -> float:
        """Jobs that it has ended, since it was started."""
        with suppress(OSError):
            return sum(sample.value for sample in read_metrics(self.port) if sample.name in TAKEN)
        return 0.0

    def family(self) -> list[psutil.Process]:
        """Itself and its children."""
        with suppress(psutil.NoSuchProcess):
            one = psutil.Process(self.process.pid)
            return [one, *one.children(recursive=True)]
        return []
