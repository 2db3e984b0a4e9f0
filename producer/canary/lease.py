"""One watcher at a time: an object that its holder writes again and again, by compare-and-swap.

    <prefix>adapters/watcher.json

No clocks are compared: whoever waits looks whether the object has changed, and by its own clock for
how long it has not. Two who hold it for a moment, one of them having been frozen, do no harm: what
they write is compared and swapped, too. Knows nothing of what is watched.
"""

import time
from collections.abc import Callable

from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read_with_etag
from shared.errors import Conflict, DamagedObject, Missing
from shared.messages import Count, Message

BEAT_S = 10.0
DEAD_S = 30.0
"""Whoever has not written for so long is gone; with the pause between two looks, less than a
minute."""
MOST_BYTES = 4096


class Held(Message):
    v: Count = 1
    holder: str
    """Empty: it was given back."""
    beat: Count
    """So that each writing is another one."""


class Lease:
    """Args:
    name: of no other process, ever.
    clock: seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        prefix: str,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._bucket, self._key = store, bucket, f"{prefix}adapters/watcher.json"
        self._name, self._clock = name, clock
        self._beaten_at = float("-inf")
        self._seen: tuple[str | None, float] | None = None
        """The ETag of somebody else's, and since when it has been that."""

    def hold(self) -> bool:
        """Whether it is ours, now or still. Raises what ObjectStore raises."""
        now = self._clock()
        if now - self._beaten_at < BEAT_S:
            return True
        held, etag = self._read()
        if held.holder not in ("", self._name) and not self._is_dead(etag, now):
            return False
        if not self._write(Held(holder=self._name, beat=held.beat + 1), etag):
            return False
        self._beaten_at, self._seen = now, None
        return True

    def give_back(self) -> None:
        """So that nobody has to wait."""
        self._beaten_at = float("-inf")
        held, etag = self._read()
        if held.holder == self._name:
            self._write(Held(holder="", beat=held.beat + 1), etag)

    def _is_dead(self, etag: str | None, now: float) -> bool:
        if self._seen is None or self._seen[0] != etag:
            self._seen = etag, now
        return now - self._seen[1] >= DEAD_S

    def _read(self) -> tuple[Held, str | None]:
        try:
            return read_with_etag(self._store, Held, self._bucket, self._key, most=MOST_BYTES)
        except Missing:
            return Held(holder="", beat=0), None
        except DamagedObject as error:
            return Held(holder="?", beat=0), str(error.evidence.get("etag"))

    def _write(self, held: Held, etag: str | None) -> bool:
        try:
            self._store.put(
                self._bucket,
                self._key,
                held.model_dump_json().encode(),
                content_type="application/json",
                if_none_match=etag is None,
                if_match=etag,
            )
        except Conflict:
            return False
        return True
