"""Does the judge see errors, and which of its measures do?

    python -m benchmarks.judge [--json] [--quick] [--seed N]

Captions of the demo's scenes, in every phrasing, with a counted number of wrong attributes: 0 to 3.
`kendall_tau`: how well a measure puts the captions of one film in the order of their errors
(Kendall's tau-a, the mean of the films; 1 is perfect, 0 is blind, and a tie counts for nothing).
`auc`: how often the figure of an adapter that slips in 2 % of its captions is better than that of
one that tells a further 10 % wrongly, each on films of its own. Measures that miss 0.9 or 0.99 are
weak here; some of them look for faults of another kind: `auc_own` is the same with those. `logp`,
which no caption moves, is that of the captions themselves: how likely the demo's model finds those
of some of the films, before the film. `one_reference`: the same for the primary measure, where each
film has one phrasing for reference and the other phrasings count as errors. `--json` ends with one
object, the primary measure's figures first.
"""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, need, parser_of

if TYPE_CHECKING:
    from infra.demo.scenes import Kind, Scene
    from workers.judge.items import Item
    from workers.judge.measures import Measure, Numbers

FILMS, QUICK_FILMS = 1200, 120
ASKED, QUICK_ASKED = 200, 20
"""Films whose captions the model is asked for."""
SETS, QUICK_SETS = 1000, 100
"""Of each adapter."""
CAPTIONS = 200
"""Of a set: held-out films of a training."""
KINDS: "dict[Kind, float]" = {"single": 0.6, "two_objects": 0.2, "scene_change": 0.2}
"""Of the films. Empty scenes have one attribute, too few to count errors in."""
SLIPS, CORRUPTED = 0.02, 0.10
TAU, AUC = 0.9, 0.99
"""What is wanted."""


def main() -> None:
    parser = parser_of("judge", __doc__, quick="fewer films and sets")
    parser.add_argument("--seed", type=int, default=1)
    arguments = begin(parser)
    need("sacrebleu")
    from shared.judged import PRIMARY

    films, sets = (QUICK_FILMS, QUICK_SETS) if arguments.quick else (FILMS, SETS)
    asked = QUICK_ASKED if arguments.quick else ASKED
    every = judged(films, sets, arguments.seed, asked=asked)
    metrics = {name: every[name] for name in sorted(every, key=lambda name: name != PRIMARY)}
    Console(file=sys.stdout).print(table(metrics))
    alone = judged(films, sets, arguments.seed, references=1)[PRIMARY]
    weak = [name for name, one in metrics.items() if one["weak"]]
    if arguments.json:
        first = metrics[PRIMARY]
        print(
            json.dumps(
                {
                    "kendall_tau": first["kendall_tau"],
                    "auc": first["auc"],
                    "metrics": metrics,
                    "weak": weak,
                    "one_reference": {name: alone[name] for name in ("kendall_tau", "auc")},
                    "films": films,
                    "films_asked": asked,
                    "sets": sets,
                    "captions_a_set": CAPTIONS,
                    "seed": arguments.seed,
                }
            )
        )


def judged(
    films: int, sets: int, seed: int, references: int | None = None, asked: int = 0
) -> dict[str, dict[str, Any]]:
    """Measure -> its figures.

    Args:
        references: of each film, the canonical one first; None = every phrasing.
        asked: films whose captions the model is asked for.
    """
    from benchmarks.judge_errors import FAULTS
    from infra.demo.attributes import Attributes
    from workers.judge.judge import measures

    rng = random.Random(seed)  # noqa: S311
    captions = with_counted_errors(scenes(films, seed), rng, references)
    likely = with_likelihood(captions, scenes(films, seed), asked) if asked else captions
    found: dict[str, dict[str, Any]] = {}
    for measure in measures([Attributes()]):
        of = likely if measure.name == "logp" else captions
        if why_not := measure.why_not(of[0]):
            blind = {"kendall_tau": None, "auc": None, "weak": True, "title": measure.title}
            found[measure.name] = {**blind, "note": why_not}
            continue
        sums = [measure.sums(items) for items in of]
        tau = kendall_tau(measure, sums)
        auc = auc_of_sets(measure, sums, sets, seed)
        found[measure.name] = {
            "kendall_tau": round(tau, 4),
            "auc": round(auc, 4),
            "weak": tau < TAU or auc < AUC,
            "title": measure.title,
        }
        if (fault := FAULTS.get(measure.name)) is not None:
            own = [sums[0], measure.sums([fault(one) for one in captions[0]])]
            found[measure.name]["auc_own"] = round(auc_of_sets(measure, own, sets, seed), 4)
    return found


def scenes(count: int, seed: int) -> "list[Scene]":
    from infra.demo.scenes import sample_scenes

    return [
        scene
        for kind, share in KINDS.items()
        for scene in sample_scenes(round(count * share), seed, split="heldout", kind=kind)
    ]


def with_counted_errors(
    films: "Sequence[Scene]", rng: random.Random, references: int | None = None
) -> "list[list[Item]]":
    """Of each number of errors, from 0: the captions of all films."""
    from benchmarks.judge_errors import MOST, with_errors
    from infra.demo.captions import phrasings
    from workers.judge.items import Item

    told = [with_errors(scene, rng) for scene in films]
    whole = [number for number, texts in enumerate(told) if len(texts) == MOST + 1]
    return [
        [
            Item(
                id=str(number),
                video=str(number),
                references=tuple(phrasings(films[number])[:references]),
                said=told[number][errors],
            )
            for number in whole
        ]
        for errors in range(MOST + 1)
    ]


def with_likelihood(
    captions: "Sequence[Sequence[Item]]", films: "Sequence[Scene]", asked: int
) -> "list[list[Item]]":
    """Some of the films, evenly from all, and how likely the model finds what is said of each."""
    from benchmarks.judge_likelihood import nats_a_token

    some = range(0, len(captions[0]), max(len(captions[0]) // asked, 1))[:asked]
    chosen = [[items[place] for items in captions] for place in some]
    shown = [films[int(of_film[0].id)] for of_film in chosen]
    found = nats_a_token(shown, [[item.said for item in of_film] for of_film in chosen])
    likely = [
        [replace(item, logp=nats) for item, nats in zip(*one, strict=True)]
        for one in zip(chosen, found, strict=True)
    ]
    return [list(of_errors) for of_errors in zip(*likely, strict=True)]


def kendall_tau(measure: "Measure", sums: "Sequence[Numbers]") -> float:
    """Of each film, between its captions' worth and how few errors they have; the mean. A caption
    of which the measure says nothing ties with all others."""
    import numpy as np

    worth = np.stack([worth_of(measure, measure.figure(one)) for one in sums], axis=-1)
    levels = range(len(sums))
    pairs = [(few, many) for few in levels for many in levels if few < many]
    order = [np.nan_to_num(np.sign(worth[:, few] - worth[:, many])) for few, many in pairs]
    return float(np.mean(order))


def auc_of_sets(measure: "Measure", sums: "Sequence[Numbers]", sets: int, seed: int) -> float:
    """That a set of the better adapter is worth more than one of the other, ties counted half."""
    import numpy as np

    rng = np.random.default_rng(seed)
    every = np.stack(sums, axis=1)
    """(films, errors, numbers)"""

    def drawn(corrupted: float) -> "Numbers":
        films = rng.integers(0, len(every), (sets, CAPTIONS))
        errors = np.where(rng.random(films.shape) < SLIPS, 1, 0)
        worse = rng.integers(1, every.shape[1], films.shape)
        errors = np.where(rng.random(films.shape) < corrupted, worse, errors)
        return worth_of(measure, measure.figure(every[films, errors].sum(1)))

    good, bad = drawn(0.0), drawn(CORRUPTED)
    apart = np.nan_to_num(np.sign(good[:, None] - bad[None, :]))
    return float(np.mean((apart + 1) / 2))


def worth_of(measure: "Measure", figures: "Numbers") -> "Numbers":
    """The more the better. Of what is to stay as it is: how near it is to the reference's."""
    import numpy as np

    if measure.better == "same":
        return -np.abs(figures - 1)
    return figures if measure.better == "higher" else -figures


def table(metrics: dict[str, dict[str, Any]]) -> Table:
    columns = "measure", "tau", "AUC", "AUC of its own faults", ""
    grid = Table(*columns, title="errors in captions, and who sees them")
    for name, one in metrics.items():
        note = one.get("note") or ("weak" if one["weak"] else "")
        values = (one.get(key) for key in ("kendall_tau", "auc", "auc_own"))
        cells = ("-" if value is None else f"{value:.3f}" for value in values)
        grid.add_row(f"{name}: {one['title']}", *cells, note)
    return grid


if __name__ == "__main__":
    main()
