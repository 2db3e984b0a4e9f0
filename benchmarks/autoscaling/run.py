"""One scenario under one policy, and what came of it."""

import random
from dataclasses import dataclass

import numpy as np
import simpy

from benchmarks.autoscaling.cluster import Cluster
from benchmarks.autoscaling.kubernetes import TOLERANCE
from benchmarks.autoscaling.planned import oracles
from benchmarks.autoscaling.scaler import Scaler, Seen
from benchmarks.autoscaling.scenarios import Scenario, cold_starts

FLAP_S = 600.0
"""Who asks for replicas again so soon would have kept them."""
LONGEST = 4
"""Times as long as a scenario lasts: who has not captioned all by then never will."""
LATE = 0.05
"""Of the captions, at the most, for whoever is in time."""


@dataclass(frozen=True)
class Outcome:
    p50_s: float
    """From the upload to the caption."""
    p95_s: float
    requested_all_s: float | None
    """From the last upload of the burst until as many replicas were asked for as were wanted; None:
    there was no burst."""
    cost: float
    """USD"""
    scale_ins: int
    """Replicas that were ended because fewer were wanted."""
    busy_killed: int
    """Of them, those whose drain was too short for what they had in hand."""
    flaps: int
    """How often more were asked for within ten minutes of having ended some."""
    late: float
    """Share of captions after their time."""


def run(scenario: Scenario, policy: type[Scaler], seed: int) -> Outcome:
    return outcome(scenario, *simulated(scenario, policy, seed))


def simulated(scenario: Scenario, policy: type[Scaler], seed: int) -> tuple[Cluster, list[Scaler]]:
    """The cluster when all is over, and who decided."""
    env = simpy.Environment()
    colds = cold_starts(seed)
    lives = random.Random(seed)  # noqa: S311
    mean = scenario.life_s
    cluster = Cluster(
        env,
        scenario.cards,
        lambda: next(colds),
        lambda: lives.expovariate(1 / mean) if mean < float("inf") else mean,
    )
    draw = np.random.default_rng([seed, 2])
    scalers = [policy(cluster, scenario, card.name, draw) for card in scenario.cards]
    for scaler in scalers:
        scaler.start()
    env.process(cluster.feed(scenario.works))
    if scenario.reclaimed_at is not None:
        env.run(scenario.reclaimed_at)
        cluster.reclaim_some(0.3, draw)
    env.run(scenario.lasts_s)
    while cluster.undone > 1e-6 and env.now < LONGEST * scenario.lasts_s:
        env.run(env.now + 60)
    return cluster, scalers


def run_oracle(scenario: Scenario, seed: int) -> Outcome:
    """The cheapest plan that is in time, of those that have more and more to spare."""
    outcomes = [run(scenario, policy, seed) for policy in oracles()]
    in_time = [one for one in outcomes if one.late <= LATE]
    return min(in_time, key=lambda one: one.cost, default=outcomes[-1])


def outcome(scenario: Scenario, cluster: Cluster, scalers: list[Scaler]) -> Outcome:
    waited = np.array([one.latency_s for one in cluster.done])
    weights = np.array([one.messages for one in cluster.done])
    late = sum(
        one.messages
        for one in cluster.done
        if one.at > scenario.due(one.at - one.latency_s, bulk=one.bulk)
    )
    return Outcome(
        p50_s=quantile(waited, weights, 0.5),
        p95_s=quantile(waited, weights, 0.95),
        requested_all_s=_requested_all(scenario, scalers),
        cost=cluster.bill(),
        scale_ins=cluster.scale_ins,
        busy_killed=cluster.busy_killed,
        flaps=_flaps(cluster.changes),
        late=(late + cluster.undone) / (weights.sum() + cluster.undone),
    )


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, share * below[-1])])


def _requested_all(scenario: Scenario, scalers: list[Scaler]) -> float | None:
    if scenario.burst is None:
        return None
    at, card = scenario.burst
    (scaler,) = (one for one in scalers if one.card.name == card)
    after = [one for one in scaler.seen if one.at >= at]
    if not after:
        return 0.0  # there before
    most = max(one.asked for one in after)

    def is_all(one: Seen) -> bool:
        wanted = most if scaler.goes_by_steps else one.wanted
        return one.asked * (1 + TOLERANCE) >= wanted > 0

    return next((one.at - at for one in after if is_all(one)), None)


def _flaps(changes: list[tuple[float, str, int]]) -> int:
    ended: dict[str, float] = {}
    flaps = 0
    for at, card, by in changes:
        if by < 0:
            ended[card] = at
        elif at - ended.get(card, float("-inf")) < FLAP_S:
            flaps += 1
            ended[card] = float("-inf")
    return flaps
