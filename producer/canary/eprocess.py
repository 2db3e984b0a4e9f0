"""Evidence that may be looked at after every caption, and acted on the first time it is enough.

A bettor begins with 1 and bets, against the claim that the mean of what comes is at most 0, the
same share of what he has each time. If the claim is true he gains nothing on average, so that he
ever has 1 / alpha has a probability of at most alpha (Ville's inequality), however often one looks.
What is held here is the mean of six bettors, who differ in that share, and the same holds for it.

Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (2024), section 4.
Knows nothing of captions.
"""

from dataclasses import dataclass
from functools import cached_property
from math import exp, log, log1p

BETS = (0.2, 0.3, 0.45, 0.55, 0.65, 0.75)
"""The small ones win where the difference is small beside its spread, the large ones sooner."""


@dataclass(frozen=True)
class Evidence:
    """Against "the mean is at most 0"."""

    logs: tuple[float, ...] = (0.0,) * len(BETS)
    """Of what each bettor has: e to the 800 is no float."""

    def after(self, gain: float) -> "Evidence":
        """With one more observation, from -1 to 1, which knows nothing of what comes later."""
        assert -1 <= gain <= 1, "a bettor cannot lose more than he bet"
        return Evidence(
            tuple(had + log1p(bet * gain) for had, bet in zip(self.logs, BETS, strict=True))
        )

    @cached_property
    def log_value(self) -> float:
        """The natural logarithm of what the bettors have, together, of what they began with."""
        most = max(self.logs)
        return most + log(sum(exp(one - most) for one in self.logs) / len(self.logs))

    def is_enough(self, alpha: float) -> bool:
        """True with a probability of at most alpha, at any look, if the claim is true."""
        return self.log_value >= -log(alpha)
