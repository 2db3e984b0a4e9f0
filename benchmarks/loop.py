"""Does the loop close by itself, and does it hold when its processes are killed?

    python -m benchmarks.loop [--json] [--quick] [--seed N] [--rounds NAME ...] [--into DIR]

A real fleet, all of it processes of the Procfile, captions a stream of films with a base model that
has a habit: before some backgrounds it tells of a cat that is not there. People prefer 200 captions
without it. What follows nobody does: a rule starts a training that replays what was known, it is
judged, the gate finds nothing forgotten, it goes on trial with half of the captions, it is
promoted. Then an adapter whose numbers are noise is put on trial with a tenth of them, and is sent
back.

    lost, failed              films without a caption; with a failure
    mislabelled               captions that their recorded adapter does not make of their film, by
                              the engine once more, to the byte
    downtime_s                what pauses between two captions had beyond 15 s, while films waited
    habit_before, habit_after share of captions with the habit's sentence, of films with these
                              backgrounds that nobody judged; by the base model, by the new adapter
    rolled_back               the bad one, by the watcher

`peace`: nobody is disturbed. `kills`: watcher, retrainer, trainer and Redis are killed twice each;
its figures are the object `kills`, and `ends_the_same` says whether it came to the same adapter, in
as many runs. A round is kept in a folder as it ends: after an interruption it is not run again.
`--json` ends with one object.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, need, parser_of

if TYPE_CHECKING:
    from benchmarks.loop_kills import Kill
    from benchmarks.loop_plans import Plan
    from benchmarks.loop_round import Round

ROUNDS = ("peace", "kills")
INTO = Path("build/loop")
SAME = (
    "lost",
    "failed",
    "mislabelled",
    "downtime_s",
    "rolled_back",
    "runs",
    "published",
    "version",
)
"""What a round ends with, whoever was killed."""


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("loop", __doc__, quick="two preferences, no training, no end of a trial")
    parser.add_argument("--seed", type=int, default=1, help="of the films")
    parser.add_argument("--rounds", nargs="+", choices=ROUNDS, default=ROUNDS)
    parser.add_argument("--into", type=Path, default=INTO, help="a folder for what is done")
    arguments = begin(parser)
    need("moto", "trl", "peft")
    # Torch takes seconds to load: first it is said how long all takes.
    import torch

    from benchmarks.loop_plans import FULL, QUICK, base_of, nobody, twice_each

    torch.set_num_threads(1)
    if arguments.quick:
        rounds = {"peace": partial(_run, QUICK, arguments.seed, base_of(QUICK), nobody)}
        found = {name: run(arguments.into / "logs-quick") for name, run in rounds.items()}
    else:
        base, wanted = base_of(FULL), {"peace": nobody, "kills": twice_each}
        found = {
            name: _piece(name, FULL, arguments.seed, base, wanted[name], arguments.into)
            for name in arguments.rounds
        }
    Console(file=sys.stdout).print(_table(found))
    if arguments.json:
        print(json.dumps(told(found)))


def told(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The first round's figures, and those of the one with kills as an object of its own."""
    if "kills" not in found:
        return dict(found["peace"])
    killed = dict(found["kills"])
    if "peace" in found:
        killed["ends_the_same"] = all(killed[one] == found["peace"][one] for one in SAME)
    return {**found.get("peace", {}), "kills": killed}


def _piece(
    name: str,
    plan: "Plan",
    seed: int,
    base: Path,
    wanted: "Callable[[Round], list[Kill]]",
    into: Path,
) -> dict[str, Any]:
    """From the folder, if it was made by the same plan."""
    at, how = into / f"{name}-{seed}.json", json.loads(json.dumps(asdict(plan)))
    if at.exists():
        kept = json.loads(at.read_text())
        if kept["plan"] == how:
            return dict(kept["figures"])
    figures = _run(plan, seed, base, wanted, into / f"logs-{name}")
    into.mkdir(parents=True, exist_ok=True)
    at.write_text(json.dumps({"plan": how, "figures": figures}, indent=1))
    return figures


def _run(
    plan: "Plan", seed: int, base: Path, wanted: "Callable[[Round], list[Kill]]", logs: Path
) -> dict[str, Any]:
    from benchmarks.loop_round import measure

    return measure(plan, seed, base, wanted, Console(stderr=True).log, logs)


def _table(found: Mapping[str, dict[str, Any]]) -> Table:
    grid = Table("", *found, title="the loop")
    for name in next(iter(found.values())):
        grid.add_row(name.replace("_", " "), *(_shown(one[name]) for one in found.values()))
    return grid


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {one}" for name, one in value.items()) or "-"
    return "\n".join(map(str, value)) or "-" if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
