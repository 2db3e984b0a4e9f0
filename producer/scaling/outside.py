"""Uploads that wait in SQS: the listener takes no more than its queue in Redis has room for.

Knows nothing of what they ask for.
"""

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from producer.scaling.arrivals import MINUTE_S, MINUTES
from producer.scaling.demand import Outside
from producer.uploads.sqs import reaching_sqs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FRESH_S = 15.0
"""Each question is a request that costs."""


class Uploads:
    """Args:
    clock: seconds.
    """

    def __init__(
        self, sqs: "SQSClient", url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sqs, self._url, self._clock = sqs, url, clock
        self._asked_at, self._messages = float("-inf"), 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=MINUTES + 1)

    def look(self) -> Outside:
        """Raises QueueUnavailable, ConfigError: SQS does not tell."""
        now = self._clock()
        if now - self._asked_at >= FRESH_S:
            self._messages, self._asked_at = self._count(), now
        if not self._marks or now - self._marks[-1][0] >= MINUTE_S:
            self._marks.append((now, self._messages))
        growth = [
            (messages - before) / (at - since)
            for (since, before), (at, messages) in pairwise(self._marks)
        ]
        return Outside(self._messages, tuple(growth))

    def _count(self) -> int:
        with reaching_sqs(self._sqs, self._url):
            found = self._sqs.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
        waiting = int(found["ApproximateNumberOfMessages"])
        return waiting + int(found["ApproximateNumberOfMessagesDelayed"])
