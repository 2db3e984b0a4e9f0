"""One message in hand: whether it is still ours, and what is told of it.

Knows nothing of the others, nor of who keeps it (workers/delivery/leases.py).
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

from shared.broker.leased_queues import Delivery, LeasedQueues
from shared.errors import LeaseLost
from shared.telemetry import tracing
from shared.telemetry.tracing import Facts, Value
from workers.delivery.spending import Spending
from workers.progress import Progress, Pulse

if TYPE_CHECKING:
    from shared.telemetry.spans import Attempt

LOOK_AGAIN_S = 0.2
"""While Redis is away."""


class Lease:
    """Args:
    later: what Redis is told when it answers.
    """

    def __init__(
        self,
        delivery: Delivery,
        queues: LeasedQueues,
        spending: Spending,
        later: Callable[[Callable[[], object]], None],
    ) -> None:
        self.delivery = delivery
        self.progress = Progress()
        self.account = spending.open(self.progress)
        """What it costs, and whom. Its task says what became of it."""
        self.held = True
        """False: lost, given back or set aside. Its task may still be running."""
        self.units = 1.0
        """How much work it is, once its task has read it (shared/units.py)."""
        self.done = 0.0
        """Units of it that were captioned in this try: none of a duplicate, or of what is given
        back at once."""
        self.event = ""
        """That tells its result, once it has one (shared/results.py)."""
        self.advanced = False
        """Something of it is kept: whoever tries again goes on from there."""
        self.moved_at = time.monotonic()
        self.attempt: Attempt | None = None
        """At the message, in its trace; None: nobody wants one."""
        self._facts: dict[str, Value] = {}
        self._queues, self._later = queues, later
        self._seen = self._kept = self.progress.pulse

    def weigh(self, units: float) -> None:
        """It is so much work: its tenant's turns count by it."""
        more, self.units = units - self.units, units
        if self.delivery.tenant is not None and more:
            self._later(lambda: self._queues.charge(self.delivery.lease, more))

    def moved(self) -> Pulse | None:
        """Its pulse, if that has changed since the lease was last kept."""
        pulse = self.progress.pulse
        if pulse != self._seen:
            self._seen, self.moved_at = pulse, time.monotonic()
        return None if pulse == self._kept else pulse

    def keep(self, pulse: Pulse) -> None:
        """Redis has heard that it moved so far."""
        self._kept = pulse

    def say(self, facts: Callable[[], Facts]) -> None:
        """Of the job, in its trace."""
        if self.attempt is not None:
            self._facts.update(facts())

    def tell(self, outcome: str, *, failed: bool = False) -> None:
        """To its trace, once: the try ends now, and so."""
        if self.attempt is not None:
            with tracing.harmless():
                self.attempt.end(outcome, self._facts, self.progress.stages(), failed=failed)

    def lose(self) -> None:
        """The next tick of its job raises LeaseLost."""
        self.held = False
        self.progress.stop(LeaseLost("the lease was lost: somebody else has the message now"))

    def advance(self) -> None:
        """Something of the job is kept: no attempt, and no death of a worker before, says anything
        about it any more."""
        self.advanced = True
        self._later(lambda: self._queues.kept(self.delivery.lease))

    def begin(self) -> None:
        """Before the work. From here on the worker's death counts against a job that runs alone.

        Raises:
            LeaseLost: do nothing.
        """
        if self.delivery.alone:
            self._ask(self._queues.begin)

    def check(self) -> None:
        """Ask, immediately before something is written. Waits while Redis is away.

        Raises:
            LeaseLost: write nothing.
        """
        self._ask(self._queues.renew)

    def _ask(self, whether_held: Callable[[str], bool]) -> None:
        while self.held:
            try:
                if not whether_held(self.delivery.lease):
                    self.lose()
                break
            except redis.RedisError:
                # It waits for Redis, which is no fault of the job.
                self.moved_at = time.monotonic()
                time.sleep(LOOK_AGAIN_S)
        if not self.held:
            raise LeaseLost("the lease was lost: somebody else has the message now")
