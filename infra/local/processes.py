"""One child process of ours: its log, when it is ready, and that nothing of it stays behind.

Knows nothing of what it runs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from infra.local import tied
from shared.errors import JamakError

TAIL_LINES = 30
"""Of the log, shown when a process fails."""
PATIENCE_S = 5.0
"""Between SIGTERM and SIGKILL."""
LOOK_S = 0.05
WORKS = 0.05
"""The share of a core that tells a process that works from one that waits and looks around."""


class ProcessFailed(JamakError):
    """A process did not start, or ended by itself. Its last log lines are in the message."""

    reason = "process_failed"


class Process:
    """Started at once, in a session of its own: a Ctrl-C in the terminal reaches only us.

    It ends with the thread that starts it, at the latest.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", tied.__file__, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        self._exit_code: int | None = None

    @property
    def pid(self) -> int:
        """Also the number of its process group."""
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return as soon as it is ready. If that fails, it is stopped.

        Args:
            timeout_s: how long it may do nothing at all. One that works is waited for: how fast
                that goes is the machine's affair.

        Raises:
            ProcessFailed: it ended, or does nothing.
        """
        began_at = looked_at = worked_at = time.monotonic()
        used_s = self._cpu_s()
        try:
            while not ready():
                self.check()
                now = time.monotonic()
                if now - looked_at > 1:
                    before_s, used_s = used_s, self._cpu_s()
                    if used_s - before_s > WORKS * (now - looked_at):
                        worked_at = now
                    looked_at = now
                if now - worked_at > timeout_s:
                    raise self._failure(
                        f"is not ready after {now - began_at:.0f} s, and does nothing"
                    )
                time.sleep(LOOK_S)
        except BaseException:
            stop([self])
            raise

    def check(self) -> None:
        """Raises ProcessFailed: it has ended."""
        code = self.poll()
        if code is not None:
            raise self._failure(f"ended with exit code {code}")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._exit_code is None:
            self._exit_code = self._ended()
            if self._exit_code is not None:
                # What it started ends with it; at once, before the system may give the group's
                # number to somebody else.
                self.signal_group(signal.SIGKILL)
        return self._exit_code

    def _cpu_s(self) -> float:
        """Of the process itself, so far."""
        try:
            used = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(used.user + used.system)

    def _ended(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        """At once, and wait for its end."""
        self.signal_group(signal.SIGKILL)
        while self.poll() is None:
            time.sleep(LOOK_S)

    def signal_group(self, number: signal.Signals) -> None:
        """To the process and to all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _failure(self, what: str) -> ProcessFailed:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return ProcessFailed(f"{self.name} {what}; its log ends:\n" + "\n".join(lines))


def stop(processes: Iterable[Process], patience_s: float = PATIENCE_S) -> None:
    """Ask all of them at once, and kill what has not ended when the patience has."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.signal_group(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while running:
        if time.monotonic() > deadline:
            for process in running:
                process.signal_group(signal.SIGKILL)
        time.sleep(LOOK_S)
        running = [process for process in running if process.poll() is None]
