"""The SQS queue that S3's notifications come through, and its dead letters.

Its errors become ours here. Knows nothing of what is in a message.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from shared.bucket.answers import is_foreign
from shared.bucket.client import TRIES, network
from shared.bucket.refusals import code_of, of_client, passes, refusal, status_of, unavailable
from shared.errors import ConfigError, NoSuchQueue, QueueUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def sqs_client(tries: int = TRIES) -> "SQSClient":
    """Raises ConfigError: the AWS settings are wrong, or say no region."""
    import boto3

    with of_client("SQS"):
        # A long poll of 20 s must fit the read timeout.
        client: SQSClient = boto3.client("sqs", config=network(tries, read_timeout_s=30))
    return client


@contextmanager
def reaching_sqs(sqs: "SQSClient", url: str) -> Iterator[None]:
    """Around what asks SQS for something.

    Raises:
        NoSuchQueue, BadCredentials, WrongRegion, ConfigError: somebody must change something.
        QueueUnavailable: it may come back.
    """
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        code = code_of(error)
        here, there = sqs.meta.region_name, region_of_queue(url)
        elsewhere = f"; its URL says {there}, and AWS_DEFAULT_REGION {here}"
        if "NonExistentQueue" in code or code == "QueueDoesNotExist":
            raise NoSuchQueue(
                f"{url}: there is no such queue{elsewhere if there and there != here else ''}"
            ) from error
        if isinstance(error, ClientError) and passes(error):
            raise QueueUnavailable(f"{url}: {code or status_of(error)}") from error
        if isinstance(error, ClientError | BotoCoreError) and (refused := refusal(url, error)):
            raise refused from error
        if isinstance(error, ClientError):
            raise ConfigError(
                f"{url}: {error}", cure="Grant the role what docs/ingest.md lists for SQS."
            ) from error
        raise unavailable(QueueUnavailable, url, error) from error


def region_of_queue(url: str) -> str | None:
    """`https://sqs.<region>.amazonaws.com/…`"""
    found = re.match(r"https://(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.", url)
    return (found[1] or found[2]) if found else None


def redrive_policy(sqs: "SQSClient", url: str) -> dict[str, Any]:
    """Raises ConfigError: it names no dead-letter queue."""
    with reaching_sqs(sqs, url):
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy: dict[str, Any] = json.loads(found.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if "deadLetterTargetArn" not in policy:
        raise ConfigError(
            f"{url} has no dead-letter queue, so a malformed event would come for ever",
            cure="Give it a redrive policy: docs/ingest.md has one.",
        )
    return policy


def dead_letters_of(sqs: "SQSClient", url: str, policy: dict[str, Any] | None = None) -> str:
    """The queue that malformed events go to: that of the redrive policy."""
    arn = (policy or redrive_policy(sqs, url))["deadLetterTargetArn"]
    *_, account, name = arn.split(":")
    with reaching_sqs(sqs, arn):
        return sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
