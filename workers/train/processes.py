"""One training on several GPUs: `python -m workers.train.processes COUNT JOB WORKDIR …`.

Starts workers/train/run.py so many times, as torch's launcher does it, and ends as they ended: with
0, or with the status or the signal of the one that failed first. One that fails ends the others. A
signal that asks this process to end is handed on to them.
They find each other at an address of this machine; several machines are not meant.

Knows nothing of jobs and models.
"""

import os
import signal
import sys
import threading
import uuid
from argparse import ArgumentParser
from contextlib import suppress
from dataclasses import fields

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from workers.train.ending import STOPPED, end_with_parent

PATIENCE_S = 3600
"""From SIGTERM to SIGKILL, of those that are started. Whoever asks us to end has less. The launcher
of torch 2.11 cannot be told: it has 30 s."""


def launch(count: int, arguments: list[str], module: str = "workers.train.run") -> int:
    """The exit status. Where a signal ended the first that failed, it ends this process, too."""
    # Each would take all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    patient = "shutdown_timeout" in {field.name for field in fields(LaunchConfig)}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        # Whether what failed is tried again is the job's to say.
        max_restarts=0,
        monitor_interval=0.2,
        **({"shutdown_timeout": PATIENCE_S} if patient else {}),
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return _as(failure.exitcode)
    except SignalException:
        return STOPPED
    return 0


def _as(status: int) -> int:
    if status < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def tied() -> int:
    """Our stdin, which ends with our parent. What we start gets another one, which ends with us:
    of one that they shared, each would read a part of what the parent says."""
    ours = os.dup(0)
    theirs, _ = os.pipe()  # the other end is held as long as this process lives
    os.dup2(theirs, 0)
    return ours


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--silent", type=float)
    told, rest = parser.parse_known_args()
    threading.Thread(target=end_with_parent, args=(told.silent, tied()), daemon=True).start()
    sys.exit(launch(told.count, rest))
