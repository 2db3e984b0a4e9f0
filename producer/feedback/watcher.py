"""Looks every half minute whether feedback has brought a training about, until it is stopped.

Several at once do no harm (retrainer.py). Rules are read at each look: a change needs no restart.
"""

from collections.abc import Callable
from typing import Any

from producer.feedback.retrainer import Look, Retrainer
from producer.feedback.rules import Rules
from shared import telemetry
from shared.errors import JamakError
from shared.telemetry.health import LoopHealth
from shared.telemetry.rounds import look_again_and_again

LOOK_S = 30.0

log = telemetry.get_logger("jamak.retrainer")


class RetrainWatcher:
    """Args:
    rules: reads them; None: there are none yet.
    wait: so many seconds; True: it is over.
    """

    def __init__(
        self,
        retrainer: Retrainer,
        rules: Callable[[], Rules | None],
        wait: Callable[[float], bool],
        health: LoopHealth,
    ) -> None:
        self._retrainer, self._rules, self._wait, self.health = retrainer, rules, wait, health
        self._told: dict[str, str] = {}

    def run(self) -> None:
        look_again_and_again(self._once, LOOK_S, self._wait, self.health, log)

    def _once(self) -> None:
        self._tell(self._look())
        telemetry.RETRAIN_LAST_LOOK.set_to_current_time()

    def _look(self) -> Look:
        """Rules that cannot be read keep nothing from being sent that was claimed before."""
        try:
            rules = self._rules()
        except JamakError:
            self._tell(self._retrainer.look(None))
            raise
        if rules is None:
            self._say("rules", "there are none")
        return self._retrainer.look(rules)

    def _tell(self, told: Look) -> None:
        for run in told.sent_again:
            log.warning("sent again", run=run.number, job=run.job.id)
        for run in told.started:
            telemetry.RETRAININGS.labels(run.rule).inc()
            log.info("started", run=run.number, rule=run.rule, job=run.job.id, why=run.why)
        for one in told.verdicts:
            if not one.due:
                self._say(one.rule.name, "; ".join(one.waits), left_out=one.left_out)
        for error in told.unread:
            self._say(str(error), error.cure)

    def _say(self, about: str, why: str, **more: Any) -> None:
        """When it changes."""
        if self._told.get(about) != why:
            self._told[about] = why
            log.info("waits", about=about, why=why, **more)
