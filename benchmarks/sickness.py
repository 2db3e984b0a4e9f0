"""What is survived of sickness: a fleet whose Redis, store, events and machines answer wrongly.

    python -m benchmarks.sickness [--json] [--quick] [--jobs N] [--only CASE ...] [--keep FOLDER]

Listener, feeder, three captioners and a trainer work through uploads and backlogs while one
sickness after another comes and goes. For each: jobs that ended nowhere (`lost`), records that
were written twice, healthy jobs that became failures, what fell silent (a process that is not
ready, or takes nothing, half a minute after the cause has ended; a sick thing that left no
trace), and the seconds from the end of the cause until what was uploaded meanwhile, an upload and
a backlog of afterwards are captioned and all processes are ready. Where it applies, stock Celery
goes through the same beside it.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, parser_of
from benchmarks.sickness_cases import CASES, Case, Planted
from benchmarks.sickness_fleet import Fleet
from benchmarks.sickness_peer_fleet import PeerFleet

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


@dataclass
class Report:
    name: str
    lost: int = 0
    twice: int = 0
    healthy_failed: int = 0
    silent: int = 0
    recovered_s: float | None = None
    """None: not within the time that it is waited for."""
    who: list[str] = field(default_factory=list)
    """What is behind the figures: keys and names, a few."""
    exits: dict[str, list[int]] = field(default_factory=dict)
    """Processes that ended, with their codes; they were started again."""


def endure(fleet: Fleet, one: Case, jobs: int, hold_s: float = 0) -> Report:
    """One case, from the first of its jobs to the last."""
    report = Report(one.name)
    exits = {name: len(member.exits) for name, member in fleet.members.items()}
    fleet.wait(fleet.all_ready, STILL_S)
    part = max(jobs // AFTER, 1)
    expected = fleet.backlog(one.name, part)
    expected += fleet.upload(one.name, range(part))
    fleet.wait(lambda: bool(fleet.outcome(one.name).records), STILL_S)
    cause = one.begin(fleet)
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
    report.lost, report.twice = len(missing), len(twice)
    report.healthy_failed, report.silent = len(failed), len(mute) + sick
    report.who = [*sorted(missing)[:3], *twice[:3], *failed[:3], *mute]
    report.exits = {
        name: member.exits[exits[name] :]
        for name, member in fleet.members.items()
        if len(member.exits) > exits[name]
    }
    return report


def settle(fleet: Fleet, name: str, expected: set[str]) -> set[str]:
    """Wait until all have ended, or nothing comes any more; those that have not."""
    last, moved = -1, time.monotonic()
    while True:
        outcome = fleet.outcome(name)
        missing = expected - set(outcome.records) - outcome.failures
        if len(missing) != last:
            last, moved = len(missing), time.monotonic()
        if not missing or time.monotonic() - moved > STILL_S:
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


def table(title: str, reports: list[Report]) -> Table:
    grid = Table(title=title)
    heads = ("case", "lost", "twice", "healthy failed", "silent", "recovered, s", "ended")
    for head in heads:
        grid.add_column(head)
    for one in reports:
        ended = Counter(code for codes in one.exits.values() for code in codes)
        grid.add_row(
            one.name.replace("-", " "),
            *(str(count) for count in (one.lost, one.twice, one.healthy_failed, one.silent)),
            "-" if one.recovered_s is None else str(one.recovered_s),
            ", ".join(f"{times} with {code}" for code, times in ended.items()),
        )
    return grid


def main() -> None:
    parser = parser_of("sickness", __doc__, quick="one case, one captioner, a few jobs: seconds")
    parser.add_argument("--jobs", type=int, default=JOBS, help="of all cases together")
    names = [one.name for one in CASES]
    parser.add_argument("--only", nargs="+", choices=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--keep", type=Path, help="an empty folder for all logs")
    arguments = begin(parser)
    wanted = QUICK if arguments.quick else arguments.only or names
    chosen = [one for one in CASES if one.name in wanted]
    jobs = QUICK_JOBS if arguments.quick else max(arguments.jobs // len(CASES), AFTER)
    reports, stock = [], []
    with (
        tempfile.TemporaryDirectory(prefix="jamak-sickness-") as name,
        Bars(console=Console(stderr=True)) as bars,
    ):
        folder = arguments.keep or Path(name)
        bar = bars.add_task("sicknesses", total=len(chosen))
        size = (1, ("listener",)) if arguments.quick else (WORKERS,)
        with Fleet(folder, *size) as fleet:
            for one in chosen:
                bars.update(bar, description=one.name.replace("-", " "))
                reports.append(endure(fleet, one, jobs, QUICK_HOLD_S if arguments.quick else 0))
                bars.console.print(reports[-1])
                bars.advance(bar)
        theirs = [] if arguments.quick else [one for one in chosen if one.stock]
        bar = bars.add_task("stock Celery", total=len(theirs))
        for one in theirs:
            # A fleet of its own for each: one that no longer works would spoil the next case.
            with PeerFleet(folder / f"stock-{one.name}", WORKERS) as fleet:
                stock.append(endure(fleet, one, jobs))
            bars.advance(bar)
    console = Console(file=sys.stdout)
    console.print(table("Jamak", reports))
    if stock:
        console.print(table("stock Celery", stock))
    if arguments.json:
        found = {"cases": reports, "stock": stock}
        print(json.dumps({name: [asdict(one) for one in some] for name, some in found.items()}))


if __name__ == "__main__":
    main()
