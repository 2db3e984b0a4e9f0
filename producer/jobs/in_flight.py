"""What is in flight: in a queue, under a lease, or waiting for another try.

Queues are short by design (`producer/jobs/high_water_marks.py`), so all of it fits in memory.
"""

import json
from typing import Any

from shared.broker.apps import CAPTION_QUEUES, reaching_redis
from shared.broker.leased_queues import LeasedQueues, split_item


def job_ids(queues: LeasedQueues) -> set[str]:
    """Of all jobs that are in flight.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    redis, prefix = queues.redis, queues.prefix
    found: set[str] = set()
    with reaching_redis():
        # Twice, for messages move while we look.
        for _ in range(2):
            held: Any = redis.hvals(f"{prefix}unacked")
            items = [one.split(b"\n", 3)[3] for one in held]
            items += [member.split(b"\n", 3)[3] for member in _delayed(queues)]
            for key in _lists(queues):
                items += _list(queues, key)
            found.update(filter(None, map(_id, items)))
    return found


def withdraw(queues: LeasedQueues, backlog: str) -> int:
    """Remove a backlog's waiting jobs from the queues; how many there were. What runs goes on."""
    withdrawn = 0
    with reaching_redis():
        for key in _lists(queues):
            for item in _list(queues, key):
                if _backlog(item) == backlog:
                    # It is there, or a worker took it.
                    withdrawn += int(queues.redis.lrem(key, 1, item))  # type: ignore[arg-type]
        for member in _delayed(queues):
            if _backlog(member.split(b"\n", 3)[3]) == backlog:
                withdrawn += int(queues.redis.zrem(f"{queues.prefix}delayed", member))
    return withdrawn


def count_of(queues: LeasedQueues, backlog: str) -> int:
    """How many jobs of a backlog are in flight.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    with reaching_redis():
        items = [member.split(b"\n", 3)[3] for member in _delayed(queues)]
        for key in _lists(queues):
            items += _list(queues, key)
        held: Any = queues.redis.hvals(f"{queues.prefix}unacked")
        items += [one.split(b"\n", 3)[3] for one in held]
    return sum(_backlog(item) == backlog for item in items)


def _lists(queues: LeasedQueues) -> list[str]:
    names = [name for queue in CAPTION_QUEUES for name in (queue, f"{queue}:alone")]
    return [queues.prefix + name for name in names]


def _list(queues: LeasedQueues, key: str) -> list[bytes]:
    found: Any = queues.redis.lrange(key, 0, -1)
    return list(found)


def _delayed(queues: LeasedQueues) -> list[bytes]:
    found: Any = queues.redis.zrange(f"{queues.prefix}delayed", 0, -1)
    return list(found)


def _id(item: bytes) -> str | None:
    try:
        return str(json.loads(split_item(item)[2])["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return None  # what is no message is no job


def _backlog(item: bytes) -> str | None:
    """The name of the one that it belongs to."""
    try:
        args, _, _ = json.loads(json.loads(split_item(item)[2])["body"])
        return str(args[0]["backlog"]["name"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
