"""The arithmetic of KEDA and of Kubernetes' autoscaler, as their pages tell it."""

from itertools import pairwise

import pytest

from benchmarks.autoscaling.kubernetes import (
    DOWN,
    UP,
    Autoscaler,
    Keda,
    Policy,
    Rules,
    ScaledObject,
    desired,
)


@pytest.mark.parametrize(
    ("metric", "target", "current", "replicas"),
    [
        (30, 10, 1, 3),  # keda.sh, AWS SQS: 30 messages, 10 for a pod
        (40, 10, 0, 4),  # keda.sh, Scaling Deployments: 40 messages, threshold 10
        (200, 100, 1, 2),  # kubernetes.io: a ratio of 2.0 doubles,
        (50 * 4, 100, 4, 2),  # and one of 0.5 halves
        (1500, 100, 10, 15),  # docs.aws.amazon.com, scaling on SQS: 1,500 messages, 100 each
        (50 * 90, 75, 50, 60),  # kubernetes.io, v1.33: 50 replicas at 90 %, target 75 %
        (109, 10, 10, 10),  # within a tenth
        (91, 10, 10, 10),
        (111, 10, 10, 12),
        (89, 10, 10, 9),
        (7, 1, 100, 7),  # whatever runs: no feedback
    ],
)
def test_replicas_are_the_metric_over_the_target(
    metric: float, target: float, current: int, replicas: int
) -> None:
    assert desired(metric, target, current) == replicas


def grown(scaler: Autoscaler, metric: float, *, start: int, syncs: int) -> list[int]:
    counts = [start]
    for n in range(syncs):
        counts.append(scaler.sync(15.0 * n, counts[-1], metric))
    return counts


def test_by_default_it_doubles_or_adds_four_in_15_s() -> None:
    """kubernetes.io, "Default Behavior": the larger of 4 pods and 100 % every 15 seconds."""
    scaler = Autoscaler(ScaledObject(target=1, most=100))
    assert grown(scaler, 1000, start=1, syncs=6) == [1, 5, 10, 20, 40, 80, 100]


def test_a_policy_counts_over_its_own_period() -> None:
    rules = Rules((Policy("Pods", 6, 60),), window_s=0)
    scaler = Autoscaler(ScaledObject(target=1, up=rules))
    assert grown(scaler, 50, start=1, syncs=6) == [1, 7, 7, 7, 7, 13, 13]


def test_a_part_of_a_replica_is_rounded_up_going_up_and_left_out_going_down() -> None:
    rules = Rules((Policy("Percent", 50, 60),), window_s=0)
    assert Autoscaler(ScaledObject(target=1, up=rules)).sync(0, 7, 50) == 11
    assert Autoscaler(ScaledObject(target=1, down=rules)).sync(0, 7, 1) == 3


def test_going_down_ten_percent_or_four_pods_a_minute() -> None:
    """kubernetes.io, "Scaling policies": 80 to 10 replicas goes 80, 72, 64 (7.2 makes 8), and
    from 40 on four at a time."""
    rules = Rules((Policy("Pods", 4, 60), Policy("Percent", 10, 60)), window_s=0)
    scaler = Autoscaler(ScaledObject(target=1, down=rules))
    counts = [80]
    while counts[-1] > 10:
        counts.append(scaler.sync(61.0 * len(counts), counts[-1], 10))
    assert counts[:3] == [80, 72, 64]
    below = [count for count in counts if count <= 40]
    assert [a - b for a, b in pairwise(below)][:-1] == [4] * (len(below) - 2)
    assert counts[-1] == 10


def test_down_goes_to_the_most_that_was_wanted_in_the_window() -> None:
    """kubernetes.io, "Stabilization window": a rolling maximum of 5 minutes."""
    scaler = Autoscaler(ScaledObject(target=1))
    assert scaler.sync(0, 10, 10) == 10
    assert scaler.sync(15, 10, 4) == 10
    assert scaler.sync(150, 10, 6) == 10
    assert scaler.sync(299, 10, 2) == 10
    assert scaler.sync(301, 10, 2) == 6
    assert scaler.sync(451, 6, 2) == 2


def test_up_waits_for_the_least_that_was_wanted_in_its_window() -> None:
    scaler = Autoscaler(ScaledObject(target=1, up=Rules(UP.policies, window_s=60)))
    assert scaler.sync(0, 2, 2) == 2
    assert scaler.sync(15, 2, 5) == 2
    assert scaler.sync(61, 2, 6) == 5


def test_it_keeps_to_most_and_never_goes_to_none() -> None:
    scaler = Autoscaler(ScaledObject(target=1, most=5, down=Rules(DOWN.policies, window_s=0)))
    assert scaler.sync(0, 4, 900) == 5
    assert scaler.sync(15, 5, 0) == 1


def test_none_and_one_are_kedas() -> None:
    """keda.sh, "Activating and Scaling Thresholds": active is strictly more than the activation;
    "cooldownPeriod": after the last time it was active, and only for going to none."""
    keda = Keda(ScaledObject(target=10, cooldown_s=300), activation=50)
    assert keda.poll(0, 0, [40]) == 0
    assert keda.poll(30, 0, [50]) == 0
    assert keda.poll(60, 0, [0, 51]) == 1
    assert keda.poll(90, 7, [51]) == 7
    assert keda.poll(389, 7, [0]) == 7
    assert keda.poll(390, 7, [0]) == 0
    least = Keda(ScaledObject(target=10, least=2))
    assert least.poll(0, 0, [1]) == 2
    assert least.poll(9999, 2, [0]) == 2
