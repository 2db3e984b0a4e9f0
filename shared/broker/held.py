"""Which workers take nothing for now, because their pods are to go: `held` in lua/common.lua.

A hold ends by itself: whoever set it may have died. A worker older than this takes all the same.
Knows nothing of who chooses them.
"""

from collections.abc import Collection, Iterable

from shared.broker.leased_queues import LeasedQueues

HOLD_S = 180.0
"""LONGEST_HOLD_MS in lua/take.lua."""


class Holds:
    """Of the workers of these queues. Raises redis.RedisError."""

    def __init__(self, queues: LeasedQueues) -> None:
        self._redis, self._key = queues.redis, f"{queues.prefix}held"

    def held(self) -> set[str]:
        """Those whose hold has not ended."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(self._key, 0, -1, withscores=True)
            (seconds, micros), found = pipe.execute()
        now_ms = seconds * 1000 + micros / 1000
        return {name.decode() for name, until in found if until > now_ms}

    def hold(self, workers: Collection[str]) -> None:
        """From now on, those that are held longer than they were."""
        if workers:
            seconds, micros = self._redis.time()
            until_ms = seconds * 1000 + micros // 1000 + round(HOLD_S * 1000)
            self._redis.zadd(self._key, dict.fromkeys(workers, until_ms))

    def lift(self, workers: Iterable[str]) -> None:
        """They take again at once."""
        if names := list(workers):
            self._redis.zrem(self._key, *names)
