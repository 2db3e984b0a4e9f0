"""What a decoder is kept from: all but computing on what it was handed.

In three steps: who has credentials keeps its memory to itself (`keep_memory_private`), who stands
by for videos becomes somebody else (`become_another`), and who is about to see one gives up nearly
all system calls (`lock`). No step needs privileges but the second, which does what it can. What
came of it is not believed but tried (`rehearse`). Knows nothing of videos.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.video import syscalls

_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
"""Options of prctl (linux/prctl.h)."""
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_FILTER, _UNSLOWED = 1, 1 << 2
"""SECCOMP_SET_MODE_FILTER; SECCOMP_FILTER_FLAG_SPEC_ALLOW: before Linux 5.16 a filter would switch
off speculation, which guards secrets within one process. This one has none."""
_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
NOBODY = 65534
_TO_BECOME_ANOTHER = (1 << 5) | (1 << 6) | (1 << 7)
"""CAP_KILL, CAP_SETGID, CAP_SETUID. The first, because our parent has to end us later."""
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENETUNREACH)


@dataclass(frozen=True)
class Isolation:
    """What one decoder obtained."""

    user: str
    """`another`; `namespace`: nobody's, in a namespace without a network; or the `same`."""
    refused: tuple[str, ...]
    """Of `FORBIDDEN`."""
    why: str = ""
    """Something is not refused."""

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(what for what in FORBIDDEN if what not in self.refused)


def keep_memory_private() -> None:
    """No other process of our user reads our memory or environment, and it is in no core dump."""
    if sys.platform == "linux":
        _prctl(_DUMPABLE, 0)


def become_another() -> str:
    """See `Isolation.user`. For a process of one thread."""
    if sys.platform != "linux":
        return "same"
    if os.geteuid() == 0 and _capabilities() & _TO_BECOME_ANOTHER == _TO_BECOME_ANOTHER:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return "another"
    libc = ctypes.CDLL(None, use_errno=True)
    return "same" if libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC) else "namespace"


def lock(parent: int) -> str:
    """For good. Ends with its parent, too.

    Returns:
        Why system calls are not filtered; empty = they are.
    """
    if sys.platform != "linux":
        return f"there is no seccomp on {sys.platform}"
    _prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    keep_memory_private()
    machine = os.uname().machine
    if machine not in syscalls.MACHINES:
        return f"no system calls are listed for {machine}"
    if _prctl(_NO_NEW_PRIVS, 1):
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    body = syscalls.program(machine, os.getpid())
    steps = ctypes.create_string_buffer(body, len(body))
    filter_ = _Program(len(body) // 8, ctypes.addressof(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_UNSLOWED, 0):
        if not libc.syscall(_SECCOMP[machine], _FILTER, flags, ctypes.byref(filter_)):
            return ""
    return f"seccomp: {os.strerror(ctypes.get_errno())}"


def rehearse(user: str, worker: int) -> Isolation:
    """Lock a copy of this process, and let it try what it must not do.

    Args:
        user: what `become_another` said.
        worker: the process whose memory has the credentials.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            why = lock(parent)
            refused = [name for name, attempt in FORBIDDEN.items() if _refused(attempt, worker)]
            os.write(writer, json.dumps({"refused": refused, "why": why}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = b""
    while more := os.read(reader, 4096):
        told += more
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if not told:
        return Isolation(user, (), f"the trial ended with status {status}")
    found = json.loads(told)
    return Isolation(user, tuple(found["refused"]), found["why"])


def _reach_the_network(_: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))  # for documentation (RFC 5737); nothing is sent


def _open_a_file(_: int) -> None:
    os.close(os.open("/", os.O_RDONLY))


def _read_memory(worker: int) -> None:
    os.close(os.open(f"/proc/{worker}/mem", os.O_RDONLY))


def _run_a_program(_: int) -> None:
    os.execve("/nowhere", ["nowhere"], {})  # noqa: S606  # there is none


def _signal_a_process(worker: int) -> None:
    os.kill(worker, 0)  # no signal


FORBIDDEN: dict[str, Callable[[int], None]] = {
    "network": _reach_the_network,
    "files": _open_a_file,
    "memory": _read_memory,
    "programs": _run_a_program,
    "processes": _signal_a_process,
}
"""What no decoder may do, and how it tries to; "memory" is that of its worker."""


def _refused(attempt: Callable[[int], None], worker: int) -> bool:
    try:
        attempt(worker)
    except OSError as error:
        return error.errno in _REFUSALS
    return False


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def _prctl(option: int, value: int) -> int:
    """0, or errno says why not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(option, *(ctypes.c_ulong(one) for one in (value, 0, 0, 0))))


def _capabilities() -> int:
    """Those in effect, as bits."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff")), 0)
