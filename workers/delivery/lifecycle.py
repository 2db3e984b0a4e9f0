"""The life of a worker process: what stands around its tasks, from the first message to the end."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from celery.signals import worker_ready

from shared import __version__, telemetry
from shared.broker.apps import queues_of
from shared.broker.proofs import prove_trainer
from shared.broker.sharing import READS_TENANTS
from shared.errors import ConfigError
from shared.settings import Settings
from shared.telemetry import tracing
from shared.telemetry.readers import READERS
from shared.waiting import wait_for
from shared.watchdog import EX_SOFTWARE
from workers.delivery.drain import Drain
from workers.delivery.first_caption import first_caption
from workers.delivery.health import WorkerHealth
from workers.delivery.leases import LONGEST_FLUSH_S, Leases
from workers.delivery.ledger import LedgerWriter
from workers.delivery.once import Once
from workers.delivery.rate import BusyRate
from workers.delivery.scratch import Scratch
from workers.delivery.watchdog import Watchdog

MOST_TOLD = 20
"""Sources that are away, in each beat."""

log = telemetry.get_logger("jamak.worker")


class Lifecycle:
    """Leases, drain, watchdog and scratch space of one Celery worker.

    Args:
        queues: those that it serves, its own class first.
        health: hears when work is being taken.
        slots: jobs in hand at once; without it one for each thread.
        ledger: of this worker's time; its last page is written at the end.
        once_s: it ends after one job, and after so long without one.
        about: what else the operator's side should know: the `card`, the `model` and its
            `revision`, and up to which version it `reads` messages.

    Raises:
        ConfigError: the worker was started in a way, or on a Redis, that cannot keep its promises.
    """

    def __init__(
        self,
        worker: Any,
        settings: Settings,
        queues: list[str],
        health: WorkerHealth,
        slots: int | None = None,
        *,
        ledger: LedgerWriter | None = None,
        once_s: float | None = None,
        **about: Any,
    ) -> None:
        pool = worker.pool_cls.__module__
        if pool != "celery.concurrency.thread":
            raise ConfigError(
                f"the pool is {pool}; jobs share one model and one process",
                cure="Leave --pool out: it is threads.",
            )
        self._settings, self._queues, self._health = settings, queues, health
        self._ledger = ledger
        self._rate = BusyRate()
        worker.app.amqp.queues.select(queues)
        self._about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": queues,
            "since": round(time.time()),
            "pod": settings.pod,
            "drain_s": settings.drain_s,
            "jamak": __version__,
            READS_TENANTS: True,
            **about,
        }
        wait_for("Redis", partial(prove_trainer, queues_of(worker.app)))
        self._scratch = wait_for("room for temporary files", lambda: Scratch(settings.scratch_dir))
        self.scratch, self.prove_scratch = self._scratch.folder, self._scratch.prove
        self.leases = Leases(queues_of(worker.app), slots or worker.concurrency, self._tell)
        if ledger is not None:
            self.leases.spending = ledger.spending
        self.leases.machine.check("scratch", self._scratch.prove)
        worker.app.conf.broker_transport_options["leases"] = self.leases
        self.at_end: Callable[[], object] = lambda: None
        """Called last of all that has to do with jobs; quickly."""
        self._once = Once(self.leases, once_s, READERS) if once_s is not None else None
        self._drain = Drain(self.leases, settings.drain_s, self._clean_up)
        # From here on there is something to leave and to remove.
        self._drain.install()

    def start(self) -> None:
        """Everything but the taking of messages, which is Celery's next step."""
        first_caption.ended("ready")
        self.leases.start()
        watchdog = Watchdog(self.leases, self._queues, self._drain.finish)

        @worker_ready.connect(weak=False)
        def ready(**_: Any) -> None:
            watchdog.start()
            self.leases.spending.ready()
            self._health.takes_work(self.leases)
            log.info("taking work", queues=self._queues, worker=self.leases.queues.worker)
            if self._once is not None:
                self._once.start()

    def die(self, why: str) -> NoReturn:
        """As if killed: what it held comes back as from a dead worker, for it may be to blame."""
        log.critical("this worker ends, to be started again", reason=why)
        self.leases.flush(LONGEST_FLUSH_S)
        self._clean_up()
        os._exit(EX_SOFTWARE)

    def _tell(self) -> dict[str, Any]:
        return {
            **self._about,
            "slots": self.leases.at_once,
            "held": self.leases.held,  # before what is in hand: while it holds none is added
            "in_hand": len(self.leases.in_hand()),
            "in_hand_of": self.leases.in_hand_of(),
            "draining": not self.leases.taking,
            "paused": self.leases.pauses.told,
            "away": self.leases.outages.away[:MOST_TOLD] if self.leases.outages else [],
            "cold_start_s": first_caption.cold_start_s,
            "jobs_per_busy_s": self._rate.look(self.leases.ended, self.leases.busy_s),
            "units_per_full_s": self.leases.full.look(),
        }

    def _clean_up(self) -> None:
        self._scratch.remove()
        self.at_end()
        if self._ledger is not None:
            self._ledger.end()
        tracing.stop(tracing.WORKER_FLUSH_S)
