"""How much the engine does at once, and how much less once memory ran out.

What was too much for a card is remembered, per card, model and adapter: in a file where there is a
folder for it, so that a worker that starts again need not find it out anew. After a day it is
forgotten: what took the memory may be gone, and to find it out costs a step that is done twice.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared import telemetry

LEAST_CHUNK = 128
"""Shorter parts of prompts free little memory and make them slow: before, there are fewer rows."""
KEPT_S = 24 * 3600.0
MOST_KEPT = 64
"""Of a file; the latest."""

log = telemetry.get_logger("jamak.engine")


@dataclass(frozen=True)
class Size:
    rows: int
    """Candidates at once."""
    positions: int
    """Of a row: visual, prompt and new tokens."""
    chunk: int = 512
    """Tokens of prompts in a step. A prompt is cut at its multiples, whoever else is there."""
    patches: int = 2304
    """Of frames, seen in a step: four of 336 pixels. One frame is, at least."""
    adapters: int = 2
    """In memory at once: the one in use, and one that others still end with, or that comes."""

    def less(self, rows: int, tokens: int) -> "Size | None":
        """Than a step of so many decoding rows and tokens of prompts; None: there is no less.

        The keys and values of rows that are not used any more are given back, so that fewer rows
        help whatever it was that took too much.
        """
        if tokens > max(rows, LEAST_CHUNK):
            return replace(self, chunk=tokens // 2)
        if self.rows > 1:
            return replace(self, rows=min(self.rows, rows if rows > 1 else self.rows) // 2)
        return replace(self, chunk=tokens // 2) if tokens > 1 else None

    def within(self, learned: "Learned") -> "Size":
        return replace(self, **{what: min(getattr(self, what), most) for what, most in learned})


Learned = tuple[tuple[str, int], ...]
"""What there is room for: `rows`, `chunk`, `patches`."""
WHAT = ("rows", "chunk", "patches")


class Limits:
    """What was learned. Only the engine's thread calls it.

    Args:
        file: of this machine; others may write it, too. None: it is kept until this process ends.
        of: the card and the model.
    """

    def __init__(
        self, file: Path | None = None, of: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._file, self._of, self._clock = file, of, clock
        self._learned: dict[str, dict[str, Any]] = {}

    def find(self, adapter: str | None) -> Learned:
        """With this adapter, or a canary beside another one; None: with the base model."""
        found = self._read().get(self._name(adapter), {})
        return tuple((what, found[what]) for what in WHAT if what in found)

    def learn(self, adapter: str | None, size: Size) -> None:
        kept = self._read()
        told = {what: value for what, value in asdict(size).items() if what in WHAT}
        kept.pop(self._name(adapter), None)
        kept[self._name(adapter)] = {**told, "at": self._clock()}
        self._learned = dict([*kept.items()][-MOST_KEPT:])
        if self._file is None:
            return
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(self._learned, indent=1))
            beside.replace(self._file)
        except OSError as error:
            log.warning("what memory allows is not kept", message=str(error))
            with suppress(OSError):
                beside.unlink()

    def _name(self, adapter: str | None) -> str:
        return f"{self._of} {adapter or 'base'}"

    def _read(self) -> dict[str, dict[str, Any]]:
        """Of all cards and models."""
        with suppress(OSError, ValueError):
            if self._file is not None:
                self._learned = json.loads(self._file.read_text())
        kept = self._learned if isinstance(self._learned, dict) else {}
        return {name: told for name, told in kept.items() if self._holds(told)}

    def _holds(self, told: Any) -> bool:
        """Whoever wrote it: a number that makes no sense would stop the engine."""
        if not isinstance(told, dict) or not isinstance(at := told.get("at"), int | float):
            return False
        counts = [told.get(what) for what in WHAT]
        return self._clock() - KEPT_S < at and all(type(one) is int and one > 0 for one in counts)
