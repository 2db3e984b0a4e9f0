"""What do models learn from captions and from preferences, and what do they forget?

    python -m benchmarks.learning [--json] [--quick] [--seeds N ...] [--parts NAME ...] [--into DIR]

Four bases that have something to learn (docs/demo-model.md), each through the real queues, registry
and workers. `sft`: purple and diagonal motion, from captions. `dpo`: losing a habit, from
preferences among the base's own captions. `swap`: a language model behind another's vision tower,
aligned and then tuned. `motion`: an early checkpoint, from pairs of a clip and the same clip
backwards. Bases are built first where they are missing, which takes most of an hour. Each part of
each seed is kept in a folder as it ends: after an interruption, or with other seeds, what is there
is not made again. `--json` ends with one object.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Goals, goals_table, judged
from benchmarks.programs import begin, parser_of

if TYPE_CHECKING:
    from benchmarks.learning_parts import Figures, Plan

SEEDS = (1, 2, 3)
NAMES = ("sft", "dpo", "swap", "motion")
INTO = Path("build/learning")

Found = dict[str, dict[str, dict[str, float]]]
"""Part -> figure -> mean, min, max of the seeds."""

GOALS: Goals = {
    "purple and diagonal motion, before": ("sft.new_before.max", "<=", 0.05),
    "purple and diagonal motion, after": ("sft.new_after.min", ">=", 0.90),
    "forgotten while it learned them": ("sft.old_lost.max", "<=", 0.01),
    "the habit, before": ("dpo.habit_before.min", ">=", 0.25),
    "the habit, after": ("dpo.habit_after.max", "<=", 0.03),
    "forgotten while it lost the habit": ("dpo.exact_lost.max", "<=", 0.01),
    "nats a token that chosen texts lost": ("dpo.chosen_nats_lost.max", "<=", 0.2),
    "of the original, recovered after the swap": ("swap.share.min", ">=", 0.95),
    "of the errors of motion, left": ("motion.left.max", "<=", 0.5),
    **{f"seconds of a seed, {part}": (f"{part}.seconds.max", "<=", 600.0) for part in NAMES},
}
"""What is wanted of the worst seed."""


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("learning", __doc__, quick="one lesson of two steps, for the shipped model")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--into", type=Path, default=INTO, help="a folder for what is done")
    arguments = begin(parser)
    # Torch takes seconds to load: first it is said how long all takes.
    from benchmarks.learning_parts import FULL, PARTS, QUICK, brief

    if arguments.quick:
        pieces = {"sft": [brief(QUICK, arguments.seeds[0])]}
    else:
        pieces = {
            part: [piece(part, seed, FULL, arguments.into, PARTS[part]) for seed in arguments.seeds]
            for part in arguments.parts
        }
    found = {part: gathered([derived(one) for one in some]) for part, some in pieces.items()}
    goals = judged(found, GOALS)
    Console(file=sys.stdout).print(table(found), goals_table(goals, "worst seed"))
    if arguments.json:
        print(json.dumps({**found, "seeds": list(arguments.seeds), "goals": goals}))


def piece(part: str, seed: int, plan: "Plan", into: Path, teach: Any) -> "Figures":
    """From the folder, if it was made by the same plan."""
    at, how = into / f"{part}-{seed}.json", asdict(plan)
    if at.exists():
        kept = json.loads(at.read_text())
        if kept["plan"] == how:
            return dict(kept["figures"])
    started = time.monotonic()
    figures = teach(plan, seed)
    figures["seconds"] = round(time.monotonic() - started, 1)
    print(f"{part}, seed {seed}: {figures}", file=sys.stderr, flush=True)
    into.mkdir(parents=True, exist_ok=True)
    at.write_text(json.dumps({"plan": how, "figures": figures}))
    return dict(figures)


def derived(figures: "Figures") -> "Figures":
    """What goals are about, beside what was measured."""
    more = {}
    for lost, before, after in (
        ("old_lost", "old_before", "old_after"),
        ("exact_lost", "exact_before", "exact_after"),
    ):
        if before in figures:
            more[lost] = figures[before] - figures[after]
    if "recovered" in figures:
        more["share"] = figures["recovered"] / figures["original"]
    if "errors_before" in figures:
        more["left"] = figures["errors_after"] / max(figures["errors_before"], 1e-9)
    return {name: round(value, 4) for name, value in (figures | more).items()}


def gathered(pieces: "Sequence[Figures]") -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": round(statistics.fmean(one[name] for one in pieces), 4),
            "min": min(one[name] for one in pieces),
            "max": max(one[name] for one in pieces),
        }
        for name in pieces[0]
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    grid = Table("part", "figure", "mean", "least", "most", title="learned and forgotten")
    for part, figures in found.items():
        for name, value in figures.items():
            cells = (f"{value[which]:.3f}" for which in ("mean", "min", "max"))
            grid.add_row(part, name.replace("_", " "), *cells)
    return grid


if __name__ == "__main__":
    main()
