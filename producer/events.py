"""What an S3 notification says, as values. Pure functions: no network, no queue.

Format: docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

from shared.errors import BadMessage


@dataclass(frozen=True)
class S3Event:
    kind: Literal["created", "other"]
    bucket: str
    key: str
    """Decoded: S3 sends keys as HTML forms do, with + for a space."""
    version_id: str | None


def parse_notification(body: str) -> list[S3Event]:
    """The events of one SQS message; none for the test event that S3 sends when it is set up.

    Raises:
        BadMessage: it is not an S3 notification.
    """
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"the notification is not JSON: {error}") from error
    if isinstance(message, dict) and message.get("Event") == "s3:TestEvent":
        return []
    records = message.get("Records") if isinstance(message, dict) else None
    if not isinstance(records, list):
        raise BadMessage("the notification has no Records")
    return [_event(record) for record in records]


def _event(record: Any) -> S3Event:
    try:
        entity = record["s3"]
        return S3Event(
            kind="created" if "ObjectCreated:" in record["eventName"] else "other",
            bucket=entity["bucket"]["name"],
            key=unquote_plus(entity["object"]["key"]),
            version_id=entity["object"].get("versionId"),
        )
    except (KeyError, TypeError) as error:
        raise BadMessage(f"a record of the notification lacks {error}") from error


def is_video_key(key: str, suffixes: tuple[str, ...]) -> bool:
    """By its ending; a key that ends in a slash is a folder's marker."""
    return key.lower().endswith(suffixes)
