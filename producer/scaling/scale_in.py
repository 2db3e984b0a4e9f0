"""Before fewer are wanted it is said which pods shall go: those that have the least in hand.

Written before anybody is told the lower number, and only while there is one: each is a request to
the API server. Knows nothing of HTTP.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from producer.scaling.answers import Look
from producer.scaling.demand import units_in_hand
from producer.scaling.pods import PodsUnreachable
from shared import telemetry

STEPS = 4
"""Of a cost, each time that what is in hand doubles: it shall not change with each job."""

log = telemetry.get_logger("jamak.scale")


class ScaleIn:
    """Args:
    set_costs: of pods, by their names.
    """

    def __init__(self, set_costs: Callable[[Mapping[str, int]], None]) -> None:
        self._set_costs = set_costs
        self._ails = telemetry.Repeated(log, "pods are chosen again")

    def prepare(self, found: Look) -> None:
        """What cannot be written is told, and keeps nobody: a pod that is ended drains."""
        costs = costs_of(found)
        if not costs:
            return
        try:
            self._set_costs(costs)
        except PodsUnreachable as error:
            self._ails.failed(
                "cannot say which pods shall go",
                about=error.reason,
                message=str(error),
                cure=error.cure,
            )
        else:
            self._ails.worked()


def costs_of(found: Look) -> dict[str, int]:
    """Pod -> cost, of each class that has more workers than are wanted."""
    fewer = {one.name for one in found.answers.values() if one.wanted.replicas < one.running}
    pods = ((one.about.get("pod"), one.about) for one in found.workers)
    return {
        pod: cost_of(about)
        for pod, about in pods
        if isinstance(pod, str) and about.get("card") in fewer
    }


def cost_of(about: Mapping[str, Any]) -> int:
    """Of a worker by what it says: 0, if it has nothing in hand."""
    units = units_in_hand(about)
    return 1 + math.ceil(STEPS * math.log2(1 + units)) if units else 0
