"""What workers saw of a canary's trial, in pages: each written by one worker, all read by whoever
judges it.

    <prefix>adapters/<base>/trials/<generation>/<worker>-<number>.json      a page
    <prefix>adapters/<base>/trials/<generation>/state.json                  of who judges it

A page only grows, so of one that was read before only the end is new, and one that has not changed
is not read at all. Knows nothing of what follows from an observation.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from shared.bucket.registry import base_name
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE, read_with_etag
from shared.errors import JamakError, Missing
from shared.messages import Count, Message
from shared.trials import Observation, TrialPage

TRIALS = "trials"
"""The folder beside the versions of a base."""
READERS = 16
"""Pages read at once."""
MOST_PAGE_BYTES = 4 << 20
"""Of one with all its observations it is a quarter of a MiB."""
_PAGE = re.compile(r"(.+-[0-9]+)[.]json")


class PageRead(Message):
    """How far a page was read."""

    etag: str
    count: Count
    """Observations."""
    refused: str = ""
    """As it said then."""
    worker: str


Cursor = Mapping[str, PageRead]
"""By the page's name, without its ending."""


@dataclass(frozen=True)
class News:
    observations: tuple[Observation, ...]
    """Each one once, as long as the cursor is kept together with what follows from them. Both of a
    pair are among the same."""
    cursor: dict[str, PageRead]
    """Of the next time."""
    unread: tuple[JamakError, ...]
    """Pages that cannot be read, and wait; the others are no worse for it."""

    @property
    def refused(self) -> dict[str, str]:
        """Worker -> why it has no canary to try."""
        return {one.worker: one.refused for one in self.cursor.values() if one.refused}


class TrialPages:
    """Of one base. `bucket` and `prefix` are those of the output.

    Raises what ObjectStore raises.
    """

    def __init__(self, store: ObjectStore, bucket: str, prefix: str, base_sha256: str) -> None:
        self._store, self._bucket = store, bucket
        self._root = f"{prefix}adapters/{base_name(base_sha256)}/{TRIALS}/"

    def write(self, page: TrialPage) -> None:
        """In place of what it was before."""
        key = f"{self.folder(page.generation)}{page.worker}-{page.number}.json"
        body = page.model_dump_json().encode()
        self._store.put(self._bucket, key, body, content_type="application/json")

    def read_new(self, generation: int, cursor: Cursor, since: datetime | None = None) -> News:
        """What came since, by page and in its order.

        Args:
            since: when the trial began; a generation alone may come again, and what was seen before
                is of another one.
        """
        folder, found = self.folder(generation), dict(cursor)
        changed: list[tuple[str, ObjectInfo]] = []
        for item in self._store.list(self._bucket, folder):
            page_name = _PAGE.fullmatch(item.key.removeprefix(folder))
            if page_name is None:
                continue
            seen = found.get(page_name[1])
            if seen is None or seen.etag != item.etag:
                changed.append((page_name[1], item))
        observations: list[Observation] = []
        unread: list[JamakError] = []
        with ThreadPoolExecutor(READERS) as pool:
            pages = pool.map(self._read, (item.key for _, item in changed))
            for (name, _), page in zip(changed, pages, strict=True):
                if isinstance(page, JamakError):
                    unread.append(page)
                    continue
                told, etag = page
                count = found[name].count if name in found else 0
                new = told.observations[count:]
                observations += [one for one in new if since is None or one.at >= since]
                is_old = since is not None and told.written_at < since
                found[name] = PageRead(
                    etag=etag,
                    # A page that became shorter says nothing anew.
                    count=max(count, len(told.observations)),
                    refused="" if is_old else told.refused,
                    worker=told.worker,
                )
        return News(tuple(observations), found, tuple(unread))

    def _read(self, key: str) -> tuple[TrialPage, str] | JamakError:
        try:
            return read_with_etag(self._store, TrialPage, self._bucket, key, most=MOST_PAGE_BYTES)
        except (Missing, *UNREADABLE) as error:
            return error

    def state_key(self, generation: int) -> str:
        return f"{self.folder(generation)}state.json"

    def folder(self, generation: int) -> str:
        return f"{self._root}{generation}/"
