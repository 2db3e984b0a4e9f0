"""Which benchmarks there are, what each of them answers, and how long it takes.

The one place for these figures: every program says them before it starts.
"""

import argparse
import sys
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Program:
    question: str
    quick_s: int
    """With --quick. Both on two cores of 2020 that do nothing else."""
    full_s: int


PROGRAMS = {
    "autoscale": Program("How soon and at what cost does a policy scale the fleet?", 8, 180),
    "canary": Program("Is a bad canary found soon, and a good one left alone?", 12, 1500),
    "caption_quality": Program("How often do the demo's models tell what a film shows?", 11, 5400),
    "decoders": Program("What do decoder processes cost, and who waits for whom?", 6, 240),
    "delivery": Program("What survives kill -9, restarts and frozen processes?", 8, 1500),
    "dispatch": Program("What does it cost that no message is lost?", 6, 420),
    "enqueue": Program("How fast do many keys become jobs?", 6, 600),
    "engine": Program("What does a caption cost beside generate, static batches, vLLM?", 10, 5400),
    "fairness": Program("Do tenants get what their weights say under load?", 9, 150),
    "frames": Program("How fast are the right frames found, beside other libraries?", 3, 1500),
    "gpu": Program("What does the engine do on one card, and what could the card do?", 10, 480),
    "growth": Program("What do many workers and keys cost Redis and the feeder?", 10, 300),
    "ingest": Program("How fast do events become jobs, and can the listener be fooled?", 6, 300),
    "judge": Program("Which measures of the judge see errors in captions?", 10, 100),
    "korean": Program("Is Korean whole wherever a caption is cut?", 5, 120),
    "learning": Program("What do models learn from captions and preferences?", 12, 1800),
    "loop": Program("Does the loop close by itself, whoever is killed?", 12, 2400),
    "mutants": Program("Is each guarantee held by a test?", 5, 600),
    "parity": Program("Do captions change when frames are scaled while decoded?", 8, 60),
    "reload": Program("Do captions keep their adapter while adapters are swapped?", 10, 90),
    "resume": Program("Is a training that is killed the same as one that is not?", 12, 300),
    "s3_dialect": Program(
        "Which stores can hold captions, and what does each do otherwise?", 4, 60
    ),
    "scale": Program("Does each key of a large backlog cost what a small one's does?", 3, 400),
    "scenes": Program("Are scene changes found, and nothing else?", 1, 600),
    "sickness": Program("What is survived of servers and machines that are sick?", 12, 1800),
    "source": Program("How much of a video is read, and how fast?", 3, 900),
    "train_speed": Program("What do a step and an epoch of training cost beside TRL?", 12, 300),
    "tracing": Program("What do traces cost a worker when every caption is traced?", 8, 150),
    "truth": Program("Are frames, times and shapes of valid films those drawn?", 6, 180),
    "worker": Program("What does a whole worker cost, with the engine and without?", 12, 1200),
}


def duration(seconds: int) -> str:
    """`8 s`, `15 min`, `1.5 h`."""
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def parser_of(name: str, about: str | None, *, quick: str) -> argparse.ArgumentParser:
    """With what all programs take. `about` is their docstring, `quick` what --quick does."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(about or "").splitlines()[0]
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; says how long it takes, before anything is done."""
    arguments = parser.parse_args()
    name = parser.prog.rpartition(".")[2]
    print(f"{name}: {how_long(name, quick=arguments.quick)}", file=sys.stderr, flush=True)
    return arguments


def how_long(name: str, *, quick: bool) -> str:
    one = PROGRAMS[name]
    if quick:
        return f"takes about {duration(one.quick_s)} (without --quick {duration(one.full_s)})"
    return f"takes about {duration(one.full_s)} (with --quick {duration(one.quick_s)})"


def need(*modules: str) -> None:
    """Ends the program where one of them is missing, and says what to do."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        print(
            f"not installed: {', '.join(missing)}\n"
            "  `make bench` installs what all benchmarks need, and runs them.",
            file=sys.stderr,
        )
        sys.exit(2)
