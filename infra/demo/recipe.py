"""The demo's models from nothing: films, a vision tower that sees, a language model that tells.

    make model                                  both shipped variants, and their cards
    python -m infra.demo.recipe --out DIR       the variants alone

Less than an hour on two cores. The films are shared; each variant is a process of its own.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.demo import answers
from infra.demo.answers import train_answers
from infra.demo.architecture import (
    BACKBONES,
    Backbone,
    build_model,
    build_tokenizer,
    preprocessor_config,
)
from infra.demo.dataset import Curriculum, Dataset, make_dataset
from infra.demo.vision import train_vision

SEED = 1
"""Of the shipped variants."""


@dataclass(frozen=True)
class Variant:
    backbone: Backbone
    seed: int

    @property
    def torch_seed(self) -> int:
        """Each variant has a vision tower of its own, too."""
        return 10 * self.seed + BACKBONES.index(self.backbone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for the variants")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    console, started = Console(stderr=True), time.monotonic()
    build_variants(arguments.seed, arguments.out, console)
    console.print(f"{arguments.out}: {time.monotonic() - started:.0f} s")


def build_variants(seed: int, out: Path, console: Console) -> None:
    """Each in the folder of `out` that is named after its backbone."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        films = Path(work)
        make_dataset(Curriculum(seed), films)
        in_parallel(
            {
                backbone: (build_variant, Variant(backbone, seed), films, out / backbone)
                for backbone in BACKBONES
            },
            console,
        )


def build_variant(variant: Variant, dataset: Path, out: Path, report: Any) -> None:
    torch.set_num_threads(1)  # one process a core: more would only wait for each other
    torch.manual_seed(variant.torch_seed)
    tokenizer, films = build_tokenizer(), Dataset.load(dataset)
    model = build_model(tokenizer, variant.backbone)
    train_vision(model, films, variant.torch_seed, report)
    lessons = answers.LESSONS
    train_answers(model, tokenizer, films, variant.torch_seed, report, lessons=lessons)
    save(model, tokenizer, out)


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """What `from_pretrained` loads, in bf16; the model itself stays in fp32."""
    deepcopy(model).bfloat16().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    text = json.dumps(preprocessor_config(), indent=2) + "\n"
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (directory / name).write_text(text)


Work = tuple[Callable[..., None], Any, Path, Path]
Update = tuple[str, str, int, int, float]


def in_parallel(works: dict[str, Work], console: Console) -> None:
    """Run each in a process, with a bar; each is also given a way to report how far it is.

    Raises:
        RuntimeError: one of them failed; its traceback is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    updates: Queue[Update] = context.Queue()
    running = {
        name: context.Process(target=_reporting, args=(name, updates, *work), daemon=True)
        for name, work in works.items()
    }
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bars = {name: progress.add_task(name) for name in works}
        for process in running.values():
            process.start()
        while any(process.is_alive() for process in running.values()):
            while not updates.empty():
                name, stage, step, steps, loss = updates.get()
                progress.update(
                    bars[name],
                    description=f"{name}: {stage}, loss {loss:.3f}",
                    completed=step,
                    total=steps,
                )
            time.sleep(0.5)
            if any(process.exitcode for process in running.values()):
                for process in running.values():
                    process.terminate()  # what one of them alone would make is not wanted
    failed = [name for name, process in running.items() if process.exitcode]
    if failed:
        raise RuntimeError(f"failed: {', '.join(failed)}")


def _reporting(name: str, updates: "Queue[Update]", build: Any, *arguments: Any) -> None:
    def report(stage: str, step: int, steps: int, loss: float) -> None:
        updates.put((name, stage, step, steps, loss))

    build(*arguments, report)


if __name__ == "__main__":
    main()
