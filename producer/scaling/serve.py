"""What is wanted over HTTP: `/v1/scale/<class>` for KEDA, gauges for Prometheus.

An answer is a number, or it is 503 with the reason; then KEDA falls back to what its manifest says.
Knows nothing of how an answer comes about.
"""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric

from producer.scaling.answers import LOOK_S, TRAIN, Answers, NotKnown
from shared import telemetry
from shared.settings import Settings
from shared.telemetry import metrics
from shared.telemetry.health import LoopHealth
from shared.telemetry.probes import Page
from shared.telemetry.reading import Reading
from shared.telemetry.rounds import look_again_and_again

PATH = "/v1/scale/"
OK, NOT_FOUND, UNAVAILABLE = 200, 404, 503

log = telemetry.get_logger("jamak.scale")


def page_of(answers: Answers, settings: Settings) -> Page:
    names = (*settings.scale_classes, TRAIN)

    def page(path: str) -> tuple[int, dict[str, Any]] | None:
        name = path.removeprefix(PATH)
        if not path.startswith(PATH):
            return None
        if name not in names:
            told = f"{name} is no class that is scaled; those are {', '.join(names)}"
            return NOT_FOUND, {"class": name, "reason": told}
        try:
            answer = answers.of(name)
        except NotKnown as error:
            return UNAVAILABLE, {"class": name, "reason": str(error), **error.evidence}
        return OK, {**answer.dump(), "age_s": round(answers.age_s, 1)}

    return page


def readings_of(answers: Answers) -> tuple[Reading, Reading]:
    """Two, because how old the figures are is told also when there are none."""

    def age() -> Iterable[Metric]:
        family = metrics.SCALE_AGE.family()
        family.add_metric([], answers.age_s)
        return (family,)

    # They are at hand, so nothing is gained by telling older ones.
    return (
        Reading("scale", lambda: _families(answers), fresh_s=0.0),
        Reading("scale_age", age, fresh_s=0.0),
    )


def _families(answers: Answers) -> Iterable[Metric]:
    wanted, running = metrics.SCALE_WANTED.family(), metrics.SCALE_RUNNING.family()
    units, arrival = metrics.SCALE_UNITS.family(), metrics.SCALE_ARRIVAL.family()
    rate, start = metrics.SCALE_RATE.family(), metrics.SCALE_COLD_START.family()
    backlog = metrics.SCALE_BACKLOG.family()
    for answer in answers.all_of_them():
        wanted.add_metric([answer.name], answer.wanted.replicas)
        running.add_metric([answer.name], answer.running)
        if answer.of is None:
            continue
        for state in ("waiting", "in_flight", "due"):
            units.add_metric([answer.name, state], getattr(answer.of, state))
        arrival.add_metric([answer.name], answer.of.demand.arrival_per_s)
        rate.add_metric([answer.name], answer.of.demand.rate)
        start.add_metric([answer.name], answer.of.demand.cold_start_s)
        backlog.add_metric([answer.name], answer.of.backlog_s)
    return wanted, running, units, arrival, rate, start, backlog


class Scaler:
    """Looks every few seconds, until it is stopped."""

    def __init__(self, answers: Answers, wait: Callable[[float], bool]) -> None:
        self._answers, self._wait = answers, wait
        self.health = LoopHealth()
        self._told: dict[str, int] = {}

    def run(self) -> None:
        look_again_and_again(self._look, LOOK_S, self._wait, self.health, log)

    def _look(self) -> None:
        self._answers.refresh()
        self._tell()

    def _tell(self) -> None:
        """In the log, when it changes."""
        for answer in self._answers.all_of_them():
            if self._told.get(answer.name) != answer.wanted.replicas:
                self._told[answer.name] = answer.wanted.replicas
                log.info(
                    "wanted",
                    **{"class": answer.name},
                    replicas=answer.wanted.replicas,
                    running=answer.running,
                    reason=answer.wanted.reason,
                )
