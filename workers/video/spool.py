"""What is here of a remote video: a sparse file, filled by parallel ranged reads.

The file has no name, so nothing is left of it when a process dies. Knows nothing of what is in it.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from pathlib import Path

from shared.errors import OutOfResources, StoreUnavailable, TooLarge
from workers.video.byte_plan import Range, merged
from workers.video.source import Source

BLOCK_BYTES = 256 << 10
PART_BYTES, LEAST_PART_BYTES = 4 << 20, 1 << 20
"""The most that one request asks for, and what is not parted any more."""
MOST_CONNECTIONS = 24
"""Requests at once for one video that help: what is wanted is spread over them."""
SMALL_BYTES = 2 << 20
"""For each frame. Up to this size all is fetched: a group of pictures is twice as large, so most of
it would be needed anyway, and the round trip to the index would take longer than the rest."""
DENSE = 0.6
"""Whoever needs such a share of the bytes gets all of them."""
HEAD_BYTES, TAIL_BYTES, END_PART_BYTES = 3 << 19, 256 << 10, 512 << 10
"""An index is at one end or the other; the first picture is read when a file is opened. In parts,
because all the rest waits for it."""
SEARCHES = 8
"""Requests for an index in many pieces, as fragmented files have it; then all is fetched."""
LOOK_S = 0.5


@contextmanager
def scratch() -> Iterator[None]:
    """Raises OutOfResources where the disk is full or broken."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"the file for what is read of a video: {error}") from error


class Spool:
    """One video's bytes at a time. Everything but the fetching is for one thread.

    Args:
        connections: requests at once, of this spool alone: a slow server holds up nobody else.
        max_bytes: of one video, on disk.
    """

    def __init__(self, folder: Path | None, connections: int, max_bytes: int) -> None:
        with scratch():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # lives as long as we
        self.connections, self._max_bytes = connections, max_bytes
        self._fetchers: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._epoch = 0
        """Of the video, so that a late answer does not get into the next one's bytes."""
        self._source: Source | None = None
        self._blocks: dict[int, Future[None]] = {}
        self.fetched_bytes = self._held_bytes = 0
        self.whole = self._planned = False
        self._searches, self._expected, self._ahead_bytes = 0, -1, BLOCK_BYTES

    @property
    def fd(self) -> int:
        return self._file.fileno()

    def begin(self, source: Source, frames: int) -> None:
        """An empty file of the video's size; if that is small, all of it is on its way.

        Args:
            frames: how many will be wanted.
        """
        self._source = source
        self.fetched_bytes = 0
        self.whole = self._planned = False
        self._searches, self._expected, self._ahead_bytes = 0, -1, BLOCK_BYTES
        self.forget()
        if source.size_bytes <= frames * SMALL_BYTES:
            self.plan(None)
        else:
            size = source.size_bytes
            self.want([(0, HEAD_BYTES), (size - TAIL_BYTES, size)], END_PART_BYTES)

    def forget(self) -> None:
        """Give the disk space back. What is read again is fetched again."""
        self._disown()
        with scratch():
            self._file.truncate(0)
            self._file.truncate(self._source.size_bytes if self._source else 0)

    def _disown(self) -> None:
        """No answer to a request so far is written any more."""
        with self._lock:
            self._epoch += 1
        for future in self._blocks.values():
            future.cancel()
        self._blocks = {}
        self._held_bytes = 0

    def end(self) -> None:
        """Of this video. A request that is still under way holds up none of the next one's.

        Raises:
            OutOfResources: its bytes are still there.
        """
        on_the_way = any(not future.done() for future in self._blocks.values())
        if self._fetchers is not None and on_the_way:
            self._dismiss()
        self._source = None
        self.forget()

    def _dismiss(self) -> None:
        """Those who fetch end when their requests do, and these at once if they can be stopped."""
        if self._fetchers is not None:
            self._fetchers.shutdown(wait=False, cancel_futures=True)
            self._fetchers = None
        if self._source is not None:
            self._source.stop()

    def close(self) -> None:
        self._dismiss()
        self._disown()
        self._file.close()

    def plan(self, ranges: Sequence[Range] | None) -> bool:
        """These bytes will be needed (None: any), so they are on their way from now on.

        Returns:
            Whether what was here before still is; else it had to make room.

        Raises:
            TooLarge: they are too many.
        """
        assert self._source is not None
        size = self._source.size_bytes
        self._planned = True
        dense = sum(end - start for start, end in ranges or ()) >= DENSE * size
        if ranges is None or (dense and size <= self._max_bytes):
            self.whole = True
            ranges = [(0, size)]
        if sum(end - start for start, end in ranges) > self._max_bytes:
            raise self._too_large()
        kept = self._held_bytes + self._missing_bytes(ranges) <= self._max_bytes
        if not kept:
            self.forget()
        # Each range has a last part that is smaller: so many parts, and no more, at once.
        wanted = sum(end - start for start, end in ranges)
        part = wanted // max(self.connections - len(ranges), 1)
        self.want(ranges, min(max(part, LEAST_PART_BYTES), PART_BYTES))
        return kept

    def want(self, ranges: Sequence[Range], part_bytes: int = PART_BYTES) -> None:
        """In requests for at most so many bytes, rounded up to blocks. Raises TooLarge."""
        for start, end in merged([self._in_blocks(one) for one in ranges]):
            run = start
            for block in range(start, end + 1):
                length = (block - run) * BLOCK_BYTES
                there = block == end or block in self._blocks
                if there or length >= part_bytes:
                    self._submit(run, block)
                    run = block + 1 if there else block

    def wait(self, start: int, end: int, on_look: Callable[[], None]) -> int:
        """Until these bytes are here; how far the bytes from `start` on are here.

        Args:
            on_look: called while waiting, twice a second; may raise.

        Raises:
            TooLarge, and what `fetch` raises.
        """
        first, last = self._in_blocks((start, end))
        if not self._planned and any(block not in self._blocks for block in range(first, last)):
            self._search(first, start, end)
        self.want([(start, end)])
        for block in range(first, last):
            future = self._blocks[block]
            while not future.done():
                on_look()
                wait_for([future], LOOK_S)
            future.result()
        while (future_ := self._blocks.get(last)) and future_.done() and not future_.exception():
            last += 1
        return last * BLOCK_BYTES

    def _search(self, first: int, start: int, end: int) -> None:
        """The index is being looked for: ahead of whoever reads on, and once, not for ever."""
        assert self._source is not None
        self._searches += 1
        if self._searches > SEARCHES and self._source.size_bytes <= self._max_bytes:
            self.plan(None)
            return
        on = first == self._expected
        self._ahead_bytes = min(2 * self._ahead_bytes, PART_BYTES) if on else BLOCK_BYTES
        self.want([(start, max(end, start + self._ahead_bytes))])
        while self._expected in self._blocks or self._expected <= first:
            self._expected = max(self._expected, first) + 1

    def _missing_bytes(self, ranges: Sequence[Range]) -> int:
        assert self._source is not None
        runs = merged([self._in_blocks(one) for one in ranges])
        missing = [at for run in runs for at in range(*run) if at not in self._blocks]
        size = self._source.size_bytes
        return sum(min(BLOCK_BYTES, size - at * BLOCK_BYTES) for at in missing)

    def _in_blocks(self, wanted: Range) -> Range:
        assert self._source is not None
        start, end = max(0, wanted[0]), min(wanted[1], self._source.size_bytes)
        return start // BLOCK_BYTES, max(start // BLOCK_BYTES, -(-end // BLOCK_BYTES))

    def _submit(self, first: int, last: int) -> None:
        """One request for blocks none of which is on its way."""
        assert self._source is not None
        if first >= last:
            return
        start, end = first * BLOCK_BYTES, min(last * BLOCK_BYTES, self._source.size_bytes)
        if self._held_bytes + end - start > self._max_bytes:
            raise self._too_large()
        self._held_bytes += end - start
        self.fetched_bytes += end - start
        if self._fetchers is None:
            self._fetchers = ThreadPoolExecutor(self.connections, thread_name_prefix="fetch")
        future = self._fetchers.submit(self._fetch, self._source, start, end, self._epoch)
        for block in range(first, last):
            self._blocks[block] = future

    def _too_large(self) -> TooLarge:
        assert self._source is not None
        return TooLarge(
            f"{self._source.name} has {self._source.size_bytes} bytes and more than "
            f"{self._max_bytes} of them are needed",
            size_bytes=self._source.size_bytes,
            max_video_bytes=self._max_bytes,
        )

    def _fetch(self, source: Source, start: int, end: int, epoch: int) -> None:
        body = source.fetch(start, end)
        if len(body) != end - start:
            raise StoreUnavailable(f"{source.name}: {len(body)} bytes came of {end - start}")
        with self._lock:
            if epoch == self._epoch:
                with scratch():
                    while start < end:  # a disk that is nearly full takes a part
                        start += os.pwrite(self.fd, body[start - end :], start)
