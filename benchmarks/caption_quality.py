"""How often the shipped models tell exactly what a film shows.

    python -m benchmarks.caption_quality [--json] [--quick] [--seed N] [--films N] [--misses FILE]

Fresh films of combinations that no training film shows, through the whole path of a worker, one
caption at a time on the CPU, at every card class's number of frames. Prints a table, what is taken
for what, and saves a page with the films that were told wrongly. `--json` ends with one object:
model -> figures.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.programs import begin, parser_of

if TYPE_CHECKING:
    from infra.demo.evaluation import Answer

MODELS = Path(__file__).parent.parent / "infra" / "demo" / "models"
FILMS, QUICK_FILMS = 1200, 12
LEAST_FILMS = 10
MISSES = Path("build/caption_quality/misses.html")
SHOWN_MISSES = 100
SIGNS = {
    "rightwards": "→",
    "leftwards": "←",
    "downwards": "↓",
    "upwards": "↑",
    "to the lower right": "↘",
    "to the lower left": "↙",
    "to the upper right": "↗",
    "to the upper left": "↖",
    "growing": "+",
    "shrinking": "-",
    "still": "·",
}
"""Motions, where room is short."""


def main() -> None:
    parser = parser_of("caption_quality", __doc__, quick="a few small films: seconds")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--models", type=Path, nargs="*", help="directories; the shipped ones")
    parser.add_argument("--misses", type=Path, default=MISSES, help="the page of what went wrong")
    arguments = begin(parser)
    if arguments.films < LEAST_FILMS:
        parser.error(f"--films: at least {LEAST_FILMS}, or some kind of film is missing")
    # Torch takes seconds to load: first it is said how long all takes.
    from infra.demo.clips import SIZES
    from infra.demo.contact_sheet import misses_page
    from infra.demo.evaluation import FRAMES, PROCESSES, interviews, jobs_of, misses, summary

    directories = arguments.models or sorted(file.parent for file in MODELS.glob("*/config.json"))
    if arguments.quick:
        jobs, frames = jobs_of(QUICK_FILMS, arguments.seed, SIZES[1:4]), FRAMES[:2]
    else:
        jobs, frames = jobs_of(arguments.films, arguments.seed), FRAMES
    # A further process takes longer to start than a quick run lasts.
    processes = 1 if arguments.quick else PROCESSES
    answers: dict[str, list[Answer]] = {directory.name: [] for directory in directories}
    asked = interviews(directories, jobs, frames, processes=processes)
    for said in track(asked, "films", total=len(jobs), console=Console(stderr=True)):
        for name, more in said.items():
            answers[name].extend(more)
    console = Console(file=sys.stdout)
    found = {name: summary(said).as_json() for name, said in answers.items()}
    confusions = {name: figures.pop("confusion") for name, figures in found.items()}
    console.print(table(found))
    for name, confusion in confusions.items():
        for attribute, counts in confusion.items():
            console.print(matrix(f"{name}: {attribute}", counts))
    arguments.misses.parent.mkdir(parents=True, exist_ok=True)
    wrong = {name: misses(said, SHOWN_MISSES) for name, said in answers.items()}
    arguments.misses.write_text(misses_page(wrong))
    console.print(f"what was told wrongly: {arguments.misses}", highlight=False, soft_wrap=True)
    if arguments.json:
        print(json.dumps(found))


def table(found: dict[str, dict[str, Any]]) -> Table:
    grid = Table("figure", *found, title="captions that are right")
    rows: dict[str, list[str]] = {}
    for figures in found.values():
        for label, number in _flat(figures):
            text = f"{number:.1%}" if isinstance(number, float) and number <= 1 else str(number)
            rows.setdefault(label, []).append(text)
    for label, cells in rows.items():
        grid.add_row(label, *cells)
    return grid


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows = []
    for name, value in figures.items():
        label = f"{prefix} {name}".strip().replace("_", " ")
        rows += _flat(value, label) if isinstance(value, dict) else [(label, value)]
    return rows


def matrix(title: str, counts: dict[str, int]) -> Table:
    """Truth by answer."""
    pairs = {
        tuple(SIGNS.get(name, name) for name in pair.split(" > ")): n for pair, n in counts.items()
    }
    truths = sorted({truth for truth, _ in pairs})
    said = sorted({answer for _, answer in pairs} | set(truths))
    grid = Table("truth \\ said", *said, title=title)
    for truth in truths:
        cells = [pairs.get((truth, answer), 0) for answer in said]
        grid.add_row(truth, *(str(n) if n else "" for n in cells))
    return grid


if __name__ == "__main__":
    main()
