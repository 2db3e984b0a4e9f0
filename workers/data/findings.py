"""What is found in a training set: an error would stop its training or make its scores worthless,
a warning is for people to judge. Knows nothing of how it was found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from shared.errors import BadData, JamakError
from shared.rows import Row

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Told:
    """Of one row or line."""

    place: str
    """A row's id, or `line 3` of what is no row."""
    what: str = ""
    cure: str = ""
    """If it has one of its own."""

    def dump(self) -> dict[str, str]:
        return {"id": self.place, "what": self.what, "cure": self.cure}


@dataclass(frozen=True)
class Finding:
    """One kind of thing, wherever it was found."""

    kind: str
    """A stable word for programs."""
    level: Level
    message: str
    cure: str
    told: tuple[Told, ...] = ()

    def dump(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "level": self.level,
            "message": self.message,
            "cure": self.cure,
            "rows": [one.dump() for one in self.told],
        }


def named(rows: Iterable[Row]) -> tuple[Told, ...]:
    return tuple(Told(row.id) for row in rows)


def faults(kind: str, found: Iterable[tuple[str, JamakError]]) -> Iterator[Finding]:
    """What a training would stop at: a finding for each cure.

    Args:
        found: places, and what is wrong there.
    """
    by_cure = sorted(found, key=lambda one: one[1].cure)  # stable: places stay in order
    for cure, those in groupby(by_cure, key=lambda one: one[1].cure):
        told = tuple(Told(place, str(error)) for place, error in those)
        first = told[0].what
        message = first if len(told) == 1 else f"{first} (and {len(told) - 1} more like it)"
        yield Finding(kind, "error", message, cure, told)


def row_faults(kind: str, found: Iterable[tuple[Row, BadData]]) -> Iterator[Finding]:
    return faults(kind, ((row.id, error) for row, error in found))
