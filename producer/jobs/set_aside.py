"""What workers have set aside: messages that nobody can act on, and jobs whose end could not be
written anywhere.

Redis keeps the newest ten thousand (`shared/broker/lua/common.lua`). Knows nothing of the bucket.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from producer.jobs.in_flight import first_argument
from shared.broker.apps import reaching_redis
from shared.broker.leased_queues import LeasedQueues, split_item
from shared.broker.sharing import list_of, weight_text
from shared.errors import BadMessage, NewerMessage
from shared.messages import CaptionJob, decode

AT_ONCE = 100
"""An entry may have 64 KiB."""


@dataclass(frozen=True)
class SetAside:
    entry: bytes
    """As it lies in Redis."""
    at: datetime
    queue: str
    reason: str
    item: bytes
    """The message, behind its history."""

    @property
    def id(self) -> str:
        return hashlib.sha256(self.entry).hexdigest()[:12]

    @property
    def message(self) -> bytes:
        return split_item(self.item)[2]

    @property
    def job(self) -> dict[str, Any] | None:
        """None: it holds none."""
        return first_argument(self.item)

    @property
    def about(self) -> str:
        """The video or the training job, as far as that can be told."""
        job = self.job or {}
        video = job.get("video")
        if isinstance(video, dict):
            scheme, colon, host = str(video.get("bucket")).partition(":")
            place = f"{scheme}://{host}" if colon else f"s3://{scheme}"
            return f"{place}/{video.get('key')}"
        return str(job.get("id", ""))


def all_set_aside(queues: LeasedQueues) -> Iterator[SetAside]:
    """The oldest first. Raises BrokerUnavailable, BrokerRefuses."""
    last = -1
    while True:
        with reaching_redis():
            some: Any = queues.redis.lrange(f"{queues.prefix}poison", last - AT_ONCE + 1, last)
        yield from map(_parsed, reversed(some))
        if len(some) < AT_ONCE:
            return
        last -= AT_ONCE


def list_for(queues: LeasedQueues, one: SetAside) -> str:
    """Where it goes back to: to its queue, or to its tenant's list there."""
    with reaching_redis():
        return list_of(one.queue, _tenant(queues, one))


def put_back(
    queues: LeasedQueues,
    found: list[SetAside],
    own: Callable[[CaptionJob], CaptionJob] = lambda job: job,
) -> int:
    """Each to the end of the queue that it came from, as new, and at most once; how many were
    still set aside. Raises BrokerUnavailable, BrokerRefuses.

    Args:
        own: a job without the line of a backlog that is not its own any more.
    """
    with reaching_redis():
        told = [
            word
            for one in found
            for word in (
                one.entry,
                _tenant(queues, one),
                _weight(queues, one),
                _without_line(one) if _is_anothers_line(one, own) else b"",
            )
        ]
        return int(queues.run("redrive", *told))


def _is_anothers_line(one: SetAside, own: Callable[[CaptionJob], CaptionJob]) -> bool:
    told = one.job
    if told is None or not told.get("backlog"):
        return False
    try:
        job = decode(CaptionJob, told)
    except (BadMessage, NewerMessage):
        return True
    return own(job) != job


def _without_line(one: SetAside) -> bytes:
    """Its message."""
    message = json.loads(one.message)
    args, *rest = json.loads(message["body"])
    body = [[{**args[0], "backlog": None}, *args[1:]], *rest]
    return json.dumps({**message, "body": json.dumps(body)}).encode()


def _tenant(queues: LeasedQueues, one: SetAside) -> str:
    return queues.sharing.tenant_of(one.queue, one.about)


def _weight(queues: LeasedQueues, one: SetAside) -> str:
    return weight_text(queues.sharing.weight_of(one.about))


def forget(queues: LeasedQueues, found: list[SetAside]) -> int:
    """How many were still set aside. Raises BrokerUnavailable, BrokerRefuses."""
    forgotten, rest = 0, iter(found)
    while now := list(islice(rest, AT_ONCE)):
        with reaching_redis(), queues.redis.pipeline(transaction=False) as pipe:
            for one in now:
                pipe.lrem(f"{queues.prefix}poison", -1, one.entry)  # type: ignore[arg-type]
            forgotten += sum(pipe.execute())
    return forgotten


def _parsed(entry: bytes) -> SetAside:
    at_ms, queue, reason, item = entry.split(b"\n", 3)
    return SetAside(
        entry,
        datetime.fromtimestamp(int(at_ms) / 1000, UTC),
        queue.decode(errors="replace"),
        reason.decode(errors="replace"),
        item,
    )
