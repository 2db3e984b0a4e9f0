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
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote_plus

from shared.bucket.keys import BUCKET_NAME, MAX_KEY_BYTES
from shared.errors import BadMessage

Kind = Literal["created", "restored", "removed", "version_removed", "other"]
"""`removed`: the key has no video any more. After `version_removed` only the bucket can tell: what
was deleted may be an old version, or the newest one, or the mark that hid an older one."""

_ENCODED = re.compile(r"(?:[A-Za-z0-9._~*/!'()+-]|%[0-9A-Fa-f]{2})*")
"""What an encoded key consists of. Anything else in a key says that it is not encoded."""
_SEQUENCER = re.compile(r"[0-9A-Fa-f]+")

_LARGEST_BYTES = 1 << 50
"""No store has an object of that size."""
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError, OverflowError)
"""What is raised for something that is no record of S3; a size may be infinite."""


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
    at_s: float | None = None
    """When it happened, since 1970; None: it does not say."""

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


def parts(body: str) -> list[str]:
    """A notification of several records as one for each, so that they can be told apart; any other
    one as it is."""
    if body.count("eventName") < 2:  # mostly: then nothing is parsed twice
        return [body]
    try:
        message = _json(body)
        if _is(message, "Type", "Notification"):
            message = _json(message.get("Message"))
    except BadMessage:
        return [body]
    records = message.get("Records") if isinstance(message, dict) else None
    if not isinstance(records, list) or len(records) < 2:
        return [body]
    return [json.dumps({**message, "Records": [record]}) for record in records]


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
        version = told.get("versionId")
        kind, at = _kind(name, version), record.get("eventTime")
        return _event(kind, bucket, keys, told, told.get("eTag"), version, at)
    except _MALFORMED as error:
        raise BadMessage(f"a record of the notification is none of S3: {error!r}") from error


def _of_eventbridge(message: Mapping[str, Any]) -> S3Event:
    try:
        detail = message["detail"]
        bucket, told = detail["bucket"]["name"], detail["object"]
        version = told.get("version-id")
        name = _NAMES.get(message["detail-type"], "")
        if detail.get("deletion-type") == "Delete Marker Created":
            name = "ObjectRemoved:DeleteMarkerCreated"
        kind, at = _kind(name, version), message.get("time")
        return _event(kind, bucket, (told["key"],), told, told.get("etag"), version, at)
    except _MALFORMED as error:
        raise BadMessage(f"the event is none of S3: {error!r}") from error


_NAMES = {
    "Object Created": "ObjectCreated",
    "Object Deleted": "ObjectRemoved",
    "Object Restore Completed": "ObjectRestore:Completed",
}
"""What EventBridge calls them, and S3 itself."""


def _kind(name: str, version_id: object) -> Kind:
    """`s3:ObjectCreated:Put`, `ObjectCreated:Put`, `ObjectRemoved:DeleteMarkerCreated`, …"""
    what, _, how = name.removeprefix("s3:").partition(":")
    if what == "ObjectCreated":
        return "created"
    if (what, how) == ("ObjectRestore", "Completed"):
        return "restored"
    if what != "ObjectRemoved":
        return "other"
    return "version_removed" if version_id and how != "DeleteMarkerCreated" else "removed"


def _event(
    kind: Kind,
    bucket: str,
    keys: tuple[str, ...],
    told: Mapping[str, Any],
    etag: str | None,
    version_id: str | None,
    at: object,
) -> S3Event:
    size = int(told["size"]) if told.get("size") is not None else None
    if not (isinstance(bucket, str) and BUCKET_NAME.fullmatch(bucket)):
        raise ValueError(f"{bucket!r} cannot be the name of a bucket")
    # A lone surrogate is no UTF-8 and raises a ValueError.
    if not all(isinstance(key, str) and 0 < len(key.encode()) <= MAX_KEY_BYTES for key in keys):
        raise ValueError(f"a key is text of at most {MAX_KEY_BYTES} bytes")
    if not (_is_plain(etag) and _is_plain(version_id)):
        raise ValueError("etag and version are plain text")
    if size is not None and not 0 <= size < _LARGEST_BYTES:
        raise ValueError(f"no object has {size} bytes")
    sequencer = str(told.get("sequencer") or "")
    return S3Event(
        kind,
        bucket,
        keys,
        etag.strip('"') if etag else None,
        size,
        version_id or None,
        sequencer if _SEQUENCER.fullmatch(sequencer) else "",
        _seconds(at),
    )


def _seconds(at: object) -> float | None:
    """Since 1970. An event without a time, or with a strange one, is an event all the same."""
    try:
        read = datetime.fromisoformat(at) if isinstance(at, str) else None
    except ValueError:
        return None
    if read is None or read.year < 2000 or read.tzinfo is None:
        return None
    return read.timestamp()


def _is_plain(text: object) -> bool:
    return text is None or (isinstance(text, str) and text.isascii() and text.isprintable())
