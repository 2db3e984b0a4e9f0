"""How long, and what for: from what live workers measure of themselves, and a dated price list.

Without a measurement there is no estimate: a guess would be believed.
"""

from dataclasses import dataclass
from statistics import median

from shared.broker.leased_queues import WorkerSeen
from shared.cards import GPU_CLASSES
from shared.prices import Prices


@dataclass(frozen=True)
class Estimate:
    """Of one card class that can do the work. Without a measured rate the rest is None."""

    card: str
    workers: int
    """That live and take these jobs."""
    jobs_per_s: float | None
    """Of one busy worker, as measured by itself over the last ten minutes."""
    eta_s: float | None
    """With these workers, if they do nothing else."""
    usd: float | None
    """For the whole work, on this class alone."""


def estimates(jobs: int, workers: list[WorkerSeen], priced: Prices) -> list[Estimate]:
    """One for each class of the workers that take these jobs."""
    found = []
    for card in (*GPU_CLASSES, "cpu"):
        serving = [worker.about for worker in workers if worker.about.get("card") == card]
        if not serving:
            continue
        rates = [about["jobs_per_busy_s"] for about in serving if about.get("jobs_per_busy_s")]
        if not rates:
            found.append(Estimate(card, len(serving), None, None, None))
            continue
        rate = median(rates)
        price = priced.usd_per_hour.get(card)
        found.append(
            Estimate(
                card,
                len(serving),
                rate,
                round(jobs / (rate * len(serving)), 1),
                None if price is None else round(jobs / rate / 3600 * price, 2),
            )
        )
    return found
