"""How far the listener is behind, as SQS tells it.

SQS tells programs how many messages it has, and when each one came, but not how old the oldest is:
that stands in CloudWatch alone (ApproximateAgeOfOldestMessage). So what was received is measured,
and what waits is counted. Knows nothing of what is in a message.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

from shared.telemetry.metrics import SQS_DEAD_LETTERS, SQS_MESSAGES
from shared.telemetry.reading import Reading

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FRESH_S = 15.0
"""Each question is a request that costs."""


def events_reading(sqs: "SQSClient", url: str, dead_letters: str) -> tuple[Reading, Reading]:
    """Two, because a role may be allowed to ask one queue and not the other."""

    def count(queue_url: str) -> dict[str, int]:
        found = sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return {
            "waiting": int(found["ApproximateNumberOfMessages"]),
            "in_flight": int(found["ApproximateNumberOfMessagesNotVisible"]),
            "delayed": int(found["ApproximateNumberOfMessagesDelayed"]),
        }

    def events() -> Iterable[Metric]:
        family = SQS_MESSAGES.family()
        for state, messages in count(url).items():
            family.add_metric([state], messages)
        return (family,)

    def buried() -> Iterable[Metric]:
        family = SQS_DEAD_LETTERS.family()
        family.add_metric([], count(dead_letters)["waiting"])
        return (family,)

    return (
        Reading("sqs", events, fresh_s=FRESH_S),
        Reading("sqs_dead_letters", buried, fresh_s=FRESH_S),
    )


def seconds_since(timestamp_ms: str | None) -> float | None:
    """By our clock, so not below zero; None: SQS did not say."""
    if timestamp_ms is None or not timestamp_ms.isdecimal():
        return None
    return max(0.0, time.time() - int(timestamp_ms) / 1000)
