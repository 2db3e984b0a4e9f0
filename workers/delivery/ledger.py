"""The page of a worker's time in the bucket: written again and again, and once more at its end.

Who is killed leaves the page as it was written last. Knows nothing of what a second is spent on.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared import __version__, telemetry
from shared.bucket.ledgers import Ledger, ledger_key
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError
from shared.prices import Price
from shared.settings import Output
from workers.delivery.spending import Spending, Told

SOONEST_S, LATEST_S = 5.0, 60.0
"""Before the page is written again: after a twentieth of what it tells of, within these bounds. So
who is killed young loses little of its life, too."""
SHARE = 0.05
LONGEST_END_S = 2.0

log = telemetry.get_logger("jamak.costs")


class LedgerWriter:
    """Args:
    store: tries each request once; the next time is near.
    card: its class, or `train`.
    now: the time of day, in UTC.
    """

    def __init__(
        self,
        store: ObjectStore,
        output: Output,
        worker: str,
        card: str,
        price: Price,
        spending: Spending,
        soonest_s: float = SOONEST_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._output, self._now = store, output, now
        self._soonest_s = self._wait_s = soonest_s
        self._worker, self._card, self._price = worker, card, price
        self.spending = spending
        self._page_began = now() - timedelta(seconds=spending.read().alive_s)
        self._unwritten: dict[str, bytes] = {}
        """Key -> page. Today's is the last one; others could not be written on their day."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ails = telemetry.Repeated(log, "the ledger is written again", quiet_s=0.0)
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """The last page is complete; if the store does not answer soon, it stays as it is."""
        self._ended.set()
        last = threading.Thread(target=self._end, name="last page", daemon=True)
        last.start()
        last.join(LONGEST_END_S)

    def _end(self) -> None:
        with self._lock:
            self._write(self.spending.end(), self._now(), "ended")

    def _run(self) -> None:
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            try:
                self.write()
            except Exception:
                log.exception("no ledger")  # the next one may succeed
            wait_s = self._wait_s

    def write(self) -> None:
        """What there is by now; on a new day that page is closed, and another one begun."""
        with self._lock:
            if self._ended.is_set():
                return
            now = self._now()
            turning = now.date() != self._page_began.date()
            told = self.spending.read(turning=turning)
            self._write(told, now, "midnight" if turning else "")
            if turning:
                self._page_began = now

    def _write(self, told: Told, now: datetime, closed: Literal["", "ended", "midnight"]) -> None:
        self._wait_s = min(max(SHARE * told.alive_s, self._soonest_s), LATEST_S)
        page = Ledger(
            worker=self._worker,
            card=self._card,
            began_at=self._page_began,
            written_at=now,
            every_s=self._wait_s,
            closed=closed,
            usd_per_hour=self._price.usd_per_hour,
            price=self._price.source,
            alive_s=told.alive_s,
            cold_start_s=told.cold_start_s,
            idle_s=told.idle_s,
            spent=told.spent,
            jamak=__version__,
        )
        key = ledger_key(self._output.prefix, self._page_began.date(), self._worker)
        self._unwritten[key] = page.model_dump_json(indent=1).encode()
        for key, body in list(self._unwritten.items()):
            try:
                self._store.put(self._output.bucket, key, body, content_type="application/json")
            except JamakError as error:
                self._ails.failed("the ledger cannot be written", message=str(error))
                return
            del self._unwritten[key]
        self._ails.worked()
