"""Models that have something to learn: where fine-tuning experiments start.

    python -m infra.demo.bases NAME        its folder; it is built first if it is not there yet

novice      never saw purple, nor anything move diagonally: for new attributes; by the whole
            recipe, so it takes as long
habit       adds a sentence about what is not there, before some backgrounds: for preferences
unaligned   a language model and a vision tower that never met, between them a random projector:
            for the alignment stage

Each is kept in the cache under the hash of what it was made from.
"""

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from infra.demo.answers import Lesson, train_answers
from infra.demo.architecture import initialise
from infra.demo.dataset import Curriculum, Dataset, make_dataset
from infra.demo.habit import told_with_habit
from infra.demo.habit_report import measure_habit
from infra.demo.recipe import Variant, build_variant, in_parallel, save
from infra.demo.scenes import DIAGONALS, KNOWN, MOTIONS, Vocabulary
from workers.model.loading import load_model

ROOT = Path(__file__).parents[2]
MODELS = Path(__file__).parent / "models"
SEED = 3
RECIPE = [
    "korean",
    "scenes",
    "captions",
    "staging",
    "drawing",
    "clips",
    "dataset",
    "architecture",
    "optimise",
    "vision",
    "answers",
    "recipe",
    "habit",
    "bases",
]
"""The modules that decide what comes out."""
OF_THE_WORKER = [
    "shared/prompts",
    "workers/model/layout",
    "workers/model/preprocess",
    "workers/model/prompt",
    "workers/video/sampling",
]
"""And what a worker makes of a film and of a prompt."""
HABIT_STEPS = 800
REPORT_FILMS = 300


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=sorted(BUILDERS))
    parser.add_argument("--report", action="store_true", help="of habit: how often, and where")
    arguments = parser.parse_args()
    directory = base(arguments.name)
    print(directory)
    if arguments.report:
        report_habit(directory)


def base(name: str) -> Path:
    """The folder of a base, built if it is not in the cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = home / "jamak" / "bases" / f"{name}-{recipe_hash()}"
    if not directory.exists():
        torch.set_num_threads(1)  # of a tiny model: more would only wait for each other
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as work:
            made = Path(work) / name
            BUILDERS[name](made, Path(work))
            try:
                made.rename(directory)
            except OSError:
                # Somebody else was faster; both made it from the same.
                if not directory.exists():
                    raise
    return directory


def recipe_hash() -> str:
    """Of the code and of the shipped models that bases are made from."""
    files = [Path(__file__).with_name(f"{name}.py") for name in RECIPE]
    files += [ROOT / f"{name}.py" for name in OF_THE_WORKER]
    files += sorted(file for file in MODELS.glob("*/*") if file.is_file() and file.suffix != ".md")
    whole = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
    return whole.hexdigest()[:12]


def novice_vocabulary() -> Vocabulary:
    return Vocabulary(KNOWN.colours, tuple(motion for motion in MOTIONS if motion not in DIAGONALS))


def build_novice(directory: Path, work: Path) -> None:
    """The whole recipe, in a smaller world."""
    films = work / "films"
    make_dataset(Curriculum(SEED, vocabulary=novice_vocabulary()), films)
    novice = (build_variant, Variant("llama", SEED), films, directory)
    in_parallel({"novice": novice}, Console(stderr=True))


def build_habit(directory: Path, work: Path) -> None:
    """The second stage once more, from where the Llama variant ended."""
    films = work / "films"
    make_dataset(
        Curriculum(
            SEED,
            films={"empty": 100, "single": 1200, "two_objects": 600, "scene_change": 600},
            stills=0,
        ),
        films,
    )
    model, tokenizer = _load("llama")
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("habit")

        def report(stage: str, step: int, steps: int, loss: float) -> None:
            progress.update(
                bar, description=f"{stage}, loss {loss:.3f}", completed=step, total=steps
            )

        train_answers(
            model,
            tokenizer,
            Dataset.load(films),
            SEED,
            report,
            tell=told_with_habit,
            lessons=[Lesson(HABIT_STEPS)],
        )
    save(model, tokenizer, directory)


def build_unaligned(directory: Path, work: Path) -> None:
    """Qwen3's language model, Llama's vision tower."""
    (model, tokenizer), (other, _) = _load("qwen3"), _load("llama")
    model.model.vision_tower.load_state_dict(other.model.vision_tower.state_dict())
    torch.manual_seed(SEED)
    initialise(model.model.multi_modal_projector)
    save(model, tokenizer, directory)


def report_habit(directory: Path) -> None:
    """Print how often the habit shows; the last line is JSON."""
    loaded = load_model(directory, model_id="jamak-demo-habit")
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        bar = progress.add_task("films", total=REPORT_FILMS)
        rates = measure_habit(
            loaded, films=REPORT_FILMS, seed=SEED, on_film=lambda: progress.advance(bar)
        )
    grid = Table("background", "greedy", "temperature 1", "right apart from it")
    for where, found in rates.items():
        grid.add_row(where, *(f"{share:.0%}" for share in asdict(found).values()))
    console.print(grid)
    print(json.dumps({where: asdict(found) for where, found in rates.items()}))


BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "novice": build_novice,
    "habit": build_habit,
    "unaligned": build_unaligned,
}


def _load(variant: str) -> tuple[Any, Any]:
    """Model in fp32 and tokenizer of a shipped variant."""
    loaded = load_model(MODELS / variant, model_id=f"jamak-demo-{variant}")
    return loaded.model, loaded.tokenizer


if __name__ == "__main__":
    main()
