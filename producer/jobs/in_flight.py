"""What is in flight: in a queue, under a lease, or waiting for another try.

Queues are short by design (`producer/jobs/high_water_marks.py`), so all of it fits in memory.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from shared.broker.apps import CAPTION_QUEUES, reaching_redis
from shared.broker.leased_queues import LeasedQueues, split_item
from shared.messages import CaptionJob

JobName = tuple[str, str, str, str]
"""Id, bucket, key and ETag: of many million videos some share their ids."""


def name_of(job: CaptionJob) -> JobName:
    return job.id, job.video.bucket, job.video.key, job.video.etag


def job_names(queues: LeasedQueues) -> set[JobName]:
    """Of all jobs that are in flight.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    items = {one.item for one in in_flight(queues, CAPTION_QUEUES)}
    return set(filter(None, map(_name, items)))


def withdraw(queues: LeasedQueues, backlog: str) -> int:
    """Remove a backlog's waiting jobs from the queues; how many there were. What runs goes on."""
    return remove(queues, CAPTION_QUEUES, lambda item: _backlog(item) == backlog)


def remove(queues: LeasedQueues, names: list[str], unwanted: Callable[[bytes], bool]) -> int:
    """Remove what waits in the queues of these names; how many there were. What runs goes on.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    removed = 0
    with reaching_redis():
        # Twice: what was delayed may have returned to its queue since that was looked at.
        for _ in range(2):
            for key in _lists(queues, names):
                for item in _list(queues, key):
                    if unwanted(item):
                        # It is there, or a worker took it.
                        removed += int(queues.redis.lrem(key, 1, item))  # type: ignore[arg-type]
            for member in _delayed(queues):
                if unwanted(member.split(b"\n", 3)[3]):
                    removed += int(queues.redis.zrem(f"{queues.prefix}delayed", member))
    return removed


def count_of(queues: LeasedQueues, backlog: str) -> int:
    """How many jobs of a backlog are in flight.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    items = {one.item for one in in_flight(queues, CAPTION_QUEUES)}
    return sum(_backlog(item) == backlog for item in items)


@dataclass(frozen=True)
class InFlight:
    """A message, and where it is."""

    item: bytes
    where: Literal["queued", "delayed", "leased"]
    worker: str | None = None
    """Who holds its lease."""


def in_flight(queues: LeasedQueues, names: list[str]) -> list[InFlight]:
    """All that is in the queues of these names, waits to return to them, or came out of them.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    found = []
    with reaching_redis():
        # Twice, for messages move while we look: where one is twice, the later word is true.
        for _ in range(2):
            for key in _lists(queues, names):
                found += [InFlight(item, "queued") for item in _list(queues, key)]
            found += [InFlight(one.split(b"\n", 3)[3], "delayed") for one in _delayed(queues)]
            held: Any = queues.redis.hvals(f"{queues.prefix}unacked")
            for one in held:
                _, worker, _, item = one.split(b"\n", 3)
                found.append(InFlight(item, "leased", worker.decode()))
    return found


def first_argument(item: bytes) -> dict[str, Any] | None:
    """Of the call that a message asks for: the job."""
    try:
        args, _, _ = json.loads(json.loads(split_item(item)[2])["body"])
        return dict(args[0])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None  # what is no message is no job


def bucket_in(item: bytes) -> str | None:
    """Of the video of a message; None: it names none."""
    video = (first_argument(item) or {}).get("video")
    bucket = video.get("bucket") if isinstance(video, dict) else None
    return bucket if isinstance(bucket, str) else None


def _lists(queues: LeasedQueues, names: list[str]) -> list[str]:
    return [key for queue in names for key in queues.lists(queue)]


def _list(queues: LeasedQueues, key: str) -> list[bytes]:
    found: Any = queues.redis.lrange(key, 0, -1)
    return list(found)


def _delayed(queues: LeasedQueues) -> list[bytes]:
    found: Any = queues.redis.zrange(f"{queues.prefix}delayed", 0, -1)
    return list(found)


def _name(item: bytes) -> JobName | None:
    try:
        message = json.loads(split_item(item)[2])
        video = json.loads(message["body"])[0][0]["video"]
        return message["headers"]["id"], video["bucket"], video["key"], video["etag"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None  # what is no message is no job


def _backlog(item: bytes) -> str | None:
    """The name of the one that it belongs to."""
    try:
        return str((first_argument(item) or {})["backlog"]["name"])
    except (KeyError, TypeError):
        return None
