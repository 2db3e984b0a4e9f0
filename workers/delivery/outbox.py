"""What Redis has still to be told: in order, together where possible, and until it has heard it.

A thread of its own tells it, so that no task waits for a round trip, and one trip serves many. What
Redis refuses holds nothing up: it goes behind all the rest while the refusal may pass, and is given
up where it never will. The lease of what was given up ends by itself.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile
from typing import NamedTuple

import redis

from shared import telemetry
from shared.broker.leased_queues import LeasedQueues
from shared.broker.refusals import passes

MOST_AT_ONCE = 100
LOOK_AGAIN_S = 0.2
"""While Redis is away, or refuses all that it is told."""

log = telemetry.get_logger("jamak.outbox")


class Ack(NamedTuple):
    """Of a message."""

    lease: str
    event: str


class Outbox:
    """Args:
    redis: told whether it answers.
    """

    def __init__(self, queues: LeasedQueues, redis: telemetry.Repeated) -> None:
        self._queues, self._redis = queues, redis
        self._waiting: deque[Ack | Callable[[], object]] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="outbox", daemon=True).start()

    def ack(self, lease: str, event: str = "") -> None:
        """Args:
        event: that tells its result, if anybody wants to hear of it.
        """
        self._put(Ack(lease, event))

    def tell(self, what: Callable[[], object]) -> None:
        """Anything else. It may be called more than once."""
        self._put(what)

    def flush(self, timeout_s: float) -> bool:
        """False: not all of it could be told in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def _put(self, item: Ack | Callable[[], object]) -> None:
        with self._changed:
            self._waiting.append(item)
            self._changed.notify_all()

    def _work(self) -> None:
        one_by_one = in_vain = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                items = list(islice(self._waiting, 1 if one_by_one else MOST_AT_ONCE))
            # What comes first is told first; acknowledgements that follow each other, at once.
            told = [*takewhile(lambda one: isinstance(one, Ack), items)] or items[:1]
            again = False
            try:
                self._tell(told)
                in_vain = 0
                self._redis.worked()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                self._redis.failed(
                    unheard(error), message=str(error), when="telling", waiting=len(items)
                )
                time.sleep(LOOK_AGAIN_S)
                continue
            except redis.ResponseError as error:
                again = passes(error)
                if not again and len(told) > 1:
                    one_by_one = len(told)  # which of them does it refuse?
                    continue
                in_vain += len(told) if again else 0
                self._redis.failed(unheard(error), message=str(error), when="telling", again=again)
                if not again:
                    telemetry.UNTOLD.inc()
            except Exception:
                telemetry.UNTOLD.inc()
                log.exception("could not be told")
            one_by_one = max(0, one_by_one - 1)
            with self._changed:
                for _ in told:
                    self._waiting.popleft()
                if again:
                    self._waiting.extend(told)
                waiting = len(self._waiting)
                self._changed.notify_all()
            if in_vain >= waiting > 0:
                time.sleep(LOOK_AGAIN_S)
                in_vain = 0

    def _tell(self, told: list[Ack | Callable[[], object]]) -> None:
        (first, *_) = told
        if isinstance(first, Ack):
            acks = [one for one in told if isinstance(one, Ack)]
            events = {one.lease: one.event for one in acks if one.event}
            self._queues.ack([one.lease for one in acks], events)
        else:
            first()


def unheard(error: redis.RedisError) -> str:
    """What is said of it in the log."""
    return "Redis refuses" if isinstance(error, redis.ResponseError) else "Redis does not answer"
