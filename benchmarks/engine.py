"""What a caption costs: our engine beside `generate`, static batches and vLLM, on one CPU thread.

    python -m benchmarks.engine [--json] [--quick] [--rounds N] [--requests N]
                                [--cases NAME...] [--trace FILE]

A model of random weights, with frames of noise and 20 to 200 new tokens; and the shipped demo model
with films. In each round every system works once; `generate` has a share of the requests, another
one in each round, of the same mean length. Ratios are of CPU seconds a caption within a round.
`equal` is the share of captions that are those of `generate`, token for token. With --trace nothing
is compared: a picture of who stands in which row at which step is drawn (SVG). `--json` ends with
one object.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of

if TYPE_CHECKING:
    from benchmarks.engine_systems import Made, System
    from benchmarks.engine_work import Work
    from workers.model.loading import LoadedModel

ROWS = 16
NEW_TOKENS, QUICK_NEW_TOKENS = (20, 200), (3, 9)
FILMS, QUICK_FILMS = 100, 2
SECOND_OF = 4
"""Videos of which a second candidate is asked."""

err = Console(stderr=True)


@dataclass
class Case:
    name: str
    loaded: "LoadedModel"
    work: "list[Work]"
    batches: tuple[int, ...]
    """Sizes of static ones that are compared, too."""


@dataclass
class Round:
    cpu_s: float
    """A caption."""
    made: "Made"
    indices: Sequence[int]
    """Of the work."""


def compare(case: Case, rounds: int, rows: int, vllm: Any = None) -> dict[str, Any]:
    """System -> figures, and `ratios`."""
    from benchmarks.engine_systems import Generate, Jamak
    from benchmarks.engine_work import share_of

    work, every = case.work, range(len(case.work))
    positions = max(len(one.ids) + one.new_tokens for one in work)
    jamak = Jamak(case.loaded, rows, positions)
    systems: dict[str, tuple[System, Callable[[int], Sequence[int]]]] = {
        "jamak": (jamak, lambda _: every),
        "generate": (Generate(case.loaded, 1), lambda number: share_of(work, number, rounds)),
    }
    for size in case.batches:
        static = Generate(case.loaded, size)
        systems[f"static_{size}"] = (static, lambda _, size=size: every[:size])  # type: ignore[misc]
    if vllm is not None:
        systems["vllm"] = (vllm, lambda _: every)
    found: dict[str, list[Round]] = {name: [] for name in systems}
    for system, _ in systems.values():
        system.make(work[:1])  # what is done once only is not counted
    for number in range(rounds):
        for name, (system, chosen) in systems.items():
            indices = chosen(number)
            made = system.make([work[i] for i in indices])
            found[name].append(Round(made.cpu_s / len(indices), made, indices))
            err.print(f"{case.name} {number} {name}: {found[name][-1].cpu_s:.3f} CPU s a caption")
    jamak.engine.close()
    right = {
        index: tokens
        for one in found["generate"]
        for index, tokens in zip(one.indices, one.made.tokens, strict=True)
    }
    figures: dict[str, Any] = {name: figures_of(one, right) for name, one in found.items()}
    return {**figures, "ratios": ratios(found), "rounds": rounds}


def figures_of(rounds: Sequence[Round], right: Mapping[int, list[int]]) -> dict[str, float]:
    """Medians. `right` are the tokens that `generate` says."""
    pairs = [
        tokens == right[index]
        for one in rounds
        for index, tokens in zip(one.indices, one.made.tokens, strict=True)
        if index in right
    ]
    cpu_s = statistics.median(one.cpu_s for one in rounds)
    said = statistics.median(sum(map(len, one.made.tokens)) / one.made.cpu_s for one in rounds)
    return {
        "captions_per_cpu_s": round(1 / cpu_s, 3),
        "tokens_per_cpu_s": round(said, 1),
        "useful_rows": round(statistics.median(one.made.useful_rows for one in rounds), 3),
        "equal": round(statistics.fmean(pairs), 4),
        "compared": len(pairs),
    }


def ratios(found: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """What the others pay for a caption, in what we pay; of static batches the better one."""
    peers: dict[str, list[float] | None] = {
        "generate": [one.cpu_s for one in found["generate"]],
        "static": None,
        "vllm": [one.cpu_s for one in found["vllm"]] if "vllm" in found else None,
    }
    static = [found[name] for name in found if name.startswith("static_")]
    if static:
        peers["static"] = [min(one.cpu_s for one in each) for each in zip(*static, strict=True)]
    return {
        name: None
        if costs is None
        else spread([cost / ours.cpu_s for cost, ours in zip(costs, found["jamak"], strict=True)])
        for name, costs in peers.items()
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def second_caption(case: Case, rounds: int, rows: int) -> dict[str, Any]:
    """A second candidate of the same videos, and a caption of the same features."""
    from benchmarks.engine_systems import Jamak
    from workers.caption.engine.sampling import Sampling

    work = case.work[:SECOND_OF]
    positions = max(len(one.ids) + one.new_tokens for one in work)
    jamak = Jamak(case.loaded, rows, positions)
    second, features, same = [], [], []
    jamak.make(work[:1])
    for number in range(rounds):
        first = jamak.make(work)
        seen = [one for one in jamak.features if one is not None]
        # As long as the first one on average, and greedy, too: nothing differs but the prefill.
        mean = round(statistics.fmean(one.new_tokens for one in work))
        both = jamak.make(work, [Sampling(mean)])
        again = jamak.make(work, features=seen)
        second.append((both.cpu_s - first.cpu_s) / first.cpu_s)
        features.append(again.cpu_s / first.cpu_s)
        same += [first.tokens == both.tokens, first.tokens == again.tokens]
        err.print(f"{case.name} {number}: {second[-1]:.3f}, of features {features[-1]:.3f}")
    jamak.engine.close()
    return {
        "second_of_first": spread(second),
        "same_features_of_first": spread(features),
        "equal": statistics.fmean(same),
        "rounds": rounds,
    }


def cases_of(folder: Path, *, quick: bool, requests: int) -> list[Case]:
    from benchmarks.engine_work import DEMO, LARGE, SMALL, films, random_checkpoint, random_work
    from workers.model.loading import load_model

    demo = load_model(DEMO, model_id="jamak-demo")
    checkpoint = random_checkpoint(folder, SMALL if quick else LARGE)
    loaded = load_model(checkpoint, model_id="random")
    lengths = QUICK_NEW_TOKENS if quick else NEW_TOKENS
    longest = (lengths[1], lengths[1])
    batches = (8, 16) if requests >= 16 else (8,)
    return [
        Case("demo", demo, films(demo, QUICK_FILMS if quick else FILMS), ()),
        Case("4_frames", loaded, random_work(loaded, requests, 4, lengths), batches),
        Case("8_frames", loaded, random_work(loaded, requests, 8, lengths), ()),
        Case("decode", loaded, random_work(loaded, requests, 1, longest), ()),
        Case("second_caption", loaded, random_work(loaded, SECOND_OF, 4, lengths), ()),
    ]


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("engine", __doc__, quick="a tiny random model, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=64, help="of a case; an even number")
    parser.add_argument("--cases", nargs="+", help="only these")
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
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="jamak-engine-") as folder:
        for case in cases_of(Path(folder), quick=arguments.quick, requests=requests):
            if arguments.cases and case.name not in arguments.cases:
                continue
            if case.name == "second_caption":
                found[case.name] = second_caption(case, rounds, ROWS)
            else:
                found[case.name] = compare(case, rounds, ROWS)
    show(found)
    main_case = found.get("4_frames", {})
    result = {**main_case, "vllm": main_case.get("vllm"), "cases": found}
    if arguments.json:
        print(json.dumps(result))


def show(cases: Mapping[str, dict[str, Any]]) -> None:
    grid = Table(
        "case", "system", "captions / CPU s", "tokens / CPU s", "useful rows", "equal", "×"
    )
    for case, systems in cases.items():
        if case == "second_caption":
            continue
        for name, one in systems.items():
            if name in ("ratios", "rounds"):
                continue
            ratio = (systems["ratios"].get(name.partition("_")[0]) or {}).get("median", "")
            grid.add_row(
                *(case, name, f"{one['captions_per_cpu_s']:.3g}"),
                *(f"{one['tokens_per_cpu_s']:.4g}", f"{one['useful_rows']:.2f}"),
                *(f"{one['equal']:.2%}", f"{ratio}"),
            )
    Console(file=sys.stdout).print(grid)
    if second := cases.get("second_caption"):
        print(
            f"a second candidate: {second['second_of_first']['median']} of the first; "
            f"a caption of the same features: {second['same_features_of_first']['median']}"
        )


if __name__ == "__main__":
    main()
