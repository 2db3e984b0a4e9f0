"""The few system calls that decoding takes, and the kernel's filter that refuses all others.

The program is classic BPF, as seccomp wants it (Documentation/userspace-api/seccomp_filter.rst in
Linux). Nothing here opens, connects, starts or signals anything, so none of that can be done.
"""

import struct

# name: its number on x86-64 and on ARM64 (asm/unistd_64.h, asm-generic/unistd.h)
COMPUTING = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
"""Allowed with whatever arguments: files that are open already, memory, the clock, its end."""
LIMIT_ITSELF, ABORT = (302, 261), (234, 131)
"""`prlimit64` and `tgkill`: allowed upon itself alone."""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""As `os.uname` calls it -> the column above, and AUDIT_ARCH_*."""

_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`; of an argument its lower half, on machines of this endianness.
"""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # EPERM


def program(machine: str, pid: int) -> bytes:
    """For a process of this number. Raises KeyError: for another kind of machine."""
    column, arch = MACHINES[machine]
    steps = [
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers in COMPUTING.values():
        steps += [(_IF_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    for numbers, itself in ((LIMIT_ITSELF, 0), (ABORT, pid)):
        steps += [
            (_IF_EQUAL, 0, 4, numbers[column]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_IF_EQUAL, 0, 1, itself),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
