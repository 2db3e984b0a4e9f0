"""Which benchmarks there are, and a way to run them.

python -m benchmarks                     what they answer, and how long they take
python -m benchmarks --quick             all of them, each with --quick
python -m benchmarks NAME [OPTION]...    one: the same as python -m benchmarks.NAME
"""

import runpy
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.programs import PROGRAMS, duration

out = Console()


def show() -> None:
    grid = Table("benchmark", "what it answers", "--quick", "in full")
    for name, one in PROGRAMS.items():
        grid.add_row(name, one.question, duration(one.quick_s), duration(one.full_s))
    out.print(grid)
    out.print("One of them: make bench ARGS='dispatch --json'", highlight=False)


def run_all(options: Sequence[str]) -> int:
    """One after the other; 1 if one of them fails."""
    whole = duration(sum(one.quick_s for one in PROGRAMS.values()))
    print(f"{len(PROGRAMS)} benchmarks with --quick: about {whole}", file=sys.stderr, flush=True)
    grid = Table("benchmark", "s", "")
    worst = 0
    for name in PROGRAMS:
        out.rule(name)
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options])
        took = f"{time.monotonic() - began:.1f}"
        grid.add_row(name, took, f"failed: {done.returncode}" if done.returncode else "")
        worst = max(worst, int(done.returncode != 0))
    out.print(grid)
    return worst


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        show()
        return 0
    if arguments[0].startswith("-"):
        if "--quick" not in arguments:
            show()
            return 2
        return run_all(arguments)
    name, *options = arguments
    if name not in PROGRAMS:
        show()
        print(f"there is no benchmark {name!r}", file=sys.stderr)
        return 2
    sys.argv = [f"benchmarks.{name}", *options]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
