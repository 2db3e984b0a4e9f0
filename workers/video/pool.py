"""Decoding at arm's length: each video in a process of its own, which can be killed.

Of each process there is a copy for each video, so that none costs the start-up, and none meets what
another one left behind. One that overruns its time, dies, or falls silent is replaced; its
neighbours never notice. Knows nothing of S3: the bytes come through a `Source`.
"""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from shared.errors import ConfigError, DecoderDied, OutOfResources
from shared.web.connections import CONNECTIONS
from workers.progress import Progress
from workers.video.isolation import Isolation, keep_memory_private
from workers.video.process import LOOK_S, Decoder, Died, Tick, VideoInfo
from workers.video.sampling import Limits, Request, Sample
from workers.video.source import Source
from workers.video.spool import MOST_CONNECTIONS

KILLED = "by SIGKILL"
KILLED_TWICE = "its decoder was killed twice, it seems for want of memory"
LEAST_CONNECTIONS = 4
"""Of each video, however many there are."""

T = TypeVar("T")


def connections_each(videos: int) -> int:
    """Requests at once for each of so many videos."""
    return min(MOST_CONNECTIONS, max(CONNECTIONS // videos, LEAST_CONNECTIONS))


class DecoderPool:
    """Thread-safe.

    Args:
        size: videos that are decoded at once; whoever comes then waits.
        memory_bytes: address space of each process.
        folder: for the files that hold what is read of a video; they have no names.
        isolated: only decoders that are kept from all that `isolation` knows of.
    """

    def __init__(
        self,
        size: int,
        limits: Limits | None = None,
        memory_bytes: int = 2 << 30,
        folder: Path | None = None,
        isolated: bool = False,
    ) -> None:
        keep_memory_private()
        self._limits, self._memory, self._folder = limits or Limits(), memory_bytes, folder
        self._isolated = isolated
        self.size, self._connections = size, connections_each(size)
        self._free: queue.LifoQueue[Decoder | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)  # started when it is wanted
        self._progress = Progress()
        """Of all: who waits for a decoder is as alive as those who have one."""

    @contextmanager
    def open(self, source: Source, progress: Progress, frames: int = 8) -> Iterator["OpenVideo"]:
        """A video, ready for requests, for as long as the block lasts.

        Args:
            frames: about how many will be wanted of it.

        Raises:
            NotAVideo, NoVideoStream, Truncated, TooLarge, TooSlow, DecoderDied, OutOfResources, and
            what `source.fetch` and `progress.tick` raise.
        """
        decoder = self._take(progress)
        video = OpenVideo(self, decoder, source, progress, frames)
        try:
            video.start()
            yield video
        finally:
            try:
                video.decoder.end()
            finally:
                self._free.put(video.decoder if video.decoder.alive else None)

    def _take(self, progress: Progress) -> Decoder:
        progress.tick("frames")
        while True:
            try:
                decoder = self._free.get(timeout=LOOK_S)
                break
            except queue.Empty:
                progress.wait_for(self._progress)
        if decoder is not None and decoder.runs():
            return decoder
        try:
            return self.new_decoder(progress.tick)
        except BaseException:
            self._free.put(None)
            raise

    def new_decoder(self, tick: Tick) -> Decoder:
        """Raises OutOfResources: none comes up, or it is not isolated. That is no video's fault."""
        try:
            return self._started(tick)
        except ConfigError as error:
            raise OutOfResources(str(error), cure=error.cure) from error

    def _started(self, tick: Tick) -> Decoder:
        """Raises OutOfResources, ConfigError."""
        decoder = Decoder(self._limits, self._memory, self._folder, self._connections)
        decoder.start(tick)
        found = decoder.isolation
        if self._isolated and found.missing:
            decoder.kill()
            raise ConfigError(
                f"decoders are not kept from {', '.join(found.missing)}: {found.why}",
                cure="Let processes install seccomp filters here (Kubernetes' RuntimeDefault "
                "profile does), or unset JAMAK_REQUIRE_ISOLATION.",
            )
        return decoder

    def prove(self) -> Isolation:
        """A decoder comes up here: what it is kept from. It waits for a video, if there is room.

        Raises:
            OutOfResources: none does.
            ConfigError: it is not isolated, and that is wanted.
        """
        decoder = self._started(lambda stage: None)
        with suppress(queue.Empty):
            other = self._free.get_nowait()
            self._free.put(other or decoder)
            if other is None:
                return decoder.isolation
        decoder.kill()
        return decoder.isolation

    def bring_up(self) -> None:
        """All at once, before there is a video. Raises OutOfResources."""

        def one(_: int) -> None:
            self._free.put(self._take(Progress()))

        with ThreadPoolExecutor(self.size) as starting:
            list(starting.map(one, range(self.size)))

    def tick(self) -> None:
        self._progress.tick("frames")

    def close(self) -> None:
        """Ends all decoders that are free. Whoever comes after that starts one again."""
        free = []
        with suppress(queue.Empty):
            while True:
                free.append(self._free.get_nowait())
        for decoder in free:
            if decoder is not None:
                decoder.kill()
            self._free.put(None)


class OpenVideo:
    """For one thread."""

    info: VideoInfo

    def __init__(
        self,
        pool: DecoderPool,
        decoder: Decoder,
        source: Source,
        progress: Progress,
        frames: int,
    ) -> None:
        self.decoder, self._frames = decoder, frames
        self._pool, self._source, self._progress = pool, source, progress
        self._fetched_bytes = 0
        """By the decoders before this one."""

    def start(self) -> None:
        self.info = self._twice(self._open)

    def sample(self, request: Request) -> Sample:
        def ask() -> Sample:
            self._reopen()
            return self.decoder.sample(request, self._tick)

        return self._twice(ask)

    def changes(self) -> tuple[list[float], str]:
        """Where the scene changes, in seconds, and how that was found."""

        def ask() -> tuple[list[float], str]:
            self._reopen()
            return self.decoder.changes(self._tick)

        return self._twice(ask)

    @property
    def fetched_bytes(self) -> int:
        return self._fetched_bytes + self.decoder.spool.fetched_bytes

    @property
    def whole(self) -> bool:
        """All of it was fetched, rather than what the index points at."""
        return self.decoder.spool.whole

    def _reopen(self) -> None:
        """In another process, if the one before has died or was killed."""
        if not self.decoder.alive:
            self._replace()
        if not self.decoder.opened:
            self._open()

    def _replace(self) -> None:
        self._fetched_bytes = self.fetched_bytes
        self.decoder = self._pool.new_decoder(self._tick)

    def _open(self) -> VideoInfo:
        return self.decoder.open(self._source, self._frames, self._tick)

    def _twice(self, ask: Callable[[], T]) -> T:
        """A process may die of a neighbour's hunger for memory: once is no proof.

        Nor is it twice, when it was killed: no video does that, but a machine without memory.
        """
        try:
            return ask()
        except Died:
            self._replace()
        try:
            return ask()
        except Died as error:
            if str(error) == KILLED:
                raise OutOfResources(f"{self._source.name}: {KILLED_TWICE}") from error
            raise DecoderDied(
                f"{self._source.name}: its decoder died twice, {error}", ended=str(error)
            ) from error

    def _tick(self, stage: str) -> None:
        self._progress.tick(stage)
        self._pool.tick()
