"""Feedback in the bucket: one object an item, written once, named by what is in it.

    <output>feedback/<sha256 of the object>.json

Whoever may write there may bring some: a review page, an annotation tool, a script. What is
not what its name says, or cannot be read, is told and passed over. Knows nothing of what it means.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from shared.bucket.keys import feedback_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, fetch
from shared.errors import BadMessage, JamakError, Missing
from shared.feedback import MOST_BYTES, Feedback, feedback_name, read_feedback, written
from shared.settings import Settings

READS_AT_ONCE = 16
PAGE = 1000


@dataclass(frozen=True)
class Item:
    id: str
    """Its name in the bucket."""
    said: Feedback


class FeedbackStore:
    """For one process, which may ask again and again: what was read once is not read again.

    Args:
        moved: called after each that was read, for there may be many.

    Raises what ObjectStore raises.
    """

    def __init__(
        self, store: ObjectStore, settings: Settings, moved: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._bucket, self._moved = store, settings.output_bucket, moved
        self._folder = feedback_folder(settings.output_prefix)
        self._known: dict[str, Item] = {}
        self._bad: dict[str, tuple[str, JamakError]] = {}
        """Key -> ETag, and why it cannot be read: what was replaced is looked at again."""

    def add(self, said: Feedback) -> Item:
        """Write it. Again is harmless."""
        body = written(said)
        item = Item(feedback_name(body), said)
        # What is there under this name is this. No condition: that would cost the right to read.
        key = f"{self._folder}{item.id}.json"
        self._store.put(self._bucket, key, body, content_type="application/json")
        return item

    def all(
        self,
        unread: Callable[[JamakError], None] = lambda error: None,
        since: datetime | None = None,
    ) -> list[Item]:
        """Every item, in the order of their names.

        Args:
            unread: told why one cannot be read; the others are read all the same.
            since: nobody asks for what was written before.
        """
        listed = [
            info
            for info in self._store.list(self._bucket, self._folder)
            if info.key.endswith(".json")
        ]
        there = {info.key: info.etag for info in listed}
        asked = [info.key for info in listed if since is None or info.last_modified >= since]
        self._known = {key: item for key, item in self._known.items() if key in there}
        self._bad = {key: bad for key, bad in self._bad.items() if there.get(key) == bad[0]}
        new = iter([key for key in asked if key not in self._known and key not in self._bad])
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="feedback") as pool:
            while some := list(islice(new, PAGE)):
                for key, found in zip(some, pool.map(self._read, some), strict=True):
                    self._moved()
                    if isinstance(found, Item):
                        self._known[key] = found
                    elif found is not None:
                        self._bad[key] = there[key], found
        for _, error in self._bad.values():
            unread(error)
        return [self._known[key] for key in sorted(self._known)]

    def since(self, seen: set[str]) -> Iterator[Item]:
        """Those that are not among `seen`, which are added to it: for whoever counts votes."""
        for item in self.all():
            if item.id not in seen:
                seen.add(item.id)
                yield item

    def _read(self, key: str) -> Item | JamakError | None:
        """None: it was deleted meanwhile."""
        name = key.removeprefix(self._folder).removesuffix(".json")

        def parse(body: bytes) -> Item:
            if feedback_name(body) != name:
                raise BadMessage("it is not what its name says")
            return Item(name, read_feedback(body))

        try:
            return fetch(self._store, self._bucket, key, parse, most=MOST_BYTES, cure=CURE)[0]
        except Missing:
            return None
        except UNREADABLE as error:
            return error


CURE = "Delete it, and bring it again: its name is the SHA-256 of its bytes (docs/loop.md)."
