"""Who goes when there shall be fewer, and how many of them still finish what they have.

Who is to go takes nothing more, and the lower number is told when they have nothing left. Pure:
knows nothing of Redis and of Kubernetes. The simulations run the same code.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.broker.held import HOLD_S

TOLERANCE = 0.1
"""Of those that run: so many too many Kubernetes leaves (its HorizontalPodAutoscaler's default)."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Running(Generic[Name]):
    """A worker that is ready, by its last beat."""

    name: Name
    units: float
    """In hand."""
    silent_s: float
    """Since that beat."""
    drain_s: float
    says_held: bool = False
    held_s: float | None = None
    """For how long it has been; None: it is not."""

    @property
    def is_done(self) -> bool:
        """It has nothing, and gets nothing; or it has had so long that it cannot be waited for."""
        if self.held_s is None:
            return False
        # A beat of before may come from an earlier hold, after which it took something.
        knows = self.says_held and self.silent_s < self.held_s
        return (knows and not self.units) or self.held_s > HOLD_S + self.drain_s


def too_many(running: int, wanted: int) -> int:
    """How many go: none that Kubernetes would leave, for held they would do nothing for hours."""
    more = running - wanted
    return more if more > TOLERANCE * running else 0


def to_go(running: Iterable[Running[Name]], many: int) -> list[Running[Name]]:
    """Those that go already, and then those that have the least in hand."""
    order = sorted(running, key=lambda one: (one.held_s is None, one.units))
    return order[: max(0, many)]


def still_finish(going: Collection[Running[Name]]) -> int:
    """As many count as wanted, until they are done."""
    return sum(not one.is_done for one in going)
