"""Uploads that wait in SQS: the listener takes no more than its queue in Redis has room for.

Knows nothing of what they ask for.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from producer.scaling.demand import Outside
from producer.uploads.sqs import reaching_sqs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FRESH_S = 15.0
"""Each question is a request that costs."""
WINDOW_S = 180.0
COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")


class Uploads:
    """Args:
    clock: seconds.
    """

    def __init__(
        self, sqs: "SQSClient", url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sqs, self._url, self._clock = sqs, url, clock
        self._samples: deque[tuple[float, int]] = deque()

    def look(self) -> Outside:
        """Raises QueueUnavailable, ConfigError: SQS does not tell."""
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= FRESH_S:
            self._samples.append((now, self._count()))
        while self._samples[0][0] < now - WINDOW_S:
            self._samples.popleft()
        (first, before), (last, messages) = self._samples[0], self._samples[-1]
        growth = (messages - before) / (last - first) if last > first else 0.0
        return Outside(messages, growth)

    def _count(self) -> int:
        with reaching_sqs(self._sqs, self._url):
            found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(COUNTS))
        return sum(int(found["Attributes"][name]) for name in COUNTS)
