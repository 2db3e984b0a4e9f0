"""What is compared between the canary and the incumbent, and how far apart they may be.

Every comparison is a difference from -1 to 1, the larger the worse for the canary: of a pair, the
same video by both; or, of jobs that no worker captions twice, of the mean of those of each that
came since the last comparison, which are different videos. Whose turn a job is, and which are
captioned twice, is decided by a hash of the job, so if the canary is no worse the mean difference
is at most 0, in either case.

Knows nothing of where captions are told of, nor of what follows.
"""

from dataclasses import dataclass
from typing import Literal

from producer.canary.eprocess import Evidence

ALPHA = 0.01
"""The probability that a canary that is not worse is sent back, however long it is watched; and
that one is promoted that is worse by more than may be."""

Name = Literal["bad", "longer", "shorter", "disliked"]


@dataclass(frozen=True)
class Measure:
    name: Name
    alpha: float
    """Its part of ALPHA."""
    harmless: float
    """The canary is not worse while its mean difference is at most this."""
    limit: float | None
    """It is "not worse" if its mean difference is proven to be below this; None: nobody asks."""

    def worse(self, before: Evidence, difference: float) -> Evidence:
        """Against "the canary is not worse"."""
        return before.after((difference - self.harmless) / (1 + self.harmless))

    def fine(self, before: Evidence, difference: float) -> Evidence:
        """Against "it is worse by the limit or more"."""
        assert self.limit is not None, "only of what is asked for"
        return before.after((self.limit - difference) / (1 + self.limit))


TWICE = 0.5
"""The relative difference in length of a text that is twice as long, or half as long."""


def measures(margin: float) -> tuple[Measure, ...]:
    """Args:
    margin: by so much the share of bad captions may be larger, from 0 to 1.
    """
    return (
        Measure("bad", 0.9 * ALPHA, 0.0, margin),
        # An adapter may be made to say less, or more. What is far from before is a fault.
        Measure("longer", 0.03 * ALPHA, TWICE, TWICE),
        Measure("shorter", 0.03 * ALPHA, TWICE, TWICE),
        # Hardly anybody votes: nobody waits for it.
        Measure("disliked", 0.04 * ALPHA, 0.0, None),
    )


def longer_by(canary: float, incumbent: float) -> float:
    """How much longer the canary's text is, of the longer one of both: from -1 to 1."""
    longest = max(canary, incumbent)
    return (canary - incumbent) / longest if longest else 0.0
