"""One decoder, seen from its parent: a process that stands by, and the copy of it for each video.

Knows the messages, the two files they share, when a process is given up, and how it ended; nothing
of who waits for one. What comes from a copy may be a hostile video's word: it is checked. See
`standby` and `decoder` for the other side.
"""

import json
import math
import os
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
from select import select
from socket import SO_RCVTIMEO, SOL_SOCKET, send_fds, socket, socketpair
from typing import Any, TypeVar

import numpy as np

from shared.errors import (
    JamakError,
    NotAVideo,
    NoVideoStream,
    OutOfResources,
    TooLarge,
    TooSlow,
    Truncated,
)
from shared.telemetry import get_logger
from workers.video.byte_plan import Range
from workers.video.colour import Colour
from workers.video.isolation import Isolation
from workers.video.recordings import MOST
from workers.video.sampling import Limits, Request, Sample
from workers.video.source import Source
from workers.video.spool import Spool
from workers.video.tracks import Track

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
ENVIRONMENT = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What a decoder is told of ours: where its code is."""
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Memory in large pages, where the kernel has them: a copy starts without any, and a picture lies
on hundreds of small ones."""

T = TypeVar("T")
Tick = Callable[[str], None]


VERDICTS: dict[str, type[JamakError]] = {
    kind.__name__: kind
    for kind in (NotAVideo, NoVideoStream, Truncated, TooLarge, TooSlow, OutOfResources)
}
"""What a decoder may say of a video, or of its disk."""

log = get_logger("jamak.decoder")


@dataclass(frozen=True)
class VideoInfo:
    duration_s: float
    frames: int
    width: int
    height: int
    codec: str


class Died(Exception):
    """It ended without a word."""


class Decoder:
    """One process, its pipes and its files.

    Args:
        memory_bytes: address space of it, and of each copy.
        folder: for its files.
        connections: see `Spool`.

    Raises:
        OutOfResources: it cannot be started.
    """

    isolation: Isolation

    def __init__(
        self, limits: Limits, memory_bytes: int, folder: Path | None, connections: int
    ) -> None:
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
        self._control = ours
        self._connection: Connection | None = None
        """To the copy for this video."""
        self._copied = False
        """A copy has been started whose end we have not heard of."""
        self.alive = True
        self.opened = False
        self._opening_s = self._spent_s = 0.0
        """The time for the first request is shared with the opening."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        """It stands by: nobody has killed it while it was idle, and the copy before has ended."""
        if self._process.poll() is not None or (self._copied and self._ended() is None):
            self.kill()
        return self.alive

    def start(self, tick: Tick) -> None:
        """Until it is up. One that is not has not seen any video yet: that is none's fault.

        Raises:
            OutOfResources: it does not come up.
        """
        since = time.monotonic()
        try:
            while not select([self._control], [], [], LOOK_S)[0]:
                tick("frames")
                if time.monotonic() - since > START_S:
                    raise OutOfResources(f"a decoder was not up within {START_S:.0f} s")
            told = self._hear(SILENT_S)
            if told is None:
                raise OutOfResources(f"a decoder ended {self._how()} before it was up")
            up = told["up"]
            self.isolation = Isolation(up["user"], tuple(up["refused"]), up["why"])
        except BaseException:
            self.kill()
            raise

    def open(self, source: Source, frames: int, tick: Tick) -> VideoInfo:
        """In a new copy. Raises Died, and what the video deserves."""
        self._leave()
        if not self.runs():
            raise Died("when another video had ended")
        self._name, self._opening_s = source.name, 0.0
        try:
            self._copy()
        except OSError as error:
            how = self._how()
            self.kill()
            raise Died(how) from error
        self.spool.begin(source, frames)
        info = self._ask(
            tick,
            _video_info,
            kind="open",
            name=source.name,
            size_bytes=source.size_bytes,
            still=source.still,
            limits=asdict(self._limits),
        )
        self.opened = True
        self._opening_s = self._spent_s
        return info

    def sample(self, request: Request, tick: Tick) -> Sample:
        return self._ask(
            tick,
            lambda told: self._sample(told, request.n),
            kind="sample",
            n=request.n,
            window_s=request.window_s,
            shape=astuple(request.shape) if request.shape else None,
            strategy=request.strategy,
        )

    def _sample(self, told: dict[str, Any], most: int) -> Sample:
        n, height, width, channels = shape = tuple(map(int, told.pop("shape")))
        if not (0 < n <= most and 0 < height * width <= self._limits.max_pixels and channels == 3):
            raise ValueError(shape)
        pixels = os.pread(self._pictures.fileno(), math.prod(shape), 0)
        told["groups_s"] = map(tuple, told["groups_s"])
        for name in ("timestamps_s", "targets_s", "exact", "groups_s", "clock_jumps_s"):
            told[name] = tuple(told[name])
        if len(told["clock_jumps_s"]) > MOST:
            raise ValueError(len(told["clock_jumps_s"]))
        told["colour"] = told["colour"] and Colour.told(**told["colour"])
        told["deinterlaced"] = int(told["deinterlaced"])
        told["track"] = _track(told["track"])
        return Sample(frames=np.frombuffer(pixels, np.uint8).reshape(shape), **told)

    def changes(self, tick: Tick) -> tuple[list[float], str]:
        return self._ask(tick, _changes, kind="changes")

    def end(self) -> None:
        """Of this video, and of its copy."""
        self._leave()
        if not self.alive:
            return
        try:
            self.spool.end()
            self._pictures.truncate(0)
        except (OSError, OutOfResources):
            self.kill()  # with its files

    def kill(self) -> None:
        """It and its copy."""
        self.alive = False
        self._leave()
        self._control.close()
        try:
            # It ends its copy, which would be nobody's to bury otherwise: a container has no init.
            self._process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._pictures.close()
        self.spool.close()

    def _copy(self) -> None:
        """Raises OSError: it is not there any more."""
        ours, theirs = socketpair()
        with theirs:
            # Of half a message the other half must come.
            ours.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("@ll", int(SILENT_S), 0))
            self._connection = Connection(ours.detach())
            send_fds(self._control, [b"+"], [theirs.fileno()])
        self._copied = True

    def _leave(self) -> None:
        """The copy hears nothing more of us, and ends."""
        self.opened = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ended(self) -> int | None:
        """How the copy has: its exit code, or minus a signal; None: it has not, or nobody knows."""
        told = self._hear(GONE_S)
        if told is None:
            return None
        self._copied = False
        return int(told["ended"])

    def _hear(self, patience_s: float) -> dict[str, Any] | None:
        """A line of the process that stands by, which no video has its hands on."""
        line = b""
        self._control.settimeout(patience_s)
        try:
            while not line.endswith(b"\n"):
                if not (more := self._control.recv(MESSAGE_BYTES)):
                    return None
                line += more
        except OSError:
            return None
        finally:
            self._control.settimeout(None)
        return dict(json.loads(line))

    def _how(self) -> str:
        """How it ended, or its copy."""
        code = self._ended() if self._copied else None
        if code is None:
            try:
                code = self._process.wait(GONE_S)
            except subprocess.TimeoutExpired:
                return "when it spoke out of turn"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"by exit code {code}"

    def _ask(self, tick: Tick, read: Callable[[dict[str, Any]], T], **request: Any) -> T:
        """What it answers, once it has all the bytes that it needs.

        Whatever goes wrong in between, the process is gone then: nobody knows what it is at.
        """
        try:
            self._tell(**request)
            answer = self._listen(tick)
            kind = answer.pop("kind")
            with self._dying_with_it():
                if kind != "error":
                    return read(answer)
                error = _error_of(answer)
        except BaseException:
            self.kill()
            raise
        if isinstance(error, TooLarge) and "memory_mib" in error.evidence:
            self.kill()  # it ends by itself
        raise error

    def _tell(self, **facts: Any) -> None:
        assert self._connection is not None
        with self._dying_with_it():
            self._connection.send_bytes(json.dumps(facts).encode())

    def _listen(self, tick: Tick) -> dict[str, Any]:
        assert self._connection is not None
        looked = time.monotonic()
        silent_s = 0.0
        began, self._opening_s = looked - self._opening_s, 0.0
        while True:
            with self._dying_with_it():
                told = (
                    _message(self._connection.recv_bytes(MESSAGE_BYTES))
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
                return told

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
        """Around what it says: nonsense is a kind of death."""
        try:
            yield
        except (EOFError, OSError) as error:
            raise Died(self._how()) from error
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise Died(f"when it spoke nonsense ({type(error).__name__})") from error


def _message(body: bytes) -> dict[str, Any]:
    """Raises EOFError: it is its last; ValueError, TypeError, KeyError: it is none of ours."""
    told: dict[str, Any] = dict(json.loads(body))
    if told["kind"] == "broken":
        log.error("a decoder ends", exception=str(told["trace"]))
        raise EOFError
    if told["kind"] == "plan" and told["ranges"] is not None:
        told["ranges"] = [_range(one) for one in told["ranges"]]
    elif told["kind"] == "need":
        told["range"] = _range(told["range"])
    return told


def _range(told: Any) -> Range:
    start, end = told
    if not (type(start) is type(end) is int and 0 <= start <= end):
        raise ValueError(told)
    return start, end


def _video_info(told: dict[str, Any]) -> VideoInfo:
    return VideoInfo(
        duration_s=float(told["duration_s"]),
        frames=int(told["frames"]),
        width=int(told["width"]),
        height=int(told["height"]),
        codec=str(told["codec"]),
    )


def _track(told: dict[str, Any]) -> Track:
    return Track(index=int(told["index"]), of=int(told["of"]), reason=str(told["reason"]))


def _changes(told: dict[str, Any]) -> tuple[list[float], str]:
    return [float(moment) for moment in told["changes_s"]], str(told["reason"])


def _error_of(told: dict[str, Any]) -> JamakError:
    """One of a video's own errors, whatever it says. Raises ValueError, KeyError."""
    kind = VERDICTS.get(told["error"])
    if kind is None:
        raise ValueError(told["error"])
    return kind(str(told["message"]), cure=str(told["cure"]), **dict(told["evidence"]))


def _spawn(theirs: socket, video: int, pictures: int, memory_bytes: int) -> subprocess.Popen[bytes]:
    files = (theirs.fileno(), video, pictures)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "workers.video.standby"),
            *(str(number) for number in (*files, memory_bytes)),
        ],
        pass_fds=files,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is for us
        env={
            **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **LARGE_PAGES,
            # On a full disk Python 3.11 leaves half of a module's bytecode, which none can load.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
