"""`python tied.py COMMAND...` becomes the command, which the kernel kills when its parent ends.

So that not even a `kill -9` of the parent leaves a server behind. Linux only; elsewhere it just
becomes the command. A program of its own: between fork and exec no Python may run safely.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # becoming it is the point
