"""What Redis has still to be told: in order, together where possible, and until it has heard it.

A thread of its own tells it, so that no task waits for a round trip, and one trip serves many.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

import redis

from shared import telemetry
from shared.broker.leased_queues import LeasedQueues

MOST_AT_ONCE = 100
LOOK_AGAIN_S = 0.2
"""While Redis is away."""

log = telemetry.get_logger("jamak.outbox")


class Outbox:
    def __init__(self, queues: LeasedQueues) -> None:
        self._queues = queues
        self._waiting: deque[str | Callable[[], object]] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="outbox", daemon=True).start()

    def ack(self, lease: str) -> None:
        self._put(lease)

    def tell(self, what: Callable[[], object]) -> None:
        """Anything else. It may be called more than once."""
        self._put(what)

    def flush(self, timeout_s: float) -> bool:
        """False: not all of it could be told in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def _put(self, item: str | Callable[[], object]) -> None:
        with self._changed:
            self._waiting.append(item)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                items = list(self._waiting)[:MOST_AT_ONCE]
            # What comes first is told first; acknowledgements that follow each other, at once.
            leases = []
            for item in items:
                if not isinstance(item, str):
                    break
                leases.append(item)
            try:
                if leases:
                    self._queues.ack(leases)
                elif callable(items[0]):
                    items[0]()
            except redis.RedisError as error:
                log.warning("Redis does not answer", message=str(error), waiting=len(items))
                time.sleep(LOOK_AGAIN_S)
                continue
            except Exception:
                # This one will never succeed; its lease ends by itself.
                log.exception("could not be told")
            with self._changed:
                for _ in range(len(leases) or 1):
                    self._waiting.popleft()
                self._changed.notify_all()
