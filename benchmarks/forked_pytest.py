"""pytest again and again, forked from one process that has imported the libraries.

    python -P benchmarks/forked_pytest.py LIBRARY…

A run of one short test takes three seconds of CPU, and more with torch, nearly all of them imports.
Those of libraries are paid here once. Nothing of ours is imported before the fork: a run imports
what stands in the folder that it is given.

It reads a JSON object a line, `{root, environ, arguments, said, limit_s}`. `said` is the file for
what pytest prints. It answers each with a line: the exit code, or `null` where the run took longer
than its limit (null: none) and was killed.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

LOOK_S = 0.02


def serve() -> None:
    """Returns in the child, with nothing left to do but to run pytest."""
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if not pid:
            return become(**wanted)
        print(json.dumps(ended(pid, wanted["limit_s"])), flush=True)
    sys.exit()


def ended(pid: int, limit_s: float | None) -> int | None:
    until = time.monotonic() + limit_s if limit_s is not None else float("inf")
    code = None
    try:
        while time.monotonic() < until:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(LOOK_S)
    finally:
        if code is None:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code


def become(
    root: str, environ: Mapping[str, str], arguments: Sequence[str], said: str, **_: Any
) -> None:
    """A process of its own, as if `python -m pytest` had been executed in that folder."""
    os.setsid()
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environ)
    sys.path.insert(0, root)
    sys.argv = ["pytest", *arguments]
    for number, opened in (
        (0, os.open(os.devnull, os.O_RDONLY)),
        (1, os.open(said, os.O_WRONLY | os.O_APPEND)),
    ):
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        import_module(module)
    gc.freeze()  # or each child would copy all of it when it looks for garbage
    serve()
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
