"""Decoding at arm's length: each video in a process of its own, which can be killed.

The processes are kept, so that a video costs none of their start-up. One that overruns its time,
dies, or falls silent is replaced; its neighbours never notice. Knows nothing of S3: the bytes come
through a `Source`.
"""

import json
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from socket import SO_RCVTIMEO, SOL_SOCKET, socket, socketpair
from typing import Any, TypeVar

import numpy as np

from shared import errors
from shared.errors import DecoderDied, JamakError, OutOfResources, TooSlow
from shared.web.connections import CONNECTIONS
from workers.progress import Progress
from workers.video.sampling import Limits, Request, Sample
from workers.video.source import Source
from workers.video.spool import MOST_CONNECTIONS, Spool

START_S = 60.0
"""For a process to begin; it takes half a second on a machine that has time."""
LATE_S = 1.0
"""After its deadline a decoder ends itself; so much later it is killed."""
SILENT_S = 20.0
"""Without a sign of life. Shorter than a lease, so that nobody else gets the job meanwhile."""
LOOK_S, GONE_S = 0.25, 1.0
"""How often it is looked at; how long what has closed its end may take to be gone."""
MESSAGE_BYTES = 1 << 20
"""No decoder has more to say at once; one that a video has taken over might."""
LEAST_CONNECTIONS = 4
"""Of each video, however many there are."""
ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV")
"""What a decoder is told of ours: no credentials."""


T = TypeVar("T")
Tick = Callable[[str], None]


def connections_each(videos: int) -> int:
    """Requests at once for each of so many videos."""
    return min(MOST_CONNECTIONS, max(CONNECTIONS // videos, LEAST_CONNECTIONS))


class _Died(Exception):
    """It ended without a word."""


@dataclass(frozen=True)
class VideoInfo:
    duration_s: float
    frames: int
    width: int
    height: int
    codec: str


class DecoderPool:
    """Thread-safe.

    Args:
        size: videos that are decoded at once; whoever comes then waits.
        memory_bytes: address space of each process.
        folder: for the files that hold what is read of a video; they have no names.
    """

    def __init__(
        self,
        size: int,
        limits: Limits | None = None,
        memory_bytes: int = 2 << 30,
        folder: Path | None = None,
    ) -> None:
        self._limits, self._memory, self._folder = limits or Limits(), memory_bytes, folder
        self._connections = connections_each(size)
        self._free: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()
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

    def _take(self, progress: Progress) -> "_Decoder":
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

    def new_decoder(self, tick: Tick) -> "_Decoder":
        """Raises OutOfResources."""
        decoder = _Decoder(self._limits, self._memory, self._folder, self._connections)
        decoder.start(tick)
        return decoder

    def tick(self) -> None:
        self._progress.tick("frames")

    def close(self) -> None:
        """Ends all decoders that are free."""
        while not self._free.empty():
            decoder = self._free.get()
            if decoder is not None:
                decoder.kill()


class OpenVideo:
    """For one thread."""

    info: VideoInfo

    def __init__(
        self,
        pool: DecoderPool,
        decoder: "_Decoder",
        source: Source,
        progress: Progress,
        frames: int,
    ) -> None:
        self.decoder, self._frames = decoder, frames
        self._pool, self._source, self._progress = pool, source, progress
        self._fetched_bytes = 0
        """By the decoders before this one."""

    def start(self) -> None:
        self.info = VideoInfo(**self._twice(self._open))

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

    def _open(self) -> dict[str, Any]:
        return self.decoder.open(self._source, self._frames, self._tick)

    def _twice(self, ask: Callable[[], T]) -> T:
        """A process may die of a neighbour's hunger for memory: once is no proof."""
        try:
            return ask()
        except _Died:
            self._replace()
        try:
            return ask()
        except _Died as error:
            raise DecoderDied(
                f"{self._source.name}: its decoder died twice, {error}", ended=str(error)
            ) from error

    def _tick(self, stage: str) -> None:
        self._progress.tick(stage)
        self._pool.tick()


class _Decoder:
    """One process, its pipe and its file."""

    def __init__(
        self, limits: Limits, memory_bytes: int, folder: Path | None, connections: int
    ) -> None:
        """Raises OutOfResources."""
        self._limits = limits
        try:
            with ExitStack() as opened:
                self.spool = Spool(folder, connections, limits.max_bytes)
                opened.callback(self.spool.close)
                self._pictures = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                ours, theirs = map(opened.enter_context, socketpair())
                self._process = _spawn(theirs, self.spool.fd, self._pictures.fileno(), memory_bytes)
                theirs.close()
                opened.pop_all()
        except OSError as error:
            raise OutOfResources(f"a decoder cannot be started: {error}") from error
        # Of half a message the other half must come.
        ours.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("@ll", int(SILENT_S), 0))
        self._connection = Connection(ours.detach())
        self.alive = True
        self.opened = False
        self._opening_s = self._spent_s = 0.0
        """The time for the first request is shared with the opening."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        """Nobody has killed it while it was idle."""
        if self._process.poll() is not None:
            self.kill()
        return self.alive

    def start(self, tick: Tick) -> None:
        """Until it is up. One that is not has not seen any video yet: that is none's fault.

        Raises:
            OutOfResources: it does not come up.
        """
        since = time.monotonic()
        try:
            while not self._connection.poll(LOOK_S):
                tick("frames")
                if time.monotonic() - since > START_S:
                    raise OutOfResources(f"a decoder was not up within {START_S:.0f} s")
            with self._dying_with_it():
                self._connection.recv_bytes(MESSAGE_BYTES)
        except _Died as error:
            self.kill()
            raise OutOfResources(f"a decoder ended {error} before it was up") from error
        except BaseException:
            self.kill()
            raise

    def open(self, source: Source, frames: int, tick: Tick) -> dict[str, Any]:
        self.spool.begin(source, frames)
        self._name, self._opening_s = source.name, 0.0
        info = self._ask(
            tick,
            kind="open",
            name=source.name,
            size_bytes=source.size_bytes,
            limits=asdict(self._limits),
        )
        self.opened = True
        self._opening_s = self._spent_s
        return info

    def sample(self, request: Request, tick: Tick) -> Sample:
        told = self._ask(
            tick,
            kind="sample",
            n=request.n,
            window_s=request.window_s,
            shape=astuple(request.shape) if request.shape else None,
            strategy=request.strategy,
        )
        shape = tuple(told.pop("shape"))
        there = os.fstat(self._pictures.fileno()).st_size
        pixels = os.pread(self._pictures.fileno(), min(math.prod(shape), there), 0)
        told["groups_s"] = map(tuple, told["groups_s"])
        for name in ("timestamps_s", "targets_s", "exact", "groups_s"):
            told[name] = tuple(told[name])
        return Sample(frames=np.frombuffer(pixels, np.uint8).reshape(shape), **told)

    def changes(self, tick: Tick) -> tuple[list[float], str]:
        told = self._ask(tick, kind="changes")
        return told["changes_s"], told["reason"]

    def end(self) -> None:
        """Of this video."""
        self.opened = False
        if not self.alive:
            return
        try:
            self.spool.end()
            self._pictures.truncate(0)
        except (OSError, OutOfResources):
            self.kill()  # with its files

    def kill(self) -> None:
        self.alive = self.opened = False
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._pictures.close()
        self.spool.close()

    def _ask(self, tick: Tick, **request: Any) -> dict[str, Any]:
        """What it answers, once it has all the bytes that it needs.

        Whatever goes wrong in between, the process is gone then: nobody knows what it is at.
        """
        try:
            self._tell(**request)
            answer = self._listen(tick)
        except BaseException:
            self.kill()
            raise
        if answer["kind"] == "error":
            if answer["error"] == "TooLarge" and "memory_mib" in answer["evidence"]:
                self.kill()  # it ends by itself
            kind: type[JamakError] = getattr(errors, answer["error"])
            raise kind(answer["message"], cure=answer["cure"], **answer["evidence"])
        return {name: value for name, value in answer.items() if name != "kind"}

    def _tell(self, **facts: Any) -> None:
        with self._dying_with_it():
            self._connection.send_bytes(json.dumps(facts).encode())

    def _listen(self, tick: Tick) -> dict[str, Any]:
        looked = time.monotonic()
        silent_s = 0.0
        began, self._opening_s = looked - self._opening_s, 0.0
        while True:
            with self._dying_with_it():
                told = (
                    json.loads(self._connection.recv_bytes(MESSAGE_BYTES))
                    if self._connection.poll(LOOK_S)
                    else None
                )
            now = time.monotonic()
            # If all this machine stood still, that was not its silence.
            silent_s = 0.0 if told else silent_s + min(now - looked, 2 * LOOK_S)
            looked = now
            self._check_time(now - began, silent_s)
            if told is None:
                continue
            tick("frames")
            if told["kind"] == "plan":
                self._tell(kept=self.spool.plan(told["ranges"]))
            elif told["kind"] == "need":
                start, end = told["range"]
                until = self.spool.wait(start, end, lambda: tick("download"))
                looked = time.monotonic()
                began += looked - now
                self._tell(until=until)
            elif told["kind"] != "tick":
                self._spent_s = now - began
                return dict(told)

    def _check_time(self, spent_s: float, silent_s: float) -> None:
        """It checks itself at each packet; this is for what hangs inside of one."""
        if spent_s > self._limits.deadline_s + LATE_S or silent_s > SILENT_S:
            raise TooSlow(
                f"{self._name}: its decoder was killed after {spent_s:.1f} s, {silent_s:.1f} s of "
                "them silent",
                deadline_s=self._limits.deadline_s,
                wall_s=round(spent_s, 1),
                silent_s=round(silent_s, 1),
            )

    @contextmanager
    def _dying_with_it(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, ValueError) as error:
            try:
                code = self._process.wait(GONE_S)
            except subprocess.TimeoutExpired:
                raise _Died(f"when it spoke out of turn ({type(error).__name__})") from error
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise _Died(f"by {how}") from error


def _spawn(theirs: socket, video: int, pictures: int, memory_bytes: int) -> subprocess.Popen[bytes]:
    files = (theirs.fileno(), video, pictures)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "workers.video.decoder"),
            *(str(number) for number in (*files, memory_bytes)),
        ],
        pass_fds=files,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is for us
        env={
            **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
