"""What a notification says, as values. Pure functions: no network, no queue.

Four senders, each with habits of its own:

- S3 to SQS, and S3 to SNS to SQS: `Records`, keys encoded as HTML forms encode them.
  docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
- EventBridge: one `detail`, keys as they are.
  docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
- MinIO and Ceph: `Records` like S3's; whether keys are encoded depends on their version, and their
  sequencers are no order: Ceph's are the bytes of a number as they lie in memory, least ones first.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

from shared.errors import BadMessage

Kind = Literal["created", "removed", "other"]

_ENCODED = re.compile(r"(?:[A-Za-z0-9._~*/!'()+-]|%[0-9A-Fa-f]{2})*")
"""What an encoded key consists of. Anything else in a key says that it is not encoded."""
_SEQUENCER = re.compile(r"[0-9A-Fa-f]+")


@dataclass(frozen=True)
class S3Event:
    kind: Kind
    bucket: str
    keys: tuple[str, ...]
    """What the key may be: one, or two where the sender may have encoded it or not."""
    etag: str | None = None
    size_bytes: int | None = None
    version_id: str | None = None
    sequencer: str = ""
    """Orders the events of one key: compare with `is_older`. Empty: there is no order to trust."""

    @property
    def key(self) -> str:
        return self.keys[0]


def parse_notification(body: str) -> list[S3Event]:
    """The events of one message; none for the test events that are sent when it is set up.

    Raises:
        BadMessage: it is no notification of an object store, or one of its records is none.
    """
    message = _json(body)
    if _is(message, "Type", "Notification"):  # SNS, without raw delivery
        message = _json(message.get("Message"))
    if _is(message, "Event", "s3:TestEvent") or _is(message, "Type", "SubscriptionConfirmation"):
        return []
    if isinstance(message, dict) and "detail-type" in message:
        return [_of_eventbridge(message)]
    records = message.get("Records") if isinstance(message, dict) else None
    if not isinstance(records, list):
        raise BadMessage("the notification has no Records")
    return [_of_record(record) for record in records]


def is_older(one: str, other: str) -> bool:
    """Whether the event with the first sequencer came before; False also where one is unknown.

    Hexadecimal, of different lengths: the shorter one is padded with zeros at its right.
    """
    if not one or not other:
        return False
    width = max(len(one), len(other))
    return one.upper().ljust(width, "0") < other.upper().ljust(width, "0")


def possible_keys(raw: str, *, always_encoded: bool) -> tuple[str, ...]:
    """What a key in an event stands for, the likelier one first."""
    decoded = unquote_plus(raw)
    if decoded == raw or always_encoded:
        return (decoded,)
    return (decoded, raw) if _ENCODED.fullmatch(raw) else (raw,)


def is_video_key(key: str, suffixes: tuple[str, ...]) -> bool:
    """By its ending; a key that ends in a slash is a folder's marker."""
    return key.lower().endswith(suffixes)


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadMessage(f"the notification is not JSON: {error}") from error


def _is(message: Any, name: str, value: str) -> bool:
    return isinstance(message, dict) and message.get(name) == value


def _of_record(record: Any) -> S3Event:
    try:
        entity, name = record["s3"], record["eventName"]
        bucket, told = entity["bucket"]["name"], entity["object"]
        # AWS encodes, always has and always will; the others changed their minds.
        by_aws = record.get("eventSource", "aws:s3") == "aws:s3"
        keys = possible_keys(told["key"], always_encoded=by_aws)
        if not by_aws:
            told = {**told, "sequencer": None}
        return _event(_kind(name), bucket, keys, told, told.get("eTag"), told.get("versionId"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadMessage(f"a record of the notification is none of S3: {error!r}") from error


def _of_eventbridge(message: Mapping[str, Any]) -> S3Event:
    try:
        detail = message["detail"]
        bucket, told = detail["bucket"]["name"], detail["object"]
        kind = {"Object Created": "created", "Object Deleted": "removed"}.get(
            message["detail-type"], "other"
        )
        keys = (told["key"],)
        return _event(kind, bucket, keys, told, told.get("etag"), told.get("version-id"))  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadMessage(f"the event is none of S3: {error!r}") from error


def _kind(name: str) -> Kind:
    """`s3:ObjectCreated:Put`, `ObjectCreated:Put`, `ObjectRemoved:DeleteMarkerCreated`, …"""
    what = name.removeprefix("s3:").split(":")[0]
    return {"ObjectCreated": "created", "ObjectRemoved": "removed"}.get(what, "other")  # type: ignore[return-value]


def _event(
    kind: Kind,
    bucket: str,
    keys: tuple[str, ...],
    told: Mapping[str, Any],
    etag: str | None,
    version_id: str | None,
) -> S3Event:
    size = told.get("size")
    if not (isinstance(bucket, str) and bucket and all(isinstance(key, str) for key in keys)):
        raise ValueError("bucket and key are text")
    if not (isinstance(etag, str | None) and isinstance(version_id, str | None)):
        raise ValueError("etag and version are text")
    sequencer = str(told.get("sequencer") or "")
    return S3Event(
        kind,
        bucket,
        keys,
        etag.strip('"') if etag else None,
        int(size) if size is not None else None,
        version_id or None,
        sequencer if _SEQUENCER.fullmatch(sequencer) else "",
    )
