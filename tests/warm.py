"""A parent that has imported what our commands import, and forks them: a start costs no imports.

A start of the captioner takes four seconds of CPU, nearly all of them imports of torch and
transformers. Here they are paid once a test run. The child is what the console script would be: the
same entry point with the same arguments, in an environment, a folder and a session of its own. The
tests of the local stack and of the demo start their processes from nothing, as users do.

    python -m tests.warm SOCKET

The parent has one thread, no GPU and no settings: what reads the environment when it is imported
(`workers.app`) is imported by the child.
"""

import atexit
import ctypes
import functools
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

from infra.local.processes import Process
from infra.local.procfile import ROOT
from infra.local.tied import PR_SET_PDEATHSIG

IMPORTED = (
    "celery.__main__",
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "botocore.endpoint",
    "producer.backlog.enqueue",
    "producer.bucket.export",
    "producer.bucket.reconcile",
    "producer.uploads.listen",
    "rich.progress",
    "rich.table",
    "typer.main",
    "workers.caption.captioner",
    "workers.delivery.lifecycle",
    "workers.jobs.adapters",
    "workers.jobs.caption",
    "workers.jobs.decoders",
    "workers.jobs.training",
    "workers.model.selfcheck",
    "workers.tasks",
)


class WarmProcess(Process):
    """What `Process` is, forked instead of started from nothing."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._child = _parent().fork(command, env, cwd, stdout=log, stderr=log)
        self._exit_code: int | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    def _ended(self) -> int | None:
        return self._child.poll()


class Child:
    """Args:
    connection: on which the parent tells the pid, and at the end the exit code.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._told = connection.makefile("rb")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        self._connection.setblocking(False)
        try:
            if not self._connection.recv(1, socket.MSG_PEEK):
                raise RuntimeError("the warm parent has died")
        except BlockingIOError:
            return None
        return self.wait()

    def wait(self, timeout_s: float | None = None) -> int:
        """Raises TimeoutError."""
        self._connection.settimeout(timeout_s)
        with self._connection, self._told:
            return int(self._told.readline())


class Parent:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jamak-warm-")
        folder = Path(self._folder.name)
        self._path = folder / "socket"
        self._process = Process(
            "warm parent",
            [sys.executable, "-m", "tests.warm", str(self._path)],
            log=folder / "log",
            env=dict(os.environ),
            cwd=ROOT,
        )
        atexit.register(self._process.kill)  # and wait: what it used is counted with ours
        self._process.wait_until(self._path.exists, 120)

    def fork(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        stdout: Path,
        stderr: Path,
    ) -> Child:
        """`command` is a console script of ours or Celery's, or a Python and `-m` with a module."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._path))
        wanted = {
            "command": list(command),
            "env": dict(env),
            "cwd": str(cwd),
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        connection.sendall(json.dumps(wanted).encode() + b"\n")
        return Child(connection)


_parent = functools.cache(Parent)


def run_warm(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """What subprocess.run does with `capture_output` and `text`."""
    with tempfile.TemporaryDirectory() as name:
        stdout, stderr = Path(name) / "stdout", Path(name) / "stderr"
        child = _parent().fork(command, env, cwd, stdout=stdout, stderr=stderr)
        try:
            code = child.wait(timeout_s)
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(
            list(command), code, stdout.read_text(), stderr.read_text()
        )


def serve(path: str) -> Callable[[], Any]:
    """Fork what is asked for, until killed. Returns in each child, with what it has to do."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".tmp")
    listener.listen(64)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno())
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(woken, selectors.EVENT_READ)
    children: dict[int, socket.socket] = {}
    Path(path + ".tmp").rename(path)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is woken:
                woken.recv(4096)
                _reap(children)
                continue
            connection, _ = listener.accept()
            with connection.makefile("rb") as asked:
                wanted = json.loads(asked.readline())
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                waiting.close()
                os.setsid()
                connection.sendall(f"{os.getpid()}\n".encode())
                for one in (listener, woken, wake, connection, *children.values()):
                    one.close()
                return _become(wanted)
            children[pid] = connection


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with children.pop(pid) as connection, suppress(BrokenPipeError):  # nobody waits any more
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(wanted: dict[str, Any]) -> Callable[[], Any]:
    """A process of its own, as if it had been executed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    files = os.devnull, wanted["stdout"], wanted["stderr"]
    for number, file in enumerate(files):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
        opened = os.open(file, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    first, *rest = wanted["command"]
    if rest[:1] == ["-m"]:
        sys.argv = rest[1:]
        return partial(_run_module, rest[1])
    (script,) = entry_points(group="console_scripts", name=first)
    sys.argv = wanted["command"]
    return script.load()


def _run_module(name: str) -> None:
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def end_with(run: Callable[[], Any]) -> NoReturn:
    """What an interpreter does at its end, in its order; but it does not take torch apart, which
    takes longer than most commands."""
    code: Any = None
    try:
        code = run()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    gc.disable()  # in what is imported there is none
    for module in IMPORTED:
        import_module(module)
    gc.freeze()  # or each child would copy all of it when it looks for garbage
    gc.enable()
    end_with(lambda: serve(sys.argv[1])())
