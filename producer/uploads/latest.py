"""The newest event of each key, as far as this process remembers: here duplicates end.

What is forgotten costs a worker one look into the bucket, and nothing else.
"""

from collections import OrderedDict

from producer.uploads.events import S3Event, is_older

REMEMBERED = 100_000
"""Keys; some 30 MB."""


class Latest:
    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()

    def verdict(self, event: S3Event, key: str, version: str) -> str:
        """`news`, `duplicate`, `stale`, or `unordered`: another content than the one that is known,
        and only the bucket can tell which of them is the newer one.

        Args:
            version: which content of the key; empty for none, after a delete.
        """
        known = self._known.get((event.bucket, key))
        if known is None:
            return "news"
        sequencer, seen = known
        if is_older(event.sequencer, sequencer):
            return "stale"
        if version == seen:
            # Put there again; what lay there in between may have been another listener's news.
            return "news" if is_older(sequencer, event.sequencer) else "duplicate"
        return "news" if event.sequencer and sequencer else "unordered"

    def content(self, bucket: str, key: str) -> str | None:
        """Which one of this key was seen last; None: none is known."""
        known = self._known.get((bucket, key))
        return known[1] if known else None

    def remember(self, event: S3Event, key: str, version: str) -> None:
        """Once it is enqueued, and not before."""
        where = (event.bucket, key)
        sequencer, _ = self._known.get(where, ("", ""))
        # A sender without sequencers does not wipe out one that is known.
        self._known[where] = (event.sequencer or sequencer, version)
        self._known.move_to_end(where)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
