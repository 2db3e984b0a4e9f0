"""Gauges that are read elsewhere when somebody asks: seldom enough, and never for long.

If the source does not answer there are no figures of it, rather than old ones, and
`jamak_scrape_error` says so. Knows nothing of what is read.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import SCRAPE_ERROR

FRESH_S = 5.0
"""So long an answer serves everybody who asks: two Prometheis cost no more than one."""
WITHIN_S = 3.0
"""Prometheus itself waits ten seconds."""

log = get_logger("jamak.metrics")


class Reading(Collector):
    """Args:
    source: as `jamak_scrape_error` calls it.
    read: may raise anything, and may hang.
    """

    def __init__(
        self,
        source: str,
        read: Callable[[], Iterable[Metric]],
        *,
        fresh_s: float = FRESH_S,
        within_s: float = WITHIN_S,
    ) -> None:
        self._source, self._read = source, read
        self._fresh_s, self._within_s = fresh_s, within_s
        self._lock = threading.Lock()
        self._asked: Future[list[Metric]] | None = None
        self._answered_at = 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing: else registering it would read it."""
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            found = self._current().result(self._within_s)
        except Exception as error:
            log.warning("cannot read metrics", source=self._source, message=repr(error))
            SCRAPE_ERROR.labels(self._source).set(1)
            return ()
        SCRAPE_ERROR.labels(self._source).set(0)
        return found

    def _current(self) -> "Future[list[Metric]]":
        """The last answer while it is fresh, or one that is on its way: never two at once."""
        with self._lock:
            asked = self._asked
            late = time.monotonic() - self._answered_at > self._fresh_s
            if asked is None or (asked.done() and late):
                asked = self._asked = Future()
                threading.Thread(
                    target=self._ask, args=[asked], name="reading", daemon=True
                ).start()
            return asked

    def _ask(self, asked: "Future[list[Metric]]") -> None:
        try:
            found = list(self._read())
        except Exception as error:
            self._answered_at = time.monotonic()
            asked.set_exception(error)
        else:
            self._answered_at = time.monotonic()
            asked.set_result(found)
