"""How numbers lie: from the least to the most."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any


@dataclass(frozen=True)
class Spread:
    n: int
    least: float
    median: float
    p95: float
    most: float
    mean: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None: there are none."""
        found = sorted(values)
        if not found:
            return None
        at = min(len(found) - 1, -(-95 * len(found) // 100) - 1)  # nearest rank
        return cls(len(found), found[0], median(found), found[at], found[-1], fmean(found))

    def dump(self) -> dict[str, Any]:
        return {name: round(value, 4) for name, value in vars(self).items()}

    def cells(self, digits: int = 0) -> list[str]:
        shown = self.least, self.median, self.p95, self.most
        return [f"{value:,.{digits}f}" for value in shown]
