"""How often the shipped models tell exactly what a film shows.

    python -m benchmarks.caption_quality [--json] [--quick] [--seed N]

Fresh films of attribute combinations that no training clip shows, through the whole path of a
worker, one at a time on the CPU. `--json` ends with one object: model -> figures.
"""

import argparse
import json
import os
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

MODELS = Path(__file__).parent.parent / "infra" / "demo" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help="a few small films: seconds")
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    # One caption at a time of a tiny model: more threads only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = {
        directory.name: measured(directory, arguments.seed, arguments.quick)
        for directory in sorted(MODELS.iterdir())
        if (directory / "config.json").exists()
    }
    Console().print(table(found))
    if arguments.json:
        print(json.dumps(found))


def measured(directory: Path, seed: int, quick: bool) -> dict[str, object]:
    # Not at the top: OpenMP reads its environment when torch is first imported.
    from infra.demo.clips import SIZES
    from infra.demo.evaluation import films_in, measure
    from workers.model.loading import load_model

    loaded = load_model(directory, model_id=f"jamak-demo-{directory.name}")
    n, sizes = (25, SIZES[:3]) if quick else (450, SIZES)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(directory.name, total=films_in(n))
        quality = measure(
            loaded, n=n, seed=seed, sizes=sizes, on_film=lambda: progress.advance(bar)
        )
    return quality.as_json()


def table(found: dict[str, dict[str, object]]) -> Table:
    grid = Table("figure", *found, title="captions that are right")
    rows: dict[str, list[str]] = {}
    for figures in found.values():
        for name, value in figures.items():
            parts = value if isinstance(value, dict) else {"": value}
            for part, number in parts.items():
                label = f"{name} {part}".strip().replace("_", " ")
                text = f"{number:.1%}" if isinstance(number, float) and number <= 1 else str(number)
                rows.setdefault(label, []).append(text)
    for label, cells in rows.items():
        grid.add_row(label, *cells)
    return grid


if __name__ == "__main__":
    main()
