"""Which pods go when fewer are wanted: chosen by the scaler, ended as Kubernetes documents it."""

import random
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from benchmarks.autoscaling.kubernetes import desired
from producer.scaling.answers import Answer, Look, answer_of
from producer.scaling.demand import UPLOADS
from producer.scaling.going import TOLERANCE, Running, still_finish, to_go
from producer.scaling.policy import Line, Wanted
from producer.scaling.reading import Pile, Snapshot
from producer.scaling.scale_in import GOES, ScaleIn, cost_of, costs_of
from shared.broker.apps import CAPTION_QUEUES
from shared.broker.held import HOLD_S
from shared.broker.leased_queues import WorkerSeen
from shared.settings import Settings

CARD, QUEUE = "l4", "caption.l4"
DRAIN_S, RATE = 25.0, 1.5
SETTINGS = Settings(model="vicuna-7b", scale_classes=(CARD,), drain_s=DRAIN_S)


@dataclass
class Pod:
    """As the ReplicaSet's controller looks at it."""

    name: str
    phase: str
    ready: bool
    ready_s: int
    units: float
    """Of work in hand."""
    cost: int = 0
    node: int = 0
    held: bool = False
    told: tuple[float, bool, float] = (0.0, False, 0.0)
    """By its last beat: what it had in hand, whether it was held, and when that was."""

    @property
    def outlasts(self) -> bool:
        return self.units / RATE > DRAIN_S


PHASES = ("unassigned", "Pending", "Unknown", "Running")


def ended(pods: list[Pod], replicas: int) -> list[Pod]:
    """Those that the ReplicaSet's controller ends to have so many: the documented order, from the
    first criterion in which two pods differ. Kubernetes documents for a scale down: pods that are
    pending go first, then those with the lower deletion cost, then those on the nodes with more
    replicas, then those that came later; the controller also compares phase and readiness first.
    """
    on_node = Counter(pod.node for pod in pods)
    order = sorted(
        pods,
        key=lambda pod: (
            PHASES.index(pod.phase),
            pod.ready,
            pod.cost,
            -on_node[pod.node],
            pod.ready_s,
        ),
    )
    return order[: max(0, len(pods) - replicas)]


class Zset:
    """Stands for the one in Redis, and for the takes that look at it."""

    def __init__(self, pods: list[Pod]) -> None:
        self.pods = {pod.name: pod for pod in pods}

    def held(self) -> set[str]:
        return {name for name, pod in self.pods.items() if pod.held}

    def hold(self, workers: Collection[str]) -> None:
        for name in workers:
            self.pods[name].held = True

    def lift(self, workers: Iterable[str]) -> None:
        for name in workers:
            self.pods[name].held = False


def made(luck: random.Random) -> list[Pod]:
    """A fleet at work: some start, some are idle, some have short or long jobs."""
    kinds = luck.choices(
        ("starting", "idle", "short", "long"), weights=(1, luck.random() * 6, 3, 2), k=60
    )
    pods = []
    for number, kind in enumerate(kinds[: luck.randint(2, 60)]):
        units = {"short": luck.uniform(0.1, RATE * DRAIN_S), "long": luck.uniform(40, 4000)}
        starts = kind == "starting"
        pods.append(
            Pod(
                f"captioner-{number}",
                luck.choice(PHASES[:2]) if starts else "Running",
                not starts,
                luck.randint(1, 10_000),
                round(units.get(kind, 0.0), 3),
                node=luck.randint(0, 20),
            )
        )
        pods[-1].told = (pods[-1].units, False, -1.0)
    return pods


def seen(pods: list[Pod], now: float = 0.0) -> Look:
    """What the scaler knows of them: the beats of those that have started."""
    workers = []
    for pod in pods:
        units, held, at = pod.told
        about = {
            "card": CARD,
            "pod": pod.name,
            "drain_s": DRAIN_S,
            "units_per_full_s": RATE,
            "in_hand_of": {QUEUE: [3, units]} if units else {},
            "held": held,
        }
        workers += [WorkerSeen(pod.name, now - at, about)] if pod.ready else []
    piles = {queue: Pile() for queue in CAPTION_QUEUES}
    held = {**piles, QUEUE: Pile([(round(sum(pod.units for pod in pods)), [])])}
    arrivals = {queue: [0.0] * 10 for queue in CAPTION_QUEUES}
    snapshot = Snapshot(piles, held, arrivals, {}, {}, workers)
    answer = answer_of(CARD, [UPLOADS, QUEUE], snapshot, SETTINGS)
    return Look({CARD: answer}, {}, workers, {})


def scaled_in(luck: random.Random) -> list[Pod] | None:
    """Those that are ended of a fleet at work, when the first lower number is told; None: none is.

    Whoever is idle and not held may take a video at any time: after its beat, before a look, and
    between a look and its end.
    """
    pods, now = made(luck), 0.0
    scale_in = ScaleIn(lambda costs: _annotate(pods, costs), Zset(pods), lambda: now)
    beats = {pod.name: luck.uniform(0, 7.5) for pod in pods}
    for _ in range(60):
        _take(pods, luck)
        running = sum(pod.ready for pod in pods)
        wanted = scale_in.prepare(seen(pods, now)).answers[CARD].wanted.replicas
        _take(pods, luck)
        if wanted < running:
            return ended(pods, wanted)
        for pod in pods:
            pod.units = max(0.0, pod.units - RATE * 5)
            if now + 5 >= beats[pod.name]:
                pod.told = (pod.units, pod.held, beats[pod.name])
                beats[pod.name] += 7.5
        now += 5
    return None


def _take(pods: list[Pod], luck: random.Random) -> None:
    for pod in pods:
        if pod.ready and not pod.units and not pod.held and luck.random() < 0.05:
            pod.units = luck.uniform(1, 2000)


def test_in_a_thousand_scale_ins_nobody_is_ended_that_has_anything_in_hand() -> None:
    luck, gone, scale_ins = random.Random(18), 0, 0
    while scale_ins < 1000:
        pods = scaled_in(luck)
        if pods is not None:
            scale_ins += 1
            gone += len(pods)
            assert [pod for pod in pods if pod.units] == []
    assert gone > 5000


def of_older(found: Look) -> Look:
    for one in found.workers:
        del one.about["held"]
    return found


def test_in_a_thousand_scale_ins_nobody_is_ended_that_has_work_for_longer_than_its_drain() -> None:
    """Of a version that takes all the same: it drains."""
    luck = random.Random(18)
    scale_ins = idle_ended = busy_ended = lost = 0
    while scale_ins < 1000:
        pods = made(luck)
        found = of_older(seen(pods))
        wanted = found.answers[CARD].wanted.replicas
        if wanted >= len(pods):
            continue
        scale_ins += 1
        scale_in = ScaleIn(lambda costs, pods=pods: _annotate(pods, costs), Zset(pods))
        running = found.answers[CARD].running
        is_left = 0 < running - wanted <= TOLERANCE * running
        told = scale_in.prepare(found).answers[CARD].wanted.replicas
        assert told == (running if is_left else wanted)  # nobody is held, so nobody is waited for
        gone = ended(pods, told)
        busy = [pod for pod in gone if pod.units]
        idle = sum(not pod.units for pod in pods)
        assert len(busy) == max(0, len(gone) - idle)  # none while an idle one is left
        idle_ended += len(gone) - len(busy)
        busy_ended += len(busy)
        lost += sum(pod.outlasts for pod in gone)
    assert lost == 0
    assert idle_ended > 5000 and busy_ended > 1000  # these drain: they finish what they have


def _annotate(pods: list[Pod], costs: Any) -> None:
    for pod in pods:
        pod.cost = costs.get(pod.name, pod.cost)


def test_without_costs_the_busy_would_be_ended() -> None:
    luck, lost = random.Random(18), 0
    for _ in range(300):
        pods = made(luck)
        lost += sum(pod.outlasts for pod in ended(pods, seen(pods).answers[CARD].wanted.replicas))
    assert lost > 100


def test_costs_are_written_only_where_fewer_are_wanted() -> None:
    written: list[Any] = []
    pods = [Pod(f"p{number}", "Running", True, 9, units) for number, units in enumerate((0.0, 90))]
    for pod in pods:
        pod.told = (pod.units, False, 0.0)
    found = seen(pods)
    assert found.answers[CARD].wanted.replicas == 1
    scale_in = ScaleIn(written.append, Zset(pods))
    scale_in.prepare(found)
    scale_in.prepare(seen(pods[1:]))
    assert written == [{"p0": GOES, "p1": costs_of(found)["p1"]}]
    assert [pod.held for pod in pods] == [True, False]


def worker(number: int, units: float = 0.0, **more: Any) -> Running[int]:
    return Running(number, units, 1.0, DRAIN_S, **more)


def test_those_go_that_go_already_and_then_those_with_the_least_in_hand() -> None:
    there = [worker(1, 5), worker(2), worker(3, 90, held_s=9), worker(4, 7, held_s=9)]
    order = [4, 3, 2, 1]
    for many in range(5):
        assert [one.name for one in to_go(there, many)] == order[:many]
    assert to_go(there, -1) == []


@pytest.mark.parametrize(
    ("done", "one"),
    [
        (True, worker(1, held_s=2.0, says_held=True)),
        (False, worker(1)),
        (False, worker(1, held_s=0.5, says_held=True)),  # by a beat of an earlier hold
        (False, worker(1, held_s=2.0)),  # it may have taken something before it knew
        (False, worker(1, 3, held_s=2.0, says_held=True)),
        (False, worker(1, 3, held_s=HOLD_S + DRAIN_S, says_held=True)),
        (True, worker(1, 3, held_s=HOLD_S + DRAIN_S + 1, says_held=True)),
    ],
)
def test_who_is_held_is_waited_for_until_it_says_that_it_has_nothing(
    done: bool, one: Running[int]
) -> None:
    assert one.is_done is done
    assert still_finish([one, one]) == (0 if done else 2)


def test_the_lower_number_is_told_when_those_that_go_have_nothing_left() -> None:
    pods = [Pod(f"p{number}", "Running", True, 9, 0.0) for number in range(3)]
    pods[0].told = (90.0, False, 0.0)
    now, zset = 0.0, Zset(pods)
    scale_in = ScaleIn(lambda costs: None, zset, lambda: now)

    def told() -> tuple[int, set[str]]:
        return scale_in.prepare(seen(pods, now)).answers[CARD].wanted.replicas, zset.held()

    assert told() == (3, {"p1", "p2"})
    now = 5.0
    pods[1].told, pods[2].told = (0.0, True, 4.0), (6.0, True, 4.0)  # it had taken one just before
    assert told() == (2, {"p1", "p2"})
    now, pods[2].told = 10.0, (0.0, True, 9.0)
    assert told() == (1, {"p1", "p2"})
    pods[0].units = 9000.0  # more are wanted again
    assert seen(pods, now).answers[CARD].wanted.replicas >= 3
    assert told()[1] == set()


def test_nobody_is_held_whom_kubernetes_would_keep() -> None:
    """It would be paid for, and take nothing."""
    for running in range(1, 41):
        pods = [Pod(f"p{number}", "Running", True, 9, 0.0) for number in range(running)]
        found = seen(pods)
        for wanted in range(running):
            zset, written = Zset(pods), list[Any]()
            answer = Answer(CARD, Wanted(wanted, "", (Line("", wanted, ""),)), running)
            told = ScaleIn(written.append, zset).prepare(replace(found, answers={CARD: answer}))
            kept = desired(wanted, 1, running) == running
            assert len(zset.held()) == (0 if kept else running - wanted), (running, wanted)
            assert bool(written) is not kept
            # As many as run: of those that start, of which the scaler knows nothing, none is kept
            # in the place of one that works.
            assert told.answers[CARD].wanted.replicas == running
            zset.lift(zset.held())


def test_who_is_in_no_pod_or_cannot_be_held_is_not() -> None:
    pods = [Pod(f"p{number}", "Running", True, 9, 0.0) for number in range(3)]
    found, zset = seen(pods), Zset(pods)
    del found.workers[0].about["held"]  # an older version
    found.workers[1].about["pod"] = None
    found.workers[2].about["draining"] = True
    assert ScaleIn(lambda costs: None, zset).prepare(found) == found
    assert zset.held() == set()


def test_a_cost_grows_with_what_is_in_hand_and_not_with_each_job() -> None:
    def cost(units: float) -> int:
        return cost_of({"in_hand_of": {QUEUE: [1, units]}})

    costs = [cost(units) for units in (0, 0.01, 1, 5, 30, 900, 1e5)]
    assert costs == sorted(costs) and costs[0] == 0 < costs[1] and costs[-1] < 2**31
    assert cost(30) == cost(30.5)
    assert cost_of({"in_hand": 3}) > cost_of({"in_hand": 0}) == cost_of({}) == 0


@pytest.mark.parametrize("odd", [{QUEUE: "x"}, {QUEUE: [1]}, {QUEUE: [1, "x"]}, [1], None])
def test_whatever_a_worker_says_of_itself_breaks_nothing(odd: Any) -> None:
    assert cost_of({"in_hand_of": odd, "in_hand": odd}) == 0
