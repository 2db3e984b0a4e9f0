"""What KEDA and Kubernetes' HorizontalPodAutoscaler make of a number: their published arithmetic.

Knows no clock, no cluster and no queue: it is told what time it is. One metric, of the type that
KEDA gives to the autoscaler unless told otherwise (external, AverageValue).

Sources: kubernetes.io, "Horizontal Pod Autoscaling" (tolerance, stabilization window, policies,
default behavior); keda.sh, "ScaledObject specification" and "Scaling Deployments" (0 and 1 are
KEDA's, 1 to N the autoscaler's; pollingInterval; cooldownPeriod; activation).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance"""
SYNC_S = 15.0
"""--horizontal-pod-autoscaler-sync-period"""


@dataclass(frozen=True)
class Policy:
    """How far the number of replicas may move in `period_s`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """Of one direction. Of several policies the one counts that lets it move furthest."""

    policies: tuple[Policy, ...]
    window_s: float
    """stabilizationWindowSeconds"""


UP = Rules((Policy("Percent", 100, 15), Policy("Pods", 4, 15)), window_s=0)
DOWN = Rules((Policy("Percent", 100, 15),), window_s=300)
"""What holds where a ScaledObject says nothing."""


@dataclass(frozen=True)
class ScaledObject:
    """Of one Deployment, with KEDA's defaults."""

    target: float
    """AverageValue: of the metric, for each replica."""
    most: int = 100
    least: int = 0
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    up: Rules = UP
    down: Rules = DOWN


def desired(metric: float, target: float, current: int) -> int:
    """Replicas, before windows and policies: the metric over the target, whatever `current` is.

    But nothing changes while the metric is within the tolerance of what `current` is good for.
    """
    if current and abs(1.0 - metric / (target * current)) <= TOLERANCE:
        return current
    return math.ceil(metric / target)


@dataclass
class Autoscaler:
    """One HorizontalPodAutoscaler: what it wanted and did lately."""

    spec: ScaledObject
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, current: int, metric: float) -> int:
        """How many replicas there shall be, from `current`; that counts as done."""
        wanted = min(max(desired(metric, self.spec.target, current), 1), self.spec.most)
        allowed = self._allowed(now, current, self._stabilized(now, current, wanted))
        self._forget(now)
        if allowed != current:
            self._changes.append((now, allowed - current))
        return allowed

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        up = min([wanted, *self._since(now, self.spec.up.window_s)])
        down = max([wanted, *self._since(now, self.spec.down.window_s)])
        self._wanted.append((now, wanted))
        return min(max(current, up), down)

    def _since(self, now: float, window_s: float) -> Iterable[int]:
        return (wanted for at, wanted in self._wanted if at > now - window_s)

    def _allowed(self, now: float, current: int, wanted: int) -> int:
        if wanted > current:
            limit = max(self._up_to(now, current, one) for one in self.spec.up.policies)
            return min(wanted, max(limit, current), self.spec.most)
        if wanted < current:
            limit = min(self._down_to(now, current, one) for one in self.spec.down.policies)
            return max(wanted, min(limit, current), max(self.spec.least, 1))
        return current

    def _up_to(self, now: float, current: int, policy: Policy) -> int:
        start = self._at_start(now, current, policy)
        if policy.kind == "Pods":
            return start + policy.value
        return math.ceil(start * (1 + policy.value / 100))

    def _down_to(self, now: float, current: int, policy: Policy) -> int:
        start = self._at_start(now, current, policy)
        if policy.kind == "Pods":
            return start - policy.value
        return int(start * (1 - policy.value / 100))

    def _at_start(self, now: float, current: int, policy: Policy) -> int:
        """Of the policy's period: how many replicas there were."""
        return current - sum(by for at, by in self._changes if at > now - policy.period_s)

    def _forget(self, now: float) -> None:
        windows = (self.spec.up, self.spec.down)
        longest = max(one.window_s for one in windows)
        period = max(policy.period_s for one in windows for policy in one.policies)
        self._wanted = [one for one in self._wanted if one[0] > now - longest]
        self._changes = [one for one in self._changes if one[0] > now - period]


@dataclass
class Keda:
    """What KEDA itself does: from none to the least (or one), and back to none."""

    spec: ScaledObject
    activation: float = 0.0
    _active_at: float = 0.0

    def poll(self, now: float, current: int, metrics: Sequence[float]) -> int:
        """How many replicas there shall be; `current` where that is the autoscaler's affair.

        Args:
            metrics: of each trigger; one is enough to be active.
        """
        if any(metric > self.activation for metric in metrics):
            self._active_at = now
            return current or max(self.spec.least, 1)
        if current and not self.spec.least and now - self._active_at >= self.spec.cooldown_s:
            return 0
        return current
