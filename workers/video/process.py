"""One decoder, seen from its parent: a process, the pipe to it, and the two files they share.

Knows the messages, when a process is given up, and how it ended; nothing of who waits for one.
See `decoder` for the other side.
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
from dataclasses import asdict, astuple
from multiprocessing.connection import Connection
from pathlib import Path
from socket import SO_RCVTIMEO, SOL_SOCKET, socket, socketpair
from typing import Any

import numpy as np

from shared import errors
from shared.errors import JamakError, OutOfResources, TooSlow
from workers.video.sampling import Limits, Request, Sample
from workers.video.source import Source
from workers.video.spool import Spool

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
ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV")
"""What a decoder is told of ours: no credentials."""

Tick = Callable[[str], None]


class Died(Exception):
    """It ended without a word."""


class Decoder:
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
        except Died as error:
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
                raise Died(f"when it spoke out of turn ({type(error).__name__})") from error
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise Died(f"by {how}") from error


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
            # On a full disk Python 3.11 leaves half of a module's bytecode, which none can load.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
