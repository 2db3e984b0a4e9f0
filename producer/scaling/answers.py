"""What is wanted of each class, kept fresh: looked at every few seconds, and told with its age.

What is too old, or could not be read, is told as such and never as a number: nobody may take "I do
not know" for "nothing to do". Knows nothing of HTTP, and of what starts and ends replicas.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError

from producer.backlog.deadlines import Unfed
from producer.scaling.demand import (
    ClassDemand,
    Outside,
    class_of,
    demand_of,
    queues_by_class,
)
from producer.scaling.policy import Line, Wanted, kept, wanted
from producer.scaling.reading import Snapshot, take_snapshot
from shared.broker.apps import CAPTION_QUEUES, TRAIN_QUEUE, reaching_redis
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.errors import JamakError
from shared.settings import CardName, Settings

LOOK_S = 5.0
STALE_S = 60.0
"""Older answers are none."""
TRAIN = "train"


@dataclass(frozen=True)
class Answer:
    """Of one class, or of training."""

    name: str
    wanted: Wanted
    running: int
    of: ClassDemand | None = None
    """None: training."""
    jobs: tuple[int, int] = (0, 0)
    """Of training: that wait, and that run."""

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        told = {
            "class": self.name,
            "wanted": self.wanted.replicas,
            "reason": self.wanted.reason,
            "running": self.running,
            "sums": [
                {"what": what, "value": round(value, 6), "how": how}
                for what, value, how in self.wanted.sums
            ],
        }
        if self.of is None:
            return {**told, "waiting": self.jobs[0], "in_flight": self.jobs[1]}
        return {
            **told,
            "units": {
                "waiting": round(self.of.waiting, 3),
                "in_flight": round(self.of.in_flight, 3),
                "due": round(self.of.due, 3),
            },
            "arrival_units_per_s": round(self.of.demand.arrival_per_s, 6),
            "rate_units_per_s": round(self.of.demand.rate, 6),
            "cold_start_s": round(self.of.demand.cold_start_s, 1),
            "oldest_s": round(self.of.demand.oldest_s, 1),
            "backlog_s": round(self.of.backlog_s, 1),
        }


class NotKnown(JamakError):
    """What is wanted cannot be said now."""

    reason = "not_known"


@dataclass(frozen=True)
class Look:
    """All that was seen at once."""

    answers: dict[str, Answer]
    unknown: dict[str, str]
    """Name -> why there is no answer of it."""
    workers: list[WorkerSeen]
    taken: dict[str, int]


def look_once(
    settings: Settings,
    captions: LeasedQueues,
    training: LeasedQueues,
    unfed: Sequence[Unfed] = (),
    outside: Outside = Outside(),
) -> Look:
    """Raises BrokerUnavailable, BrokerRefuses: Redis does not say."""
    with reaching_redis():
        seen = take_snapshot(captions, CAPTION_QUEUES)
    answers: dict[str, Answer] = {}
    unknown: dict[str, str] = {}
    for card, queues in queues_by_class(CAPTION_QUEUES, settings.scale_classes).items():
        answers[card] = answer_of(card, queues, seen, settings, unfed, outside)
    for queue in CAPTION_QUEUES:
        messages = seen.waiting[queue].messages
        if messages and class_of(queue, settings.scale_classes) is None:
            unknown[queue] = (
                f"{messages} messages of {queue} wait for a class that is not scaled "
                "(JAMAK_SCALE_CLASSES)"
            )
    try:
        with reaching_redis():
            answers[TRAIN] = _of_training(take_snapshot(training, [TRAIN_QUEUE]), settings)
    except JamakError as error:
        if not isinstance(error.__cause__, NoPermissionError):
            raise
        unknown[TRAIN] = f"this user of Redis may not look at training: {error}"
    return Look(answers, unknown, seen.workers, seen.taken)


def answer_of(
    card: CardName,
    queues: Sequence[str],
    seen: Snapshot,
    settings: Settings,
    unfed: Sequence[Unfed] = (),
    outside: Outside = Outside(),
) -> Answer:
    """Args:
    queues: those whose work this class does.
    """
    found = demand_of(card, queues, seen, settings, unfed, outside)
    able = seen if seen.hopeful is None else replace(seen, waiting=seen.hopeful)
    hopeful = demand_of(card, queues, able, settings, unfed, outside).demand
    stay = kept(hopeful)
    least = min(max(found.lasting, stay), settings.scale_most)
    asked = partial(wanted, slo_s=settings.slo_s, least=least)
    most, notes = settings.scale_most, list(found.notes)
    for line in _bounds(card, queues, seen, asked(hopeful, most=most).replicas, found):
        most = max(least, min(most, int(line.value)))
        notes.append(line)
    answer = asked(found.demand, most=most)
    staying = (
        Line("replicas that have work for a minute", stay, "of those that run, by what waits"),
        Line("replicas whose work outlasts a drain", found.lasting, "by what they have in hand"),
    )
    sums = (*notes, *answer.sums[:-1], *staying, answer.sums[-1])
    return Answer(card, replace(answer, sums=sums), found.demand.running, found)


def _bounds(
    card: CardName, queues: Sequence[str], seen: Snapshot, hopeful: int, found: ClassDemand
) -> Iterator[Line]:
    """How many replicas are enough, where more could do no more.

    Args:
        hopeful: so many are wanted for what some worker may do now.
    """
    what, running = "replicas at the most", found.demand.running
    if seen.hopeful is not None and any(seen.hopeful[one] != seen.waiting[one] for one in queues):
        # One of those that run may do what others handed on; where none runs, one finds out.
        tries = running if seen.handed_on.intersection(queues) else 0
        how = "some of what waits no worker may do now"
        yield Line(what, max(1, hopeful, tries), how)
    about = [one.about for one in seen.workers if one.about.get("card") == card]
    if running and all(one.get("paused") or one.get("draining") for one in about):
        yield Line(what, running, "all workers of this class are paused")


def _of_training(seen: Snapshot, settings: Settings) -> Answer:
    """One replica for each job: it holds the card for hours, and nobody takes a second one."""
    waiting = seen.waiting[TRAIN_QUEUE].messages
    running = seen.in_flight[TRAIN_QUEUE].messages
    replicas = min(waiting + running, settings.scale_most)
    lines = (
        Line("training jobs that wait", waiting, "one replica each"),
        Line("training jobs that run", running, "one replica each"),
        Line("replicas wanted", replicas, "the sum of these"),
    )
    told = Wanted(replicas, f"{waiting} training jobs wait and {running} run", lines)
    live = sum(not worker.about.get("draining") for worker in seen.workers)
    return Answer(TRAIN, told, live, None, (waiting, running))


class Answers:
    """The last look, for as long as it is true. Thread-safe.

    Args:
        look: at everything.
        settle_s: how long what a new Redis says is not believed: its workers have not beaten yet.
        before: gets a look before anybody is told of it, and says what may be told.
        clock: seconds.
    """

    def __init__(
        self,
        look: Callable[[], Look],
        settle_s: float,
        before: Callable[[Look], Look] = lambda found: found,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._settle_s, self._before, self._clock = look, settle_s, before, clock
        self._last: Look | None = None
        self._at = clock()
        self._why = "nothing was measured yet"
        self._believed_at = float("-inf")

    def refresh(self) -> None:
        """Raises what `look` and `before` raise; then the last one goes on to grow old."""
        try:
            found = self._look()
        except Exception as error:
            self._why = str(error)
            raise
        now = self._clock()
        if self._last is not None and _is_another_redis(self._last.taken, found.taken):
            self._believed_at = now + self._settle_s
        if now < self._believed_at:
            self._why = "Redis has lost what it knew, and workers have not told it again yet"
            self._last = replace(found, answers={})
            return
        try:
            self._last = self._before(found)
        except Exception as error:
            self._why = str(error)
            raise
        self._at, self._why = now, ""

    @property
    def age_s(self) -> float:
        """Of what is told; before the first look since this process began."""
        return self._clock() - self._at

    def of(self, name: str) -> Answer:
        """Raises NotKnown: with the reason."""
        told, age_s = self._last, self.age_s
        why = f": {self._why}" if self._why else ""
        if told is None or age_s > STALE_S:
            raise NotKnown(f"what is known is {age_s:.0f} s old{why}", age_s=age_s)
        if name not in told.answers:
            raise NotKnown(told.unknown.get(name, self._why), age_s=age_s)
        return told.answers[name]

    def all_of_them(self) -> Iterable[Answer]:
        """Raises NotKnown."""
        told = self._last
        names = list(told.answers) if told and told.answers else [TRAIN]
        return [self.of(name) for name in names]


def _is_another_redis(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """What was counted only ever grows."""
    return any(after.get(queue, 0) < count for queue, count in before.items())
