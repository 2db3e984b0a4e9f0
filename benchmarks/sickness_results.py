"""What came of each sickness: a file written as they go, and its table for docs/delivery.md.

    python -m benchmarks.sickness_results

writes the table of `benchmarks/results/sickness.json` into the page.
"""

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from infra.local.procfile import ROOT
from infra.local.redis import find_server

FILE = ROOT / "benchmarks" / "results" / "sickness.json"
PAGE = ROOT / "docs" / "delivery.md"
BEGIN = "<!-- written by python -m benchmarks.sickness_results -->"
END = "<!-- until here -->"
Side = Literal["cases", "stock"]
"""Ours, and stock Celery's."""


@dataclass
class Report:
    name: str
    jobs: int = 0
    lost: int = 0
    twice: int = 0
    healthy_failed: int = 0
    silent: int = 0
    recovered_s: float | None = None
    """None: not within the time that it is waited for."""
    took_s: float = 0.0
    """The whole case, with the work before the cause and after it."""
    who: list[str] = field(default_factory=list)
    """What is behind the figures: keys and names, a few."""
    exits: dict[str, list[int]] = field(default_factory=dict)
    """Processes that ended, with their codes; they were started again."""
    broke: str = ""
    """The program itself could not go on with the case: its other figures say nothing."""


class Results:
    """All that has been found so far; with a file, the file holds it, and nothing older."""

    def __init__(self, file: Path | None = None, *, resume: bool = False) -> None:
        """Args:
        resume: what the file holds is found already, as far as the program did not break.
        """
        self._file = file
        self.cases: list[Report] = []
        self.stock: list[Report] = []
        if file and resume and file.exists():
            before = json.loads(file.read_text())["result"]
            self.cases, self.stock = (
                [Report(**one) for one in before[side] if not one["broke"]]
                for side in ("cases", "stock")
            )
        self._write()

    def has(self, side: Side, name: str) -> bool:
        return any(one.name == name for one in getattr(self, side))

    def add(self, side: Side, report: Report) -> None:
        getattr(self, side).append(report)
        self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        held = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "command": "python -m benchmarks.sickness --json --into FILE",
            "result": self.as_dict(),
        }
        beside = self._file.with_name(f"{self._file.name}.new")
        beside.write_text(json.dumps(held, indent=1) + "\n")
        beside.replace(self._file)

    def as_dict(self) -> dict[str, Any]:
        return {
            "jobs": sum(one.jobs for one in self.cases),
            "cases": [asdict(one) for one in self.cases],
            "stock": [asdict(one) for one in self.stock],
        }


@cache
def machine() -> str:
    command = [find_server(), "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    server = told.partition(" sha=")[0].replace(" server v=", " ")
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{os.cpu_count()} CPU cores, {server}, moto {version('moto')}, Python {python}"


def markdown(result: dict[str, Any]) -> str:
    """The table of one `result` of the file, and the sum of it in a sentence."""
    ours = result["cases"]
    stock = {one["name"]: one for one in result["stock"]}
    sums = {
        told: sum(one[count] for one in ours)
        for told, count in (
            ("lost", "lost"),
            ("written twice", "twice"),
            ("healthy ones made failures", "healthy_failed"),
            ("silent", "silent"),
        )
    }
    times = [one["recovered_s"] for one in ours if one["recovered_s"] is not None]
    never = len(ours) - len(times)
    lines = [
        f"{result['jobs']:,} jobs in {len(ours)} sicknesses: "
        + ", ".join(f"{count} {told}" for told, count in sums.items())
        + f"; well again after {statistics.median(times):.1f} s (median), "
        f"{max(times):.1f} s at most" + (f"; {never} never." if never else "."),
        "",
        "| sickness | Jamak is well again after | stock Celery |",
        "|---|---|---|",
        *(
            f"| {one['name'].replace('-', ' ').capitalize()} | {cell(one)} "
            f"| {cell(stock[one['name']]) if one['name'] in stock else '-'} |"
            for one in ours
        ),
    ]
    return "\n".join(lines)


def cell(one: dict[str, Any]) -> str:
    """`5.0 s`, and what is not 0."""
    told = ["never" if one["recovered_s"] is None else f"{one['recovered_s']:.1f} s"]
    told += [
        f"{one[count]} {count.replace('_', ' ')}"
        for count in ("lost", "twice", "healthy_failed", "silent")
        if one[count]
    ]
    return "; ".join(told + ["the program broke"] * bool(one["broke"]))


def page_with(table: str, page: str) -> str:
    """The page with this table in the place of the one that it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with(markdown(json.loads(FILE.read_text())["result"]), PAGE.read_text()))
