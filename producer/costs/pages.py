"""The workers' pages, read from the bucket; again only where they have changed.

Knows nothing of what is made of them.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from shared.bucket.ledgers import Ledger, ledger_days
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE, read
from shared.errors import JamakError, Missing
from shared.settings import Settings

READS_AT_ONCE = 16


class Pages:
    """For one process, which may ask again and again."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._output = store, settings.all_outputs[0]
        self._known: dict[str, tuple[str, Ledger]] = {}
        """Key -> ETag, page."""

    def read(
        self, since: date, unread: Callable[[JamakError], None] = lambda error: None
    ) -> list[Ledger]:
        """Those that began on that day (of UTC) or later.

        Args:
            unread: told why one cannot be read; the others are read all the same.
        """

        def one(info: ObjectInfo) -> Ledger | None:
            known = self._known.get(info.key)
            if known and known[0] == info.etag:
                return known[1]
            try:
                page = read(self._store, Ledger, info.bucket, info.key)
            except Missing:
                return None  # removed meanwhile
            except UNREADABLE as error:
                unread(error)
                return None
            self._known[info.key] = info.etag, page
            return page

        found = [
            info
            for day in ledger_days(self._store, self._output, since)
            for info in self._store.list(self._output.bucket, day)
        ]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="costs") as pool:
            return [page for page in pool.map(one, found) if page]
