"""What is survived of sickness: a fleet whose Redis, store, events and machines answer wrongly.

    python -m benchmarks.sickness [--json] [--quick] [--jobs N] [--only CASE ...] [--keep FOLDER]
        [--into FILE [--resume]]

Listener, feeder, three captioners and a trainer work through uploads and backlogs while one
sickness after another comes and goes. For each: jobs that ended nowhere (`lost`), records that
were written twice, healthy jobs that became failures, what fell silent (a process that is not
ready, or takes nothing, half a minute after the cause has ended; a sick thing that left no
trace), and the seconds from the end of the cause until what was uploaded meanwhile, an upload and
a backlog of afterwards are captioned and all processes are ready. Where it applies, stock Celery
goes through the same beside it. With --into, what was found is kept after each case: a run that
was stopped goes on with --resume.
"""

import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, parser_of
from benchmarks.sickness_cases import CASES, Case, Planted
from benchmarks.sickness_fleet import Fleet
from benchmarks.sickness_peer_fleet import PeerFleet
from benchmarks.sickness_results import Report, Results, Side
from infra.local.signals import stop_in_order

JOBS = 2000
WORKERS = 3
QUICK = ("redis-read-only",)
QUICK_JOBS, QUICK_HOLD_S = 8, 1.5
HEALED_S = 30.0
"""After the cause has ended everybody works again."""
STILL_S = 60.0
"""Without a new record or failure nothing comes any more."""
AFTER = 4
"""Of so many parts of a case's jobs one is sent before, one during and two after the cause."""
CALLS = 5
CASE_S = 240.0
"""A case that takes longer is judged as it stands then."""
NAMES: dict[Side, str] = {"cases": "Jamak", "stock": "stock Celery"}


def endure(fleet: Fleet, one: Case, jobs: int, hold_s: float = 0) -> Report:
    """One case, from the first of its jobs to the last."""
    report, began = Report(one.name), time.monotonic()
    fleet.until = began + CASE_S
    try:
        suffer(fleet, one, jobs, hold_s, report)
    except Exception as error:  # of whatever kind: the cases after it are worth running
        report.broke = f"{type(error).__name__}: {error}"
    report.took_s = round(time.monotonic() - began, 1)
    return report


def suffer(fleet: Fleet, one: Case, jobs: int, hold_s: float, report: Report) -> None:
    """The case as it goes; what it finds is in the report."""
    exits = {name: len(member.exits) for name, member in fleet.members.items()}
    fleet.wait(fleet.all_ready, STILL_S)
    part = max(jobs // AFTER, 1)
    expected = fleet.backlog(one.name, part)
    expected += fleet.upload(one.name, range(part))
    fleet.wait(lambda: bool(fleet.outcome(one.name).records), STILL_S)
    with closing(one.begin(fleet)) as cause:
        planted: Planted | None = next(cause)
        during = fleet.upload(one.name, range(part, 2 * part))
        fleet.wait(lambda: False, hold_s or one.hold_s)
        with suppress(StopIteration):
            next(cause)
    ended = time.monotonic()
    after = fleet.upload(one.name, range(2 * part, jobs - part))
    after += fleet.backlog(f"{one.name}-after", 1)
    expected += [*during, *after]
    wanted = {*during, after[0], after[-1]}
    before = {member.name: (member.process.pid, member.taken) for member in fleet.captioners}

    def healed() -> bool:
        return wanted <= set(fleet.outcome(one.name).records) and fleet.all_ready()

    if fleet.wait(healed, 4 * HEALED_S):
        report.recovered_s = round(time.monotonic() - ended, 1)
    missing = settle(fleet, one.name, set(expected))
    mute = silent(fleet, one.name, before)
    outcome = fleet.outcome(one.name)
    failed = sorted(outcome.failures - set(outcome.records))
    twice = sorted(key for key, times in outcome.records.items() if times > 1)
    sick = planted() if planted else 0
    report.jobs, report.lost, report.twice = len(expected), len(missing), len(twice)
    report.healthy_failed, report.silent = len(failed), len(mute) + sick
    report.who = [*sorted(missing)[:3], *twice[:3], *failed[:3], *mute]
    report.exits = {
        name: member.exits[exits[name] :]
        for name, member in fleet.members.items()
        if len(member.exits) > exits[name]
    }


def settle(fleet: Fleet, name: str, expected: set[str]) -> set[str]:
    """Wait until all have ended, or nothing comes any more; those that have not."""
    last, moved = -1, time.monotonic()
    while True:
        outcome = fleet.outcome(name)
        missing = expected - set(outcome.records) - outcome.failures
        if len(missing) != last:
            last, moved = len(missing), time.monotonic()
        if not missing or time.monotonic() > min(moved + STILL_S, fleet.until):
            return missing
        fleet.wait(lambda: False, 0.5)


def silent(fleet: Fleet, name: str, before: dict[str, tuple[int, float]]) -> list[str]:
    """Who is not ready, or takes nothing although there is work."""
    fleet.wait(fleet.all_ready, HEALED_S)
    mute = [member.name for member in fleet.members.values() if not member.ready]
    waiting = [member for member in fleet.captioners if member.name not in mute]
    for call in range(CALLS):
        waiting = [
            member
            for member in waiting
            if before[member.name] == (member.process.pid, member.taken)
            or not (member.process.pid == before[member.name][0] or member.taken)
        ]
        if not waiting:
            break
        keys = set(fleet.upload(f"{name}-call-{call}", range(4 * len(fleet.captioners))))
        settle(fleet, f"{name}-call-{call}", keys)
    return mute + [member.name for member in waiting]


def through(
    fleet_of: Callable[[Path], Fleet], folder: Path, cases: list[Case], jobs: int, hold_s: float = 0
) -> Iterator[Report]:
    """One case after the other with one fleet, and with a new one after a case that broke."""
    left = list(cases)
    while left:
        with fleet_of(folder / left[0].name) as fleet:
            broke = False
            while left and not broke:
                report = endure(fleet, left.pop(0), jobs, hold_s)
                broke = bool(report.broke)
                yield report


def table(title: str, reports: list[Report]) -> Table:
    grid = Table(title=title)
    heads = ("case", "jobs", "lost", "twice", "healthy failed", "silent", "recovered, s", "ended")
    for head in heads:
        grid.add_column(head)
    for one in reports:
        ended = Counter(code for codes in one.exits.values() for code in codes)
        counts = (one.jobs, one.lost, one.twice, one.healthy_failed, one.silent)
        grid.add_row(
            one.name.replace("-", " "),
            *(str(count) for count in counts),
            one.broke or ("-" if one.recovered_s is None else str(one.recovered_s)),
            ", ".join(f"{times} with {code}" for code, times in ended.items()),
        )
    return grid


def line(one: Report) -> str:
    """What came of a case, for a log."""
    well = "did not recover" if one.recovered_s is None else f"recovered in {one.recovered_s} s"
    return (
        f"{one.name}: {one.jobs} jobs, {one.lost} lost, {one.twice} twice, "
        f"{one.healthy_failed} healthy failed, {one.silent} silent, {well}, took {one.took_s} s"
        + (f" {one.who}" if one.who else "")
        + (f" {one.exits}" if one.exits else "")
        + (f" broke: {one.broke}" if one.broke else "")
    )


def main() -> None:
    parser = parser_of("sickness", __doc__, quick="one case, one captioner, a few jobs: seconds")
    parser.add_argument("--jobs", type=int, default=JOBS, help="at least, of all cases together")
    names = [one.name for one in CASES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--keep", type=Path, help="an empty folder for all logs")
    parser.add_argument("--into", type=Path, help="a file that is written after each case")
    parser.add_argument("--resume", action="store_true", help="do not repeat what --into holds")
    arguments = begin(parser)
    stop_in_order()
    quick = arguments.quick
    wanted = QUICK if quick else arguments.only or names
    results = Results(arguments.into, resume=arguments.resume)
    chosen = [one for one in CASES if one.name in wanted]
    ours = [one for one in chosen if not results.has("cases", one.name)]
    theirs = [one for one in chosen if one.stock and not results.has("stock", one.name)]
    theirs = [] if quick else theirs
    jobs = QUICK_JOBS if quick else max(math.ceil(arguments.jobs / len(CASES)), AFTER)

    def found(folder: Path) -> Iterator[tuple[Side, Report]]:
        size = (1, ("listener",)) if quick else (WORKERS,)
        hold_s = QUICK_HOLD_S if quick else 0
        for report in through(lambda at: Fleet(at, *size), folder, ours, jobs, hold_s):
            yield "cases", report
        for one in theirs:
            # A fleet of its own for each: one that no longer works would spoil the next case.
            yield from (
                ("stock", report)
                for report in through(
                    lambda at: PeerFleet(at, WORKERS), folder / "stock", [one], jobs
                )
            )

    total = len(ours) + len(theirs)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="jamak-sickness-") as name,
            Bars(*Bars.get_default_columns(), console=Console(stderr=True)) as bars,
            closing(found(arguments.keep or Path(name))) as reports,
        ):
            bar = bars.add_task("sicknesses", total=total)
            for number, (side, report) in enumerate(reports, start=1):
                results.add(side, report)
                bars.advance(bar)
                told = f"{number} of {total}, {NAMES[side]}, {line(report)}"
                bars.console.print(told, highlight=False, markup=False, soft_wrap=True)
    finally:  # also of what is left unfinished
        console = Console(file=sys.stdout)
        console.print(table(NAMES["cases"], results.cases))
        if results.stock:
            console.print(table(NAMES["stock"], results.stock))
        if arguments.json:
            print(json.dumps(results.as_dict()))


if __name__ == "__main__":
    main()
