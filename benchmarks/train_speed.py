"""What does a step of training cost, and an epoch, beside TRL with the same settings?

    python -m benchmarks.train_speed [--json] [--quick] [--rounds N] [--into FILE]

Trains adapters for the demo's model on a CPU, with SFT and with DPO, for two epochs, in a process
of its own each time; in each round each system once, one after the other. All times are CPU
seconds, decoders included. Ratios are TRL's time by ours within a round, so more than 1 is in our
favour:

- `step_ratio`: a step that has its batch;
- `second_epoch_ratio`: an epoch after the first, data and optimiser included;
- `rss_ratio`: our peak memory by TRL's, so less is better: of the process that trains, and
  `with_decoders` the sum of it and its decoders at each moment, what they share counted for each;
- `kept`: the second epoch again, beside a TRL that keeps the pixels of all clips in memory, in the
  first rounds;
- `data_share`: what our second epoch spends on its clips, and what a second job does, by what the
  first epoch spent.

What a user of TRL has to write is in `train_speed_systems.py`. `--json` ends with one object.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.engine_rounds import spread
from benchmarks.goals import Goals, goals_table, judged
from benchmarks.programs import begin, need, parser_of

ROUNDS, QUICK_ROUNDS = 5, 1
ROWS, QUICK_ROWS = 16, 2
BATCH, QUICK_BATCH = 8, 1
STAGES = ("sft", "dpo")
SYSTEMS, KEPT, KEPT_ROUNDS = ("jamak", "trl"), "trl_kept", 2
FILM_S, QUICK_FILM_S = 2.0, 1.0
WIDTH, HEIGHT, FPS = 320, 240, 24
LOOK_S = 0.05
GOALS: Goals = {
    "a step, by TRL's": ("step_ratio.median", ">=", 1.0),
    "an epoch after the first, by TRL's": ("second_epoch_ratio.median", ">=", 1.5),
    "peak memory, of TRL's": ("rss_ratio", "<=", 1.0),
    **{
        f"data of an epoch after the first, of the first one's, {stage}": (
            f"{stage}.data_share.second_epoch.median",
            "<=",
            0.05,
        )
        for stage in STAGES
    },
}

Told = dict[str, float]
Round = dict[str, dict[str, Told]]
"""Stage -> system -> what was measured."""

err = Console(stderr=True)


def make_rows(folder: Path, count: int, film_s: float) -> list[Any]:
    from infra.demo.captions import caption
    from infra.demo.clips import Clip, render, write_film
    from infra.demo.scenes import sample_scenes
    from shared.prompts import BASE_PROMPT
    from shared.rows import Row

    rows = []
    for number, scene in enumerate(sample_scenes(count, 0, split="train")):
        clip = Clip(number, WIDTH, HEIGHT, FPS, film_s)
        name = f"{number:03}.mp4"
        write_film(folder / name, render(scene, clip), FPS)
        said = caption(scene)
        media = {"videos": [{"uri": name}], "id": name, "prompt": BASE_PROMPT}
        rows.append(Row.model_validate({**media, "completion": said}))
    return rows


def train(system: str, stage: str, rows: Sequence[Any], batch: int, folder: Path) -> Told:
    """In a process of its own; its peak memory with it."""
    context = multiprocessing.get_context("fork")  # nothing is imported again
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(theirs, system, stage, rows, batch, folder))
    process.start()
    theirs.close()
    over, peak = threading.Event(), [0]
    looking = threading.Thread(target=_look, args=(process.pid, over, peak), daemon=True)
    looking.start()
    try:
        told = ours.recv()
    except EOFError:
        raise RuntimeError(f"the training of {system} ended without a word") from None
    finally:
        over.set()
        looking.join()
        process.join()
    return {**told, "family_mib": max(peak[0] / 2**20, told["peak_mib"])}


def _train(to: Any, system: Any, stage: Any, rows: Any, batch: int, folder: Path) -> None:
    import torch

    from benchmarks.train_speed_systems import measure

    # Torch renews its pool of threads at the first use after a fork, without a lock: a model is
    # loaded by several threads, and of two at once one finds none ("Invalid thread pool!").
    torch.set_num_threads(1)
    sys.stdout = sys.stderr  # trainers report there
    os.dup2(2, 1)
    to.send(measure(system, stage, rows, batch, folder))


def _look(pid: int | None, over: threading.Event, peak: list[int]) -> None:
    watched = psutil.Process(pid)
    while not over.wait(LOOK_S):
        try:
            family = [watched, *watched.children(recursive=True)]
            peak[0] = max(peak[0], sum(one.memory_info().rss for one in family))
        except psutil.Error:
            continue


def rounds(
    rows: Sequence[Any], count: int, batch: int, kept_rounds: int, folder: Path
) -> list[Round]:
    found = []
    for number in range(count):
        one: Round = {}
        systems = (*SYSTEMS, KEPT) if number < kept_rounds else SYSTEMS
        for stage in STAGES:
            # In turns, and who begins is another one each time.
            order = [systems[(number + place) % len(systems)] for place in range(len(systems))]
            one[stage] = {}
            for system in order:
                with tempfile.TemporaryDirectory(dir=folder) as own:
                    for row in rows:
                        (Path(own) / row.media.uri).symlink_to(folder / row.media.uri)
                    chosen = [_of_stage(row, stage) for row in rows]
                    one[stage][system] = train(system, stage, chosen, batch, Path(own))
        err.print(f"round {number + 1} of {count}", highlight=False)
        found.append(one)
    return found


def _of_stage(row: Any, stage: str) -> Any:
    if stage == "sft":
        return row
    texts = {"completion": None, "chosen": row.completion, "rejected": f"{row.completion} 끝"}
    return row.model_copy(update=texts)


def ratios(found: Sequence[Round], name: str, by: str = "trl") -> dict[str, list[float]]:
    """TRL's figure by ours, in each round, of each stage."""
    return {
        stage: [
            one[stage][by][name] / one[stage]["jamak"][name] for one in found if by in one[stage]
        ]
        for stage in STAGES
    }


def report(found: Sequence[Round]) -> dict[str, Any]:
    steps, second = ratios(found, "step_s"), ratios(found, "second_epoch_s")
    first = found[0]
    memory, family = ratios(found, "peak_mib"), ratios(found, "family_mib")
    told: dict[str, Any] = {
        "step_ratio": spread([ratio for of in steps.values() for ratio in of]),
        "second_epoch_ratio": spread([ratio for of in second.values() for ratio in of]),
        "rss_ratio": round(
            statistics.median([1 / ratio for of in memory.values() for ratio in of]), 3
        ),
        "with_decoders": round(
            statistics.median([1 / ratio for of in family.values() for ratio in of]), 3
        ),
        "rounds": len(found),
    }
    for stage in STAGES:
        ours = [one[stage]["jamak"] for one in found]
        told[stage] = {
            "step_ratio": spread(steps[stage]),
            "first_epoch_ratio": spread(ratios(found, "first_epoch_s")[stage]),
            "second_epoch_ratio": spread(second[stage]),
            "rss_ratio": round(statistics.median([1 / ratio for ratio in memory[stage]]), 3),
            "data_share": {
                part: spread([one[name] / one["first_data_s"] for one in ours])
                for part, name in (
                    ("second_epoch", "second_data_s"),
                    ("second_job", "next_job_data_s"),
                )
            },
            "each": {
                system: _each([one[stage][system] for one in found if system in one[stage]])
                for system in first[stage]
            },
        }
        if KEPT in first[stage]:
            told[stage]["kept"] = {
                "second_epoch_ratio": spread(ratios(found, "second_epoch_s", KEPT)[stage])
            }
    return {**told, "goals": judged(told, GOALS)}


def _each(rounds: Sequence[Told]) -> dict[str, float]:
    """Milliseconds of CPU, and MiB; medians."""
    times = {
        f"{name.removesuffix('_s')}_ms": 1000 * statistics.median([one[name] for one in rounds])
        for name in ("step_s", "first_epoch_s", "second_epoch_s")
    }
    peak = {"peak_mib": statistics.median([one["peak_mib"] for one in rounds])}
    return {name: round(value, 1) for name, value in {**times, **peak}.items()}


def show(told: Mapping[str, Any]) -> None:
    grid = Table("", *STAGES)
    for name in ("step_ratio", "first_epoch_ratio", "second_epoch_ratio"):
        values = [told[stage][name] for stage in STAGES]
        grid.add_row(
            name.replace("_", " "),
            *(f"{one['median']} ({one['min']} to {one['max']})" for one in values),
        )
    grid.add_row("rss ratio", *(str(told[stage]["rss_ratio"]) for stage in STAGES))
    for part in ("second_epoch", "second_job"):
        shares = [told[stage]["data_share"][part]["median"] for stage in STAGES]
        grid.add_row(f"data of {part.replace('_', ' ')}", *(f"{100 * one:.1f} %" for one in shares))
    err.print(grid, goals_table(told["goals"]))


def main() -> None:
    parser = parser_of("train_speed", __doc__, quick="few short films, one round")
    parser.add_argument("--rounds", type=int, default=None, metavar="N")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the result there, dated")
    arguments = begin(parser)
    need("torch", "trl", "peft", "av")
    import torch

    from benchmarks import train_speed_systems  # imported once, for all that are forked

    assert train_speed_systems
    torch.set_num_threads(1)
    quick = arguments.quick
    count = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    with tempfile.TemporaryDirectory(prefix="jamak-train-speed-") as made:
        folder = Path(made)
        rows = make_rows(folder, QUICK_ROWS if quick else ROWS, QUICK_FILM_S if quick else FILM_S)
        found = rounds(
            rows,
            count,
            QUICK_BATCH if quick else BATCH,
            0 if quick else KEPT_ROUNDS,
            folder,
        )
    told = report(found)
    show(told)
    if arguments.into is not None:
        dated = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} CPU cores",
            "command": "python -m benchmarks.train_speed --json --into FILE",
        }
        arguments.into.write_text(f"{json.dumps({**dated, 'result': told}, indent=1)}\n")
    if arguments.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
