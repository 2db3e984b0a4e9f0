"""What a caption costs: our engine beside `generate`, static batches and vLLM, on one CPU thread.

    python -m benchmarks.engine [--json] [--quick] [--rounds N] [--requests N] [--only CASE...]
                                [--vllm [FOLDER]] [--into FILE] [--trace FILE]

A model of random weights, with frames of noise and 20 to 200 new tokens; and the shipped demo model
with films. In each round every system works once; `generate` has a fifth of the requests, another
one in each round, of the same mean length. Ratios are of CPU seconds a caption within a round.
`equal` is the share of captions that are those of `generate`, token for token. vLLM runs if asked
for, in an environment of its own, which is made in FOLDER if it is not there. With --into, rounds
are kept in a file after each, and those that it holds count: one case after the other, and
more rounds later, make one result. With --trace nothing is compared: a picture of who stands in
which row at which step is drawn (SVG). `--json` ends with one object.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.engine_rounds import Kept, Round, measured, share_of, spread, summary
from benchmarks.programs import begin, parser_of

if TYPE_CHECKING:
    from benchmarks.engine_systems import System
    from benchmarks.engine_vllm import Peer
    from benchmarks.engine_work import Work
    from workers.model.loading import LoadedModel

ROWS = 16
NEW_TOKENS, QUICK_NEW_TOKENS = (20, 200), (3, 9)
FILMS, QUICK_FILMS = 100, 2
SECOND_OF = 4
"""Videos of which a second candidate is asked."""
START = "4_frames"
"""The case with which starts and memory are compared."""
SHARES = 5
"""Of the work, one of so many is enough for `generate` in a round."""

err = Console(stderr=True)


@dataclass
class Case:
    name: str
    loaded: "LoadedModel"
    directory: Path
    """Of the checkpoint."""
    work: "list[Work]"
    batches: tuple[int, ...] = ()
    """Sizes of static ones that are compared, too."""

    @property
    def positions(self) -> int:
        return max(len(one.ids) + one.new_tokens for one in self.work)


def compare(case: Case, rounds: int, kept: Kept, peer: "Peer", folder: Path) -> None:
    from benchmarks.engine_systems import Generate, Jamak

    work, every = case.work, range(len(case.work))
    with ExitStack() as running:
        jamak = Jamak(case.loaded, ROWS, case.positions)
        running.callback(jamak.engine.close)
        systems: dict[str, System] = {"jamak": jamak, "generate": Generate(case.loaded, 1)}
        for size in case.batches:
            systems[f"static_{size}"] = Generate(case.loaded, size)
        vllm = peer.start(case, ROWS, folder / f"vllm-{case.name}")
        if vllm is not None:
            running.callback(vllm.close)
            systems["vllm"] = vllm
        for system in systems.values():
            system.make(work[:1])  # what is done once only is not counted
        first = len(kept.rounds(case.name))
        for number in range(first, first + rounds):
            one: Round = {}
            some = share_of(len(work), number, SHARES)
            for name, system in systems.items():
                size = int(name.removeprefix("static_")) if "static" in name else len(work)
                indices = some if name == "generate" else every[:size]
                made = system.make([work[i] for i in indices])
                one[name] = measured(indices, made.tokens, made.cpu_s, made.useful_rows)
                say(case, number, f"{name}: {one[name]['cpu_s']:.3f} CPU s a caption")
            kept.add(case.name, one)
        if vllm is not None and case.name == START:
            kept.add_start("vllm", vllm.taken)


def say(case: Case, number: int, what: str) -> None:
    err.print(f"{case.name} {number + 1} {what}", highlight=False)


def second_caption(case: Case, rounds: int, kept: Kept) -> None:
    """A second candidate of the same videos, and a caption of the same features."""
    from benchmarks.engine_systems import Jamak
    from workers.caption.engine.sampling import Sampling

    work = case.work
    jamak = Jamak(case.loaded, ROWS, case.positions)
    # As long as the first one on average, and greedy, too: nothing differs but the prefill.
    mean = round(statistics.fmean(one.new_tokens for one in work))
    jamak.make(work[:1])
    for number in range(len(kept.rounds(case.name)), len(kept.rounds(case.name)) + rounds):
        first = jamak.make(work)
        seen = [one for one in jamak.features if one is not None]
        both = jamak.make(work, [Sampling(mean)])
        again = jamak.make(work, features=seen)
        one = {
            "second_of_first": (both.cpu_s - first.cpu_s) / first.cpu_s,
            "same_features_of_first": again.cpu_s / first.cpu_s,
            "equal": first.tokens == both.tokens == again.tokens,
        }
        kept.add(case.name, one)
        say(case, number, ", ".join(f"{name} {value:.3f}" for name, value in one.items()))
    jamak.engine.close()


def seconds(rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "second_of_first": spread([one["second_of_first"] for one in rounds]),
        "same_features_of_first": spread([one["same_features_of_first"] for one in rounds]),
        "equal": statistics.fmean(one["equal"] for one in rounds),
        "rounds": len(rounds),
    }


def start(case: Case, rounds: int, kept: Kept) -> None:
    """Of processes that are started anew; vLLM tells it when it is compared."""
    from benchmarks.engine_start import started

    for number in range(rounds):
        for name, requests in (("jamak", len(case.work)), ("generate", 2)):
            one = started(name, case.directory, ROWS, case.positions, requests)
            kept.add_start(name, one)
            say(case, number, f"start of {name}: {one}")


def cases_of(folder: Path, *, quick: bool, requests: int) -> list[Case]:
    from benchmarks.engine_work import DEMO, LARGE, SMALL, films, random_checkpoint, random_work
    from workers.model.loading import load_model

    demo = load_model(DEMO, model_id="jamak-demo")
    checkpoint = random_checkpoint(folder / "random", SMALL if quick else LARGE)
    loaded = load_model(checkpoint, model_id="random")
    lengths = QUICK_NEW_TOKENS if quick else NEW_TOKENS
    longest = (lengths[1], lengths[1])
    batches = (8, 16) if requests >= 16 else (8,)

    def case(
        name: str, count: int, frames: int, lengths: tuple[int, int], batches: tuple[int, ...] = ()
    ) -> Case:
        work = random_work(loaded, count, frames, lengths)
        return Case(name, loaded, checkpoint, work, batches)

    return [
        Case("demo", demo, DEMO, films(demo, QUICK_FILMS if quick else FILMS)),
        case("4_frames", requests, 4, lengths, batches),
        case("8_frames", requests, 8, lengths),
        case("decode", requests, 1, longest),
        case("second_caption", SECOND_OF, 4, lengths),
        case("start", requests, 4, lengths),
    ]


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("engine", __doc__, quick="a tiny random model, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=64, help="of a case; an even number")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only these cases")
    where = "where its environment is, or is made"
    parser.add_argument("--vllm", type=Path, nargs="?", const=Path(), metavar="FOLDER", help=where)
    parser.add_argument("--into", type=Path, metavar="FILE", help="keep rounds, and add to them")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="draw rows over time instead")
    arguments = begin(parser)
    import torch  # takes seconds: first it is said how long all takes

    torch.set_num_threads(1)
    if arguments.trace is not None:
        from benchmarks.engine_trace import draw

        draw(arguments.trace)
        return
    rounds = 1 if arguments.quick else arguments.rounds
    requests = 4 if arguments.quick else arguments.requests
    kept = Kept(arguments.into, {"requests": requests, "rows": ROWS, "quick": arguments.quick})
    from benchmarks.engine_vllm import FOLDER, Peer

    peer = Peer(FOLDER if arguments.vllm == Path() else arguments.vllm)
    with tempfile.TemporaryDirectory(prefix="jamak-engine-") as name:
        folder = Path(name)
        for case in cases_of(folder, quick=arguments.quick, requests=requests):
            if case.name not in (arguments.only or [case.name]):
                continue
            if case.name == "second_caption":
                second_caption(case, rounds, kept)
            elif case.name == "start":
                if not arguments.quick:
                    start(case, rounds, kept)
            else:
                compare(case, rounds, kept, peer, folder)
    result = result_of(kept, peer)
    show(result["cases"])
    if arguments.json:
        print(json.dumps(result))


def result_of(kept: Kept, peer: "Peer") -> dict[str, Any]:
    absent = {"vllm": peer.why}
    cases = {
        name: {
            **(seconds(rounds) if name == "second_caption" else summary(rounds, absent)),
            "sizes": kept.sizes(name),
        }
        for name, rounds in kept.cases.items()
    }
    main_case = cases.get("4_frames", {})
    figures = {
        system: {
            name: round(statistics.median(one[name] for one in starts), 1) for name in starts[0]
        }
        for system, starts in kept.start.items()
    }
    return {**main_case, "cases": cases, "start": figures}


def show(cases: Mapping[str, dict[str, Any]]) -> None:
    grid = Table(
        "case", "system", "captions / CPU s", "tokens / CPU s", "useful rows", "equal", "×"
    )
    for case, systems in cases.items():
        for name, one in systems.items():
            if case == "second_caption" or "captions_per_cpu_s" not in (
                one if isinstance(one, dict) else ()
            ):
                continue
            ratio = (systems["ratios"].get(name.partition("_")[0]) or {}).get("median", "")
            grid.add_row(
                *(case, name, f"{one['captions_per_cpu_s']:.3g}"),
                *(f"{one['tokens_per_cpu_s']:.4g}", f"{one['useful_rows']:.2f}"),
                *(f"{one['equal']:.2%}" if "equal" in one else "", f"{ratio}"),
            )
    Console(file=sys.stdout).print(grid)
    if second := cases.get("second_caption"):
        print(
            f"a second candidate: {second['second_of_first']['median']} of the first; "
            f"a caption of the same features: {second['same_features_of_first']['median']}"
        )


if __name__ == "__main__":
    main()
