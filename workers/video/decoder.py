"""What runs in the process in which a hostile file is decoded: one video, from first to last.

It has no credentials, little memory and hardly a system call (`isolation`), and is killed when it
is in the way. The video is a file that its parent fills as it says what it needs; pictures go into
another one, all else is JSON over a socket, in messages so small that none is ever half there. See
`standby` for how it starts, `process` for the other side.
"""

import io
import json
import math
import os
import resource
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import av

from shared.errors import JamakError, NotAVideo, TooLarge
from workers.video.byte_plan import Range
from workers.video.container import VideoFile
from workers.video.sampling import Deadline, Limits, Request, Sample, Sampler
from workers.video.shape import Shape
from workers.video.spool import BLOCK_BYTES, scratch

TICK_S = 0.2
"""Between two signs of life."""
AFTER_ALL_S = 10
"""Of CPU beyond its limit, counted generously: then the kernel ends it."""
TRACE_CHARS = 4000
"""Of what went wrong in our own code."""


class Parent:
    """What the other side is told, and asked for."""

    def __init__(self, connection: Connection, pictures: int) -> None:
        self._connection, self._pictures = connection, pictures
        self._told = 0.0

    def receive(self) -> dict[str, Any]:
        """Raises EOFError: it is gone."""
        told: dict[str, Any] = json.loads(self._connection.recv_bytes())
        return told

    def tell(self, kind: str, **facts: Any) -> None:
        self._connection.send_bytes(json.dumps({"kind": kind, **facts}).encode())

    def tell_sample(self, sample: Sample) -> None:
        pixels = memoryview(sample.frames.tobytes())
        at = 0
        with scratch():
            while at < len(pixels):
                at += os.pwrite(self._pictures, pixels[at:], at)
        facts = {name: value for name, value in vars(sample).items() if name != "frames"}
        facts["colour"] = sample.colour and vars(sample.colour)
        facts["track"] = vars(sample.track)
        self.tell("sample", shape=sample.frames.shape, **facts)

    def tick(self) -> None:
        if time.monotonic() - self._told > TICK_S:
            self._told = time.monotonic()
            self.tell("tick")

    def plan(self, ranges: Sequence[Range] | None) -> bool:
        """Say what will be read next; whether what was here before still is."""
        self.tell("plan", ranges=ranges)
        return bool(self.receive()["kept"])

    def need(self, start: int, end: int) -> int:
        """Wait for these bytes; how far the file is filled from there on."""
        self.tell("need", range=(start, end))
        return int(self.receive()["until"])


class SpooledFile(io.RawIOBase):
    """The video as a file object: what is not here yet is asked for.

    Args:
        on_wait: told how long a request took, in seconds.
    """

    def __init__(
        self, fd: int, size_bytes: int, parent: Parent, on_wait: Callable[[float], None]
    ) -> None:
        self._fd, self._size, self._parent, self._on_wait = fd, size_bytes, parent, on_wait
        self._at = 0
        self._here = bytearray(-(-size_bytes // BLOCK_BYTES))

    def forget(self) -> None:
        self._here = bytearray(len(self._here))

    def head(self, size: int) -> bytes:
        """The first bytes; reading goes on where it was."""
        at = self._at
        self.seek(0)
        body = self.read(size)
        self._at = at
        return body

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        first, last = self._at // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        if not all(self._here[first:last]):
            since = time.monotonic()
            until = self._parent.need(self._at, end)
            self._on_wait(time.monotonic() - since)
            last = -(-until // BLOCK_BYTES)
            self._here[first:last] = b"\1" * (last - first)
        body = os.pread(self._fd, end - self._at, self._at)
        self._at += len(body)
        return body


class Session:
    """One video."""

    def __init__(self, parent: Parent, fd: int, told: dict[str, Any]) -> None:
        self._parent = parent
        self._name, size_bytes = told["name"], told["size_bytes"]
        self._limits = Limits(**told["limits"])
        self._deadline = Deadline(self._name, self._limits)
        self._begun = False
        self._file = SpooledFile(fd, size_bytes, parent, lambda spent: self._deadline.extend(spent))
        video = VideoFile(
            self._file,
            self._name,
            self._file.head,
            self._limits.max_pixels,
            self._limits.max_decoded,
            still=told["still"],
        )
        try:
            self._sampler = Sampler(video, size_bytes, self._limits, self._tick, self._on_plan)
        except BaseException:
            video.container.close()
            raise

    def describe(self) -> dict[str, Any]:
        timeline, context = self._sampler.timeline, self._sampler.video.stream.codec_context
        return {
            "duration_s": timeline.duration_s,
            "frames": len(timeline.times),
            "width": context.width,
            "height": context.height,
            # Its name, not that of what decodes it: av1, not libdav1d.
            "codec": context.codec.canonical_name,
        }

    def sample(self, told: dict[str, Any]) -> Sample:
        window, shape = told["window_s"], told["shape"]
        return self._sampler.sample(
            Request(
                told["n"],
                tuple(window) if window else None,
                Shape(*shape) if shape else None,
                told["strategy"],
            )
        )

    def changes(self) -> tuple[list[float], str]:
        return self._sampler.changes()

    def begin(self, idle_s: float) -> None:
        """The first request shares its time with the opening, later ones have it for themselves."""
        if self._begun:
            self._deadline = Deadline(self._name, self._limits)
        else:
            self._deadline.extend(idle_s)
        self._begun = True

    def _tick(self) -> None:
        self._parent.tick()
        self._deadline.check()

    def _on_plan(self, ranges: Sequence[Range] | None) -> None:
        if not self._parent.plan(ranges):
            self._file.forget()


def serve(parent: Parent, fd: int, memory_bytes: int) -> int:
    """Until the parent closes its end; the exit code."""
    try:
        _serve(parent, fd, memory_bytes)
    except (EOFError, ConnectionError):
        return 0  # the parent is gone, or does not want us any more
    except Exception:
        parent.tell("broken", trace=traceback.format_exc()[-TRACE_CHARS:])
        return 1
    return 0


def _serve(parent: Parent, fd: int, memory_bytes: int) -> None:
    session: Session | None = None
    cpu_s, name = 0.0, ""
    while True:
        since = time.monotonic()
        told = parent.receive()
        try:
            if told["kind"] == "open":
                cpu_s, name = told["limits"]["cpu_s"], told["name"]
                bound_cpu(cpu_s)
                session = Session(parent, fd, told)
                parent.tell("opened", **session.describe())
                continue
            assert session is not None
            bound_cpu(cpu_s)
            session.begin(time.monotonic() - since)
            if told["kind"] == "changes":
                changes_s, reason = session.changes()
                parent.tell("changes", changes_s=changes_s, reason=reason)
            else:
                parent.tell_sample(session.sample(told))
        except JamakError as error:
            _tell_error(parent, error)
        except MemoryError:  # PyAV's is one too
            _tell_error(
                parent,
                TooLarge(
                    f"{name}: decoding needs more than {memory_bytes >> 20} MiB of memory",
                    memory_mib=memory_bytes >> 20,
                ),
            )
            return  # who knows what it left behind
        except (av.FFmpegError, ValueError, OverflowError, ArithmeticError) as error:
            # FFmpeg gives up in places, and with numbers, that no list foresees.
            what = f"{type(error).__name__}: {error}"
            _tell_error(parent, NotAVideo(f"{name}: it cannot be decoded", error=what))


def bound_cpu(seconds: float) -> None:
    """From now on, by the kernel: for a process that is stuck where no packet is looked at, and
    whose parent is gone."""
    most_s = math.ceil(time.process_time() + seconds) + AFTER_ALL_S
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))


def _tell_error(parent: Parent, error: JamakError) -> None:
    parent.tell(
        "error",
        error=type(error).__name__,
        message=str(error),
        cure=error.cure,
        evidence=error.evidence,
    )
