"""What one GPU of each class costs in an hour: a dated price list, or what the settings say."""

import json
from dataclasses import dataclass
from importlib import resources

from shared.settings import Settings


@dataclass(frozen=True)
class Prices:
    date: str
    source: str
    usd_per_hour: dict[str, float]
    own: frozenset[str] = frozenset()
    """Classes whose price is the operator's own."""

    def told_of(self, card: str) -> str:
        """Where the price of this class is from."""
        return "JAMAK_USD_PER_HOUR" if card in self.own else f"{self.source}, {self.date}"


def prices(settings: Settings) -> Prices:
    listed = json.loads((resources.files("shared") / "prices.json").read_text(encoding="utf-8"))
    own = settings.usd_per_hour
    return Prices(
        listed["date"], listed["source"], {**listed["usd_per_hour"], **own}, frozenset(own)
    )
