"""What one GPU of each class costs in an hour: a dated price list, or what the settings say."""

import json
from dataclasses import dataclass
from importlib import resources

from shared.cards import CardChoice
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


@dataclass(frozen=True)
class Price:
    usd_per_hour: float | None
    """None: nobody has said."""
    source: str = ""


def price_of(settings: Settings, choice: CardChoice | None) -> Price:
    """Of one GPU. An emulated card is paid for by nobody, unless somebody says what it costs."""
    listed = prices(settings)
    card = choice.card.name if choice else ""
    if card not in listed.usd_per_hour or (choice and choice.emulated and card not in listed.own):
        return Price(None)
    return Price(listed.usd_per_hour[card], listed.told_of(card))


def prices(settings: Settings) -> Prices:
    listed = json.loads((resources.files("shared") / "prices.json").read_text(encoding="utf-8"))
    own = settings.usd_per_hour
    return Prices(
        listed["date"], listed["source"], {**listed["usd_per_hour"], **own}, frozenset(own)
    )
