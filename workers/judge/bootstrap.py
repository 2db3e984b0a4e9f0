"""How much of a figure is chance: the set is drawn anew from its own videos, with replacement
(Efron 1979, doi.org/10.1214/aos/1176344552; of two systems Koehn 2004, aclanthology.org/W04-3250).

Videos are drawn and not captions: several captions of one video are one observation.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from workers.judge.items import Item, videos_of
from workers.judge.measures import Numbers

DRAWS, SEED = 1000, 0


class Resampled:
    """Sets drawn from the videos of some captions; the same ones for whatever is asked of them."""

    def __init__(self, items: Sequence[Item], draws: int = DRAWS) -> None:
        places = {video: place for place, video in enumerate(videos_of(items))}
        self.videos, self._places = len(places), [places[item.video] for item in items]
        drawn = np.random.default_rng(SEED).multinomial(
            self.videos, np.full(self.videos, 1 / self.videos), draws
        )
        self._weights = drawn.astype(np.float64)
        """(draws, videos): how often each is in it."""

    def sums(self, sums: Numbers) -> Numbers:
        """(captions, numbers) -> (draws, numbers)."""
        by_video = np.zeros((self.videos, sums.shape[1]))
        np.add.at(by_video, self._places, sums)
        return self._weights @ by_video


def interval(values: Numbers) -> tuple[float, float]:
    """Within which 95 of 100 lie; of those that say something."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def percentiles(values: Numbers, count: int, centre: float, videos: int) -> tuple[float, ...]:
    """Of differences on resampled sets, as far from that of the set as Student's t has it: drawn
    from few videos they lie too near (of eight, one difference of nothing in twelve would look sure
    with 95 % confidence, and not one in twenty). With hundreds they are what they were.

    Args:
        centre: the difference of the set itself.
        videos: at least two.
    """
    shares = np.linspace(0, 100, count)
    found = np.nanpercentile(values, shares)
    wider = [_wider(share / 100, videos) for share in shares]
    # Sorted: where they lean to one side, a median is moved past its neighbours.
    return tuple(sorted(round(float(one), 6) for one in centre + (found - centre) * wider))


def _wider(share: float, videos: int) -> float:
    """The quantile of Student's t by that of a normal distribution, of a mean of so many; the
    expansion of Abramowitz and Stegun (26.7.5), and what is exact for two and three videos."""
    p, freedom = min(max(share, 0.005), 0.995), videos - 1
    p = p if abs(p - 0.5) > 0.01 else 0.51
    z = NormalDist().inv_cdf(p)
    if freedom == 1:
        t = math.tan(math.pi * (p - 0.5))
    elif freedom == 2:
        t = (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    else:
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        )
        t = z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
    return t / z * math.sqrt(videos / freedom)
