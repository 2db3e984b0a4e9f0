"""What survives: a fleet under kill -9, restarts of Redis, frozen processes and drains.

    python -m benchmarks.delivery [--json] [--quick] [--jobs N] [--worker-kills N] [--redis-kills N]
                                  [--seed N] [--only jamak]

The same task on two systems, Jamak's leased queues and stock Celery with the settings that lose
least, with the same faults at the same moments of the same kinds: workers killed at random and at
named points, frozen past their lease and thawed, drained; Redis killed and started again. Records
are counted in a versioned bucket. The control writes without the condition and looks for nothing,
which shows that the count of double writes can rise. `--json` ends with one object.
"""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, parser_of
from benchmarks.trial import Faults, Report, Trial
from infra.local.s3 import OUTPUT_BUCKET, S3Server, start_s3

ROADS = ("jamak", "stock", "control")
DEFAULT_TIMEOUT_S = 30.0
FEW = Faults(worker_kills=4, redis_kills=0, freezes=0, drains=0)
CONTROL = Faults(worker_kills=8, redis_kills=0, freezes=0, drains=0)


def main() -> None:
    parser = parser_of("delivery", __doc__, quick="one kill, on ours alone: seconds")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--worker-kills", type=int, default=25)
    parser.add_argument("--redis-kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", choices=ROADS)
    parser.add_argument("--keep", type=Path, help="an empty folder for all logs")
    arguments = begin(parser)
    kills = arguments.worker_kills
    faults = Faults(kills, arguments.redis_kills, max(1, kills // 8), max(1, kills // 8))
    systems = [arguments.only] if arguments.only else list(ROADS)
    found: dict[str, Report] = {}
    with tempfile.TemporaryDirectory(prefix="jamak-delivery-") as name:
        folder = arguments.keep or Path(name)
        s3 = start_s3(folder / "s3")
        s3.s3().put_bucket_versioning(
            Bucket=OUTPUT_BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        try:
            if arguments.quick:
                found["jamak"] = quick(s3, folder)
            else:
                for system in systems:
                    found[system] = measure(
                        system, s3, folder, arguments.seed, arguments.jobs, faults
                    )
        finally:
            s3.stop()
    Console(file=sys.stdout).print(table(found))
    if arguments.json:
        print(json.dumps({name: asdict(report) for name, report in found.items()}))


def quick(s3: S3Server, folder: Path) -> Report:
    trial = Trial("jamak", s3, folder / "jamak", 1, size=1, threads=4, timeout_s=2.0)
    return trial.run(16, Faults(worker_kills=1, redis_kills=0, freezes=0, drains=0))


def measure(
    system: str, s3: S3Server, folder: Path, seed: int, jobs: int, faults: Faults
) -> Report:
    with Bars(console=Console(stderr=True)) as bars:
        if system == "control":
            bar = bars.add_task("control: faults", total=CONTROL.total)
            control = Trial(
                system, s3, folder / system, seed, lambda: bars.advance(bar), conditional=False
            )
            return control.run(200, CONTROL)
        bar = bars.add_task(f"{system}: faults", total=faults.total + FEW.total)
        trial = Trial(system, s3, folder / system, seed, lambda: bars.advance(bar))
        report = trial.run(jobs, faults)
        slow = Trial(
            system,
            s3,
            folder / f"{system}-default",
            seed,
            lambda: bars.advance(bar),
            timeout_s=DEFAULT_TIMEOUT_S,
        )
        report.recovery_default_p50_s = slow.run(200, FEW).recovery_p50_s
        return report


def table(found: dict[str, Report]) -> Table:
    grid = Table("", *found)
    for name in asdict(next(iter(found.values()))):
        cells = [asdict(report)[name] for report in found.values()]
        grid.add_row(
            name.replace("_", " "), *("-" if cell is None else str(cell) for cell in cells)
        )
    return grid


if __name__ == "__main__":
    main()
