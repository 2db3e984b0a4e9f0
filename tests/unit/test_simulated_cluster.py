"""The simulated cluster: by the theory of queues, and by what has to come out the same."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import simpy

from benchmarks import growth
from benchmarks.autoscaling.cluster import NODE_STAYS_S, Card, Cluster, Work
from benchmarks.autoscaling.jamak import AnyPod, Jamak, NotHeld
from benchmarks.autoscaling.oracle import plan, taut
from benchmarks.autoscaling.planned import Fixed, Oracle
from benchmarks.autoscaling.rivals import KedaLlen, SkyPilot
from benchmarks.autoscaling.run import quantile, run, run_oracle, simulated
from benchmarks.autoscaling.scaler import Scaler
from benchmarks.autoscaling.scenarios import (
    BEGIN_S,
    HOUR,
    MOST,
    SLO_S,
    Scenario,
    burst,
    cards,
    churn,
)

DOCS = Path(__file__).parents[2] / "docs"
CARD = Card("l4", 1.0, 8, 3600.0)
"""A unit a second, a dollar a second."""
NEVER = math.inf


def cluster_of(count: int, life_s: float = NEVER, cold_s: float = 0.0) -> Cluster:
    cluster = Cluster(simpy.Environment(), [CARD], lambda: cold_s, lambda: life_s)
    cluster.scale("l4", count, lambda one: 0)
    return cluster


def works(*units: float, at: float = 0.0, messages: float = 1.0) -> list[Work]:
    return [Work(at, "l4", messages, one) for one in units]


def worked(cluster: Cluster, arrivals: list[Work], until: float) -> Cluster:
    cluster.env.process(cluster.feed(arrivals))
    cluster.env.run(until)
    return cluster


@pytest.mark.parametrize("card", cards("t4", "l4", "a100", "h100"), ids=lambda card: card.name)
def test_a_card_is_as_the_page_of_cards_has_it(card: Card) -> None:
    section = (DOCS / "cards.md").read_text().split("## Vicuna-7B")[1].split("3x3 pooling")[0]
    found = re.search(rf"^\| {card.name} \|.* (\d+) \| \d+ \| ([\d.]+) \|$", section, re.M)
    assert found
    assert card.rows == int(found[1])
    assert 1 / card.rate == pytest.approx(float(found[2]), abs=0.006)


def test_who_is_compared_and_who_only_waits_have_the_rows_of_an_l4() -> None:
    """What changes them wants the simulation run again, and its page with it."""
    (l4,) = cards("l4")
    page = (DOCS / "autoscale.md").read_text()
    assert f"as it handles at once ({l4.rows} on an L4)" in page
    assert f"does in the time allowed ({SLO_S * l4.rate:,.0f})" in page
    assert l4.rows == growth.ROWS
    assert l4.rows / l4.rate == pytest.approx(growth.JOB_S, abs=0.06)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.8)])
def test_as_long_as_erlang_says(servers: int, load: float) -> None:
    """M/M/c: Poisson arrivals, exponential work. Erlang's C is the chance to wait at all."""
    draw = np.random.default_rng(7)
    rate, count = servers * load, 20_000
    at = np.cumsum(draw.exponential(1 / rate, count))
    units = draw.exponential(1.0, count)
    arrivals = [Work(float(a), "l4", 1.0, float(u)) for a, u in zip(at, units, strict=True)]
    done = worked(cluster_of(servers), arrivals, float(at[-1]) + 500).done
    assert len(done) == count
    power = rate**servers / math.factorial(servers) / (1 - load)
    waits = power / (sum(rate**n / math.factorial(n) for n in range(servers)) + power)
    expected = waits / (servers - rate) + 1.0
    assert np.mean([one.latency_s for one in done]) == pytest.approx(expected, rel=0.06)


def test_a_replica_works_after_its_cold_start_and_is_paid_for_from_the_beginning() -> None:
    cluster = worked(cluster_of(1, cold_s=100), works(5, 7), 200)
    assert [one.at for one in cluster.done] == [105, 112]
    assert cluster.bill() == pytest.approx(200)


def test_what_was_put_lately_goes_before_a_backlog_three_times_in_four() -> None:
    bulk = [Work(0, "l4", 1, 1, bulk=True)] * 3
    done = worked(cluster_of(1), [*works(*[1] * 7), *bulk], 20).done
    assert "".join("b" if one.bulk else "n" for one in done) == "nnnbnnnbnb"


def test_what_is_reclaimed_comes_back_and_a_part_of_it_is_done_again() -> None:
    """Four of twenty messages are done, and of the eight in the rows the half is lost."""
    cluster = cluster_of(1, life_s=8.0)
    cluster._life = lambda: NEVER  # the node that comes in its place stays
    worked(cluster, works(20, messages=20), 100)
    assert [(one.at, one.messages) for one in cluster.done] == [(38, 4), (54, 16)]
    assert (cluster.reclaimed, cluster.scale_ins, cluster.busy_killed) == (1, 0, 0)
    assert cluster.bill() == pytest.approx(8 + 92)


@pytest.mark.parametrize(("units", "killed", "ends"), [(60, 0, [60]), (110, 1, [95])])
def test_a_scale_in_ends_what_fits_the_drain_and_hands_back_the_rest(
    units: float, killed: int, ends: list[float]
) -> None:
    cluster = cluster_of(1)
    cluster.env.process(cluster.feed(works(units, messages=units)))
    cluster.env.run(10)
    cluster.scale("l4", 0, lambda one: 0)
    cluster.env.run(500)
    assert [one.at for one in cluster.done] == ends
    assert (cluster.scale_ins, cluster.busy_killed) == (1, killed)
    assert cluster.queues["l4"].messages == pytest.approx(15 * killed)
    assert cluster.bill() == pytest.approx(ends[0] + NODE_STAYS_S)


@pytest.mark.parametrize("policy", [Jamak, NotHeld, KedaLlen, SkyPilot, Fixed, Oracle])
def test_each_message_is_done_once_whatever_happens(policy: type[Scaler]) -> None:
    draw = np.random.default_rng(3)
    arrivals = tuple(
        Work(BEGIN_S + 20.0 * n, "l4", 10, float(draw.gamma(20) * (1 + 20 * (n % 9 == 0)) / 2))
        for n in range(150)
    )
    scenario = Scenario("any", cards("l4"), arrivals, 2 * HOUR, life_s=HOUR / 2, reclaimed_at=HOUR)
    cluster, _ = simulated(scenario, policy, 1)
    assert sum(one.messages for one in cluster.done) == pytest.approx(1500)
    assert cluster.undone == pytest.approx(0, abs=1e-6)
    assert cluster.queues["l4"].units == pytest.approx(0, abs=1e-6)


# --- who decides ---------------------------------------------------------------------------------
def test_a_taut_string_bends_only_at_the_curves() -> None:
    assert taut([0, 0, 0, 3], [0, 3, 3, 3]) == [1, 1, 1]
    assert taut([0, 0, 0, 6], [0, 1, 2, 6]) == [1, 1, 4]
    assert taut([0, 4, 4, 4], [0, 4, 4, 4]) == [4, 0, 0]
    rising = taut([0, 0, 1, 2, 9, 9], [0, 2, 4, 9, 9, 9])
    assert sum(rising) == pytest.approx(9)


def test_the_oracle_has_as_many_as_are_in_time_and_no_more() -> None:
    """9,000 units that may take 900 s: ten replicas of a unit a second, to the end."""
    counts = list(plan([(100.0, 9000.0, 1000.0)], 1.0, 10.0))
    assert counts[:10] == [0] * 10
    assert set(counts[10:100]) == {10}
    assert sum(counts) * 10 == pytest.approx(9000, abs=200)


def test_nobody_who_is_in_time_is_cheaper_than_the_oracle() -> None:
    scenario = burst(1, 0.3)
    best = run_oracle(scenario, 1)
    assert best.late == 0
    assert best.p95_s <= SLO_S
    for policy in (Jamak, KedaLlen, Fixed):
        one = run(scenario, policy, 1)
        assert one.late > 0.05 or one.cost > best.cost


def test_skypilot_adds_one_each_300_s_and_ends_who_is_idle_after_1200() -> None:
    outcome, _ = simulated(burst(1, 0.02), SkyPilot, 1)
    ups = [at for at, _, by in outcome.changes if by > 0]
    assert all(by == 1 for _, _, by in outcome.changes if by > 0)
    assert {round(b - a) for a, b in pairwise(ups)} <= {300, 305}
    last = max(one.at for one in outcome.done)
    assert min(at for at, _, by in outcome.changes if by < 0) - last == pytest.approx(1200, abs=40)
    assert outcome.busy_killed == 0


def test_a_burst_asks_for_all_at_once_and_what_lasts_is_not_ended() -> None:
    scenario = burst(2, 1.0)
    one = run(scenario, Jamak, 2)
    assert one.requested_all_s is not None
    assert one.requested_all_s <= 45
    assert one.p95_s <= SLO_S
    assert one.busy_killed == 0
    assert one.scale_ins < MOST


def test_those_go_first_that_are_named_first() -> None:
    for busy_first, killed in ((False, 0), (True, 1)):
        cluster = cluster_of(2)
        cluster.env.process(cluster.feed(works(200)))
        cluster.env.run(10)
        cluster.scale("l4", 1, lambda one, busy=busy_first: one.is_busy != busy)
        cluster.env.run(300)
        assert (cluster.scale_ins, cluster.busy_killed) == (1, killed)


def test_who_is_held_takes_nothing_until_it_is_let_go() -> None:
    cluster = cluster_of(2)
    cluster.env.run(1)
    cluster.hold("l4", cluster.there("l4")[:1])
    cluster.env.process(cluster.feed(works(4, 4)))
    cluster.env.run(20)
    assert [one.at for one in cluster.done] == [5, 9]
    cluster.hold("l4", cluster.there("l4")[1:])
    cluster.env.process(cluster.feed(works(4, 4, at=20)))
    cluster.env.run(40)
    assert [one.at for one in cluster.done[2:]] == [24, 28]
    cluster.env.process(cluster.feed(works(4, 4, at=40)))
    cluster.env.run(41)
    cluster.hold("l4", [])
    cluster.env.run(60)
    assert [one.at for one in cluster.done[4:]] == [44, 45]


def test_who_is_held_before_it_goes_is_never_ended_before_it_is_done() -> None:
    scenario = churn(0, 1.0)
    held, not_held = (run(scenario, policy, 0) for policy in (Jamak, AnyPod))
    assert held.scale_ins > 50
    assert held.busy_killed == 0 < not_held.busy_killed


def test_a_quantile_is_of_messages_and_not_of_pieces() -> None:
    values, weights = np.array([5.0, 1.0, 9.0]), np.array([1.0, 98.0, 1.0])
    assert [quantile(values, weights, share) for share in (0.5, 0.985, 1.0)] == [1, 5, 9]
