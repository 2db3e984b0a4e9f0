"""What each file of tests takes, as a table at the end of a run: in the log of CI growth is seen.

Seconds of the wall, with setup and teardown; and CPU seconds of this process and of the children
that have ended, so that those of a server count where it is stopped.
"""

import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

CPU = "cpu_s"


@dataclass
class Taken:
    tests: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, report: pytest.TestReport) -> None:
        self.tests += report.when == "call"
        self.wall_s += report.duration
        self.cpu_s += sum(value for name, value in report.user_properties if name == CPU)


class Timings:
    """Reports carry the figures, so that it does not matter in which process a test ran."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._cpu_s = _cpu_s()
        self._files: dict[str, Taken] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._cpu_s = _cpu_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now = _cpu_s()
        report.user_properties.append((CPU, now - self._cpu_s))
        self._cpu_s = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self._files.setdefault(file, Taken()).add(report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if len(self._files) < 2:
            return
        terminalreporter.section("seconds by file")
        terminalreporter.line(f"{'wall':>8}{'CPU':>8}{'tests':>7}")
        for file, taken in sorted(self._files.items(), key=lambda one: -one[1].wall_s):
            terminalreporter.line(_line(taken, file))
        total = Taken(
            sum(one.tests for one in self._files.values()),
            sum(one.wall_s for one in self._files.values()),
            sum(one.cpu_s for one in self._files.values()),
        )
        terminalreporter.line(_line(total, f"all {len(self._files)} files"))
        whole_s = time.monotonic() - self._began
        terminalreporter.line(f"{whole_s:8.1f}{'':15}  the whole run, with imports and collection")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Timings(), "timings")


def _line(taken: Taken, what: str) -> str:
    return f"{taken.wall_s:8.1f}{taken.cpu_s:8.1f}{taken.tests:7}  {what}"


def _cpu_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
