"""From what Redis has to what there is to do for each class, in units and seconds.

Whatever is measured says so; whatever is not yet, is presumed, and says that, too. Knows nothing of
how many replicas that comes to.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from producer.backlog.deadlines import Unfed
from producer.scaling.arrivals import MINUTES, lasting
from producer.scaling.policy import SOONEST_S, Demand, Due, Line, figure
from producer.scaling.reading import Pile, Snapshot
from shared.broker.leased_queues import WorkerSeen
from shared.broker.queue_order import BULK
from shared.cards import CLASSES, GPU_CLASSES
from shared.settings import CardName, Settings
from shared.units import Effort, Units

PRESUMED_START_S = 60.0
"""Of a process, until one has told: the weights, their check, a warm-up."""
UPLOADS = CLASSES["t4"].queue
"""Where the listener puts what SQS holds."""


@dataclass(frozen=True)
class Outside:
    """Uploads that no listener has put into Redis yet."""

    messages: int = 0
    growth_per_s: tuple[float, ...] = ()
    """By how much they became more in each of the last minutes; below 0, where the listener took
    them faster than they came."""


@dataclass(frozen=True)
class ClassDemand:
    """Of one class that is scaled, and how its figures came about."""

    card: CardName
    demand: Demand
    waiting: float
    in_flight: float
    due: float
    """Units; those of backlogs, too, which `demand` has among what is due."""
    lasting: int
    """Live workers whose work in hand takes longer than their drain; not those that drain."""
    notes: tuple[Line, ...]

    @property
    def backlog_s(self) -> float:
        """How long those that run now would take for all of it, for people to look at."""
        return (self.waiting + self.in_flight) / (self.demand.rate * max(1, self.demand.running))


def class_of(queue: str, scaled: Sequence[CardName]) -> CardName | None:
    """Which class of those that are scaled does the work of a queue: the smallest that may; None:
    no one does."""
    least = next(i for i, name in enumerate(GPU_CLASSES) if _is_of(name, queue))
    able: list[CardName] = [*GPU_CLASSES[least:]]
    if least == 0:
        able.insert(1, "cpu")
    return next((name for name in able if name in scaled), None)


def queues_by_class(queues: Iterable[str], scaled: Sequence[CardName]) -> dict[CardName, list[str]]:
    found: dict[CardName, list[str]] = {name: [] for name in scaled}
    for queue in queues:
        card = class_of(queue, scaled)
        if card is not None:
            found[card].append(queue)
    return found


def demand_of(
    card: CardName,
    queues: Sequence[str],
    seen: Snapshot,
    settings: Settings,
    unfed: Sequence[Unfed] = (),
    outside: Outside = Outside(),
) -> ClassDemand:
    """Args:
    queues: those whose work this class does.
    """
    units = Units(settings.model)
    weigh = partial(units.of, card=card)
    live = [one for one in seen.workers if one.about.get("card") == card]
    staying = [one for one in live if not one.about.get("draining")]
    rate = _rate(card, live, seen.learned.get(f"rate:{card}"), units.rate(card))
    start = _cold_start(settings.machine_start_s, seen.learned.get(f"starts:{card}", ""))
    fresh = [queue for queue in queues if not queue.endswith(BULK)]
    bulk = [queue for queue in queues if queue.endswith(BULK)]
    waiting, in_flight = _units(seen.waiting, fresh, weigh), _units(seen.in_flight, fresh, weigh)
    weights = {queue: _weight(seen, queue, weigh) for queue in fresh}
    growing = outside if UPLOADS in fresh else Outside()
    waiting += growing.messages * weights.get(UPLOADS, 1.0)
    promised = [one for one in unfed if one.queue in bulk]
    due = [Due(one.lines * weigh(Effort.of(one.recipe)), one.left_s) for one in promised]
    of_backlogs = _units(seen.waiting, bulk, weigh)
    held_of_backlogs = _units(seen.in_flight, bulk, weigh)
    demand = Demand(
        waiting=waiting,
        in_flight=in_flight,
        arrival_per_s=_arrival(seen, weights, growing),
        oldest_s=max((seen.waiting[one].oldest_s for one in fresh), default=0.0),
        rate=rate.value,
        cold_start_s=start.value,
        running=len(staying),
        due=(
            *_of_backlogs(of_backlogs, held_of_backlogs, rate.value, settings.slo_s, due),
            *due,
        ),
    )
    return ClassDemand(
        card,
        demand,
        waiting + of_backlogs,
        in_flight + held_of_backlogs,
        sum(one.units for one in due),
        sum(_outlasts_drain(one, queues, rate.value) for one in staying),
        (rate, start),
    )


def _arrival(seen: Snapshot, weights: Mapping[str, float], outside: Outside) -> float:
    """What came into Redis, and what more of it waits outside than before."""
    grown = (*[0.0] * (MINUTES - len(outside.growth_per_s)), *outside.growth_per_s)
    return lasting(
        [
            max(
                0.0,
                sum(seen.arrivals[queue][at] * weight for queue, weight in weights.items())
                + grown[at] * weights.get(UPLOADS, 1.0),
            )
            for at in range(MINUTES)
        ]
    )


def _of_backlogs(
    waiting: float, in_flight: float, rate: float, slo_s: float, due: Sequence[Due]
) -> list[Due]:
    """What of backlogs is in the queues. The feeder puts the more there the more is taken, so it
    must not count as what arrives, nor as more than one replica what workers hold of it: they would
    want ever more of themselves. It is wanted within the SLO, or by the first deadline."""
    left_s = min([slo_s, *(one.left_s for one in due)])
    units = waiting + min(in_flight, rate * max(SOONEST_S, left_s))
    return [Due(units, left_s)] if units else []


def _rate(card: CardName, live: Sequence[WorkerSeen], learned: str | None, presumed: float) -> Line:
    told = [rate for one in live if (rate := _positive(one.about.get("units_per_full_s")))]
    what = "units a second of a replica"
    if told:
        return Line(what, median(told), f"the median of {len(told)} live workers, lately")
    if rate := _positive(learned):
        return Line(what, rate, "by the last worker that had its hands full")
    if card == "cpu":
        return Line(what, presumed, "presumed, until a worker tells its own: a CPU may be any")
    return Line(what, presumed, "by docs/cards.md: no worker has told its own yet")


def _cold_start(machine_s: float, starts: str) -> Line:
    told = sorted(filter(None, map(_positive, starts.split())))
    ninth = told[math.ceil(0.9 * len(told)) - 1] if told else PRESUMED_START_S
    how = (
        f"{figure(machine_s)} s for a machine (JAMAK_MACHINE_START_S) and {figure(ninth)} s, "
        f"within which 9 of 10 of the last {len(told)} processes took work"
        if told
        else f"{figure(machine_s)} s for a machine (JAMAK_MACHINE_START_S) and {figure(ninth)} s "
        "for a process, until one has told"
    )
    return Line("seconds of a cold start", machine_s + ninth, how)


def _positive(told: Any) -> float | None:
    """Of what some worker said, of whatever version."""
    try:
        number = float(told)
    except (TypeError, ValueError):
        return None
    return number if 1e-6 < number < 1e6 else None


def _units(piles: Mapping[str, Pile], queues: Iterable[str], weigh: Any) -> float:
    return sum(piles[queue].units(weigh) for queue in queues)


def _weight(seen: Snapshot, queue: str, weigh: Any) -> float:
    """Of a message of this queue, as those are that wait or are in flight; 1, where none is."""
    piles = seen.waiting[queue], seen.in_flight[queue]
    messages = sum(pile.messages for pile in piles)
    return sum(pile.units(weigh) for pile in piles) / messages if messages else 1.0


def units_in_hand(about: Mapping[str, Any], queues: Sequence[str] | None = None) -> float:
    """Of a worker by what it says of itself; one of an older version says how many jobs.

    Args:
        queues: what came from these alone.
    """
    held = about.get("in_hand_of")
    if not isinstance(held, dict):
        return 0.0 if queues is not None else _positive(about.get("in_hand")) or 0.0
    told = [two for queue, two in held.items() if queues is None or queue in queues]
    return sum(_positive(two[1]) or 0.0 for two in told if isinstance(two, list) and len(two) == 2)


def _outlasts_drain(worker: WorkerSeen, queues: Sequence[str], rate: float) -> bool:
    drain_s = _positive(worker.about.get("drain_s"))
    return drain_s is not None and units_in_hand(worker.about, queues) > rate * drain_s


def _is_of(name: CardName, queue: str) -> bool:
    return queue.removesuffix(BULK) == CLASSES[name].queue
