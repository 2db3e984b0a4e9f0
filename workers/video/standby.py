"""The process that stands by: with all loaded, it starts a copy of itself for each video.

    python -m workers.video.standby CONTROL VIDEO PICTURES MEMORY_BYTES

So each video has a process that has seen no other, for the price of a fork. Over CONTROL comes a
socket for each video; what the copy has to say goes over that one, how it ended over CONTROL. This
process itself reads nothing of a video. See `decoder` for the copy, `process` for the parent.
"""

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing.connection import Connection

# All that decoding loads late: a copy of this process can open no file.
import av.subtitles.codeccontext
import av.subtitles.stream
import numpy.ma

from workers.video import decoder
from workers.video.isolation import become_another, keep_memory_private, lock, rehearse

LARGEST_BLOCK_BYTES = 31 << 20
"""Below glibc's DEFAULT_MMAP_THRESHOLD_MAX of 32 MiB: once freed, blocks up to it are kept."""


@contextmanager
def telling_why() -> Iterator[None]:
    """Its stderr is the worker's, whose lines are JSON."""
    try:
        yield
    except Exception:
        from shared import telemetry

        telemetry.log_everything("info")
        telemetry.get_logger("jamak.decoder").exception("a decoder ends")
        sys.exit(1)


def stand_by(control: socket.socket, video: int, pictures: int, memory_bytes: int) -> None:
    """Until the parent closes its end."""
    while True:
        _, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not sockets:
            return
        (theirs,) = sockets
        reader, writer = os.pipe()
        us = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(control.detach())
            os.close(reader)
            _decode(us, theirs, video, pictures, memory_bytes)
        os.close(writer)
        os.close(theirs)
        status = _wait(pid, reader, control)
        os.close(reader)
        control.sendall(json.dumps({"ended": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _decode(us: int, theirs: int, video: int, pictures: int, memory_bytes: int) -> None:
    """Never returns."""
    code = 1
    try:
        os.dup2(0, 2)  # /dev/null: a video writes nothing into the worker's log
        lock(us)
        code = decoder.serve(decoder.Parent(Connection(theirs), pictures), video, memory_bytes)
    finally:
        os._exit(code)


def _wait(pid: int, reader: int, control: socket.socket) -> int:
    """Until it has ended, or its parent's parent has: then it ends, too."""
    poll = select.poll()
    poll.register(reader, 0)
    poll.register(control, 0)
    poll.poll()
    os.kill(pid, signal.SIGKILL)  # what has ended is not changed by it
    return os.waitpid(pid, 0)[1]


def main() -> None:
    number, video, pictures, memory_bytes = map(int, sys.argv[1:])
    control = socket.socket(fileno=number)
    worker = os.getppid()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    user = become_another()
    keep_memory_private()
    _warm_up()
    gc.freeze()  # a copy does not copy what it never writes to
    isolation = rehearse(user, worker)
    control.sendall(json.dumps({"up": asdict(isolation)}).encode() + b"\n")
    try:
        stand_by(control, video, pictures, memory_bytes)
    except ConnectionError:
        return  # the parent is gone


def _warm_up() -> None:
    """What every copy would do once more: FFmpeg's tables, and how malloc learns that large blocks
    come again."""
    for name in ("h264", "hevc", "vp9"):
        codec = av.CodecContext.create(name, "r")
        codec.thread_count = 1
        codec.open()
    numpy.empty(LARGEST_BLOCK_BYTES, numpy.uint8)


if __name__ == "__main__":
    with telling_why():
        main()
