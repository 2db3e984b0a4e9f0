"""Before fewer are wanted it is said which pods shall go: those that have the least in hand.

Kubernetes reads it from their deletion cost, and the workers in them take nothing more. Only when
they have nothing left is the lower number told. Nothing is written but while fewer are wanted: each
cost is a request to the API server. Knows nothing of HTTP.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from redis.exceptions import NoPermissionError

from producer.scaling.answers import TRAIN, Answer, Look
from producer.scaling.demand import units_in_hand
from producer.scaling.going import Running, still_finish, to_go, too_many
from producer.scaling.pods import PodsUnreachable
from producer.scaling.policy import Line
from shared import telemetry
from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import WorkerSeen
from shared.errors import BrokerRefuses

STEPS = 4
"""Of a cost, each time that what is in hand doubles: it shall not change with each job."""
DONE, GOES = -2000, -1000
"""Are added to the cost of who is held: it goes before any pod without a cost (0), and before those
that may have taken something since they said that they had nothing."""

log = telemetry.get_logger("jamak.scale")


class Holding(Protocol):
    """`shared/broker/held.py`. Raises redis.RedisError."""

    def held(self) -> set[str]: ...
    def hold(self, workers: Collection[str]) -> None: ...
    def lift(self, workers: Iterable[str]) -> None: ...


class ScaleIn:
    """Args:
    set_costs: of pods, by their names.
    clock: seconds.
    """

    def __init__(
        self,
        set_costs: Callable[[Mapping[str, int]], None],
        holds: Holding,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._set_costs, self._holds, self._clock = set_costs, holds, clock
        self._since: dict[str, float] = {}
        """Of each that is held: since when, as far as this process knows."""
        self._pods = telemetry.Repeated(log, "pods are chosen again")
        self._redis = telemetry.Repeated(log, "workers are held again")

    def prepare(self, found: Look) -> Look:
        """What may be told: who shall go and still has something counts as wanted.

        What may not be written is told in the log, and keeps nobody: a pod that is ended drains.

        Raises:
            BrokerUnavailable, BrokerRefuses: Redis does not say who is held.
        """
        going: dict[str, list[Running[str]]] = {}
        try:
            with reaching_redis():
                going = self._hold(found)
        except BrokerRefuses as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise
            self._redis.failed("cannot hold workers", message=str(error), cure=error.cure)
        else:
            self._redis.worked()
        self._write(costs_of(found, [one for many in going.values() for one in many]))
        answers = {
            name: _with_those_left(_told(answer, still_finish(going.get(name, ()))))
            for name, answer in found.answers.items()
        }
        return replace(found, answers=answers)

    def _hold(self, found: Look) -> dict[str, list[Running[str]]]:
        """By their classes."""
        now, held = self._clock(), self._holds.held()
        self._since = {name: self._since.get(name, now) for name in held}
        going = {}
        for name, answer in found.answers.items():
            if name == TRAIN:
                continue  # each of its workers ends after one job
            there = [one for one in found.workers if _may_go(one, name)]
            running = [self._running(one, now) for one in there]
            going[name] = to_go(running, _too_many(answer))
            names = {one.name for one in going[name]}
            let_go = {one.name for one in running} & held - names
            self._holds.lift(let_go)
            self._holds.hold(names)
            self._since = {one: at for one, at in self._since.items() if one not in let_go}
            self._since |= dict.fromkeys(names - held, self._clock())
        return going

    def _running(self, worker: WorkerSeen, now: float) -> Running[str]:
        drain_s = worker.about.get("drain_s")
        since = self._since.get(worker.name)
        return Running(
            worker.name,
            units_in_hand(worker.about),
            worker.silent_s,
            drain_s if isinstance(drain_s, int | float) else 0.0,
            worker.about["held"] is True,
            None if since is None else now - since,
        )

    def _write(self, costs: Mapping[str, int]) -> None:
        if not costs:
            return
        try:
            self._set_costs(costs)
        except PodsUnreachable as error:
            self._pods.failed(
                "cannot say which pods shall go",
                about=error.reason,
                message=str(error),
                cure=error.cure,
            )
        else:
            self._pods.worked()


def _too_many(answer: Answer) -> int:
    return too_many(answer.running, answer.wanted.replicas)


def _may_go(worker: WorkerSeen, card: str) -> bool:
    """It is in a pod, and of a version that can be held."""
    about = worker.about
    in_pod = isinstance(about.get("pod"), str)
    return in_pod and about.get("card") == card and "held" in about and not about.get("draining")


def _told(answer: Answer, finish: int) -> Answer:
    if not finish:
        return answer
    wanted = answer.wanted
    told = min(answer.running, wanted.replicas + finish)
    line = Line("replicas that still finish", finish, "they take nothing more, and then they go")
    reason = f"{wanted.reason}; {finish} still finish"
    sums = (*wanted.sums[:-1], line, Line("replicas wanted", told, "with those that still finish"))
    return replace(answer, wanted=replace(wanted, replicas=told, reason=reason, sums=sums))


def _with_those_left(answer: Answer) -> Answer:
    """As many as run, where Kubernetes leaves those that are too many. It counts those that start,
    too: for the true number it would end some that work."""
    wanted = answer.wanted
    left = answer.running - wanted.replicas
    if left <= 0 or answer.name == TRAIN or _too_many(answer):
        return answer
    line = Line("replicas that Kubernetes leaves", left, "at most one in ten is too many")
    reason = f"{wanted.reason}; {left} more are left"
    sums = (*wanted.sums[:-1], line, Line("replicas wanted", answer.running, "with those"))
    return replace(
        answer, wanted=replace(wanted, replicas=answer.running, reason=reason, sums=sums)
    )


def costs_of(found: Look, going: Iterable[Running[str]] = ()) -> dict[str, int]:
    """Pod -> cost, of each class of which some shall go."""
    less = {one.name: DONE if one.is_done else GOES for one in going}
    fewer = {one.name for one in found.answers.values() if _too_many(one)}
    return {
        pod: cost_of(worker.about) + less.get(worker.name, 0)
        for worker in found.workers
        if isinstance(pod := worker.about.get("pod"), str) and worker.about.get("card") in fewer
    }


def cost_of(about: Mapping[str, Any]) -> int:
    """Of a worker by what it says: 0, if it has nothing in hand."""
    units = units_in_hand(about)
    return 1 + math.ceil(STEPS * math.log2(1 + units)) if units else 0
