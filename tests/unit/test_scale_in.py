"""Which pods go when fewer are wanted: chosen by the scaler, ended as Kubernetes documents it."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from producer.scaling.answers import Look, answer_of
from producer.scaling.demand import UPLOADS
from producer.scaling.reading import Pile, Snapshot
from producer.scaling.scale_in import ScaleIn, cost_of, costs_of
from shared.broker.apps import CAPTION_QUEUES
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
    return pods


def seen(pods: list[Pod]) -> Look:
    """What the scaler knows of them: the beats of those that have started."""
    workers = [
        WorkerSeen(
            pod.name,
            1.0,
            {
                "card": CARD,
                "pod": pod.name,
                "drain_s": DRAIN_S,
                "units_per_full_s": RATE,
                "in_hand_of": {QUEUE: [3, pod.units]} if pod.units else {},
            },
        )
        for pod in pods
        if pod.ready
    ]
    piles = {queue: Pile() for queue in CAPTION_QUEUES}
    held = {**piles, QUEUE: Pile([(round(sum(pod.units for pod in pods)), [])])}
    arrivals = {queue: [0.0] * 10 for queue in CAPTION_QUEUES}
    snapshot = Snapshot(piles, held, arrivals, {}, {}, workers)
    answer = answer_of(CARD, [UPLOADS, QUEUE], snapshot, SETTINGS)
    return Look({CARD: answer}, {}, workers, {})


def test_in_a_thousand_scale_ins_nobody_is_ended_that_has_work_for_longer_than_its_drain() -> None:
    luck = random.Random(18)
    scale_ins = idle_ended = busy_ended = lost = 0
    while scale_ins < 1000:
        pods = made(luck)
        found = seen(pods)
        wanted = found.answers[CARD].wanted.replicas
        if wanted >= len(pods):
            continue
        scale_ins += 1
        ScaleIn(lambda costs, pods=pods: _annotate(pods, costs)).prepare(found)
        gone = ended(pods, wanted)
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
    found = seen(pods)
    assert found.answers[CARD].wanted.replicas == 1
    ScaleIn(written.append).prepare(found)
    ScaleIn(written.append).prepare(seen(pods[1:]))
    assert written == [{"p0": 0, "p1": costs_of(found)["p1"]}]


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
