"""A `jamak` command as a user would run it, beside what else is done meanwhile."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from infra.demo.steps import DemoFailed


@dataclass(frozen=True)
class Command:
    name: str
    _process: "subprocess.Popen[str]"
    _stdout: IO[str]
    _stderr: IO[str]

    def runs(self) -> bool:
        return self._process.poll() is None

    def said(self, *, refused: int = 0) -> dict[str, Any]:
        """Its JSON, once it has ended.

        Args:
            refused: an exit status that is an answer, too.

        Raises:
            DemoFailed: with its complaint.
        """
        if self._process.wait() not in (0, refused):
            self._stderr.seek(0)
            raise DemoFailed(f"{self.name}: {self._stderr.read().strip()}")
        self._stdout.seek(0)
        return dict(json.loads(self._stdout.read().splitlines()[-1]))


@contextmanager
def started(arguments: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[Command]:
    """Killed at the end, if it still runs.

    Args:
        arguments: of `jamak`; what it says is asked for as JSON.
    """
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "producer.cli", *arguments, "--json"],
            stdout=stdout,
            stderr=stderr,
            env=environ,
            text=True,
        )
        try:
            yield Command(f"`jamak {' '.join(arguments)}`", process, stdout, stderr)
        finally:
            process.kill()
            process.wait()
