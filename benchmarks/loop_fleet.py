"""The fleet of the loop: processes of the Procfile, on servers of our own. Whoever ends is started
again, as an orchestrator does.

Retrainer and watcher reach the store through a front, so that they can be killed right behind what
they write. Knows nothing of films, nor of when somebody is killed.
"""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.sickness_fronts import HttpFront
from benchmarks.sickness_members import Member
from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from infra.local.redis import start_redis
from infra.local.stack import START_S, LocalStack

BEHIND_A_FRONT = ("retrainer", "watcher")


class LoopFleet:
    """`with LoopFleet(stack) as fleet:` all of it is ready.

    Args:
        stack: without processes of its own.
        names: of the processes.
    """

    def __init__(self, stack: LocalStack, names: Sequence[str]) -> None:
        self._stack, self._names = stack, names
        self.members: dict[str, Member] = {}
        self.killed: list[str] = []

    def __enter__(self) -> Self:
        self.front = HttpFront(self._stack.s3.port)
        try:
            for name in self._names:
                self.members[name] = self._member(name)
            for member in self.members.values():
                member.process.wait_until(_ready(member), START_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        stop([member.process for member in self.members.values()])
        self.front.close()
        self._stack.redis.stop()

    def tend(self) -> None:
        """Raises ProcessFailed: a server has ended by itself."""
        self._stack.check()
        for member in self.members.values():
            member.tend()

    def kill(self, name: str) -> None:
        """Of the Procfile, or `redis`; that one is there again at once, with what its log holds."""
        self.killed.append(name)
        if name != "redis":
            self.members[name].process.kill()
            return
        redis = self._stack.redis
        redis.kill()
        folder = Path(redis.process.log).parent
        self._stack.redis = start_redis(folder, port=redis.port, password=redis.password)

    @property
    def ended(self) -> dict[str, list[int]]:
        """Of those that ended and were not killed here, the exit codes."""
        found = {}
        for name, member in self.members.items():
            ours = -signal.SIGKILL
            foreign = max(0, member.exits.count(ours) - self.killed.count(name))
            codes = [code for code in member.exits if code != ours] + foreign * [ours]
            if codes:
                found[name] = codes
        return found

    def _member(self, name: str) -> Member:
        port, scratch = free_port(), self._stack.directory / "scratch" / name
        scratch.mkdir(parents=True)
        environ = {**self._stack.environ, "JAMAK_METRICS_PORT": str(port)}
        environ["JAMAK_SCRATCH_DIR"] = str(scratch)
        if name in BEHIND_A_FRONT:
            environ["AWS_ENDPOINT_URL"] = self.front.endpoint
        command = ["/bin/sh", "-c", read_procfile()[name]]
        starts = 0

        def start() -> Process:
            nonlocal starts
            starts += 1
            log = self._stack.directory / "logs" / f"{name}-{starts}.log"
            return Process(name, command, log=log, env=environ, cwd=ROOT)

        return Member(name, port, start, start(), scratch)


def _ready(member: Member) -> Callable[[], bool]:
    return lambda: member.ready
