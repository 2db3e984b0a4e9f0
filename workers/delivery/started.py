"""For how long this process has been there: what it took from its start to its first job.

Read from the kernel, whose clock nobody sets. What came before (a machine, an image) no process can
see.
"""

import os
import time
from pathlib import Path

_IMPORTED_AT = time.monotonic()


def seconds_since_start() -> float:
    """Without Linux's /proc since this module was imported."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8")
    except OSError:
        return time.monotonic() - _IMPORTED_AT
    # proc_pid_stat(5): after the name in brackets, which may hold anything, the 20th field.
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
