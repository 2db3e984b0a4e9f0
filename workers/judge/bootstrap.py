"""How much of a figure is chance: the set is drawn anew from its own videos, with replacement
(Efron 1979, doi.org/10.1214/aos/1176344552; of two systems Koehn 2004, aclanthology.org/W04-3250).

Videos are drawn and not captions: several captions of one video are one observation.
"""

from collections.abc import Sequence

import numpy as np

from workers.judge.items import Item, videos_of
from workers.judge.measures import Numbers

DRAWS, SEED = 1000, 0


class Resampled:
    """Sets drawn from the videos of some captions; the same ones for whatever is asked of them."""

    def __init__(self, items: Sequence[Item], draws: int = DRAWS) -> None:
        places = {video: place for place, video in enumerate(videos_of(items))}
        self._videos, self._places = len(places), [places[item.video] for item in items]
        drawn = np.random.default_rng(SEED).multinomial(
            self._videos, np.full(self._videos, 1 / self._videos), draws
        )
        self._weights = drawn.astype(np.float64)
        """(draws, videos): how often each is in it."""

    def sums(self, sums: Numbers) -> Numbers:
        """(captions, numbers) -> (draws, numbers)."""
        by_video = np.zeros((self._videos, sums.shape[1]))
        np.add.at(by_video, self._places, sums)
        return self._weights @ by_video


def interval(values: Numbers) -> tuple[float, float]:
    """Within which 95 of 100 lie; of those that say something."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def percentiles(values: Numbers, count: int) -> tuple[float, ...]:
    found = np.nanpercentile(values, np.linspace(0, 100, count))
    return tuple(round(float(one), 6) for one in found)
