"""Is a bad canary found soon, and is a good one left alone? Beside a z-test that is peeked at.

    python -m benchmarks.canary [--json] [--quick] [--runs N]

First as figures alone: many runs of up to 4,000 captions of the canary, weighed by what watches a
live one (producer/canary/weighing.py). 5 % of the incumbent's captions are bad. Paired, both
caption the same video, and how hard it is correlates with 0.8; unpaired, each its own videos.
Beside it, on the same captions, a z-test at 1 % that is looked at after every 50.

    false_rollback            of identical adapters, the share that was sent back; the worse of both
    false_promotion           of adapters as much worse as the margin, the share that was promoted
    found_paired_median       captions of a canary with 10 % bad until it is sent back: pairs
    found_unpaired_median     the same, where as many are captioned by each
    z_test_false              of identical adapters, the share that the peeked z-test sends back
    promoted_paired_median    captions of an identical canary until it is promoted

Then once in a real fleet (canary_fleet.py), with a planted adapter whose numbers are noise, on
trial with 10 % of the jobs: `fleet`:

    lost, failed              videos without a record; with a failure
    mislabelled               captions that their recorded adapter does not make of that film
    bad_published_share       of all captions, those by the bad adapter that people came to see
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist, median
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.canary_fleet import measure
from benchmarks.programs import begin, parser_of
from producer.canary.state import TrialState
from producer.canary.weighing import ARMS, Weighing
from shared.messages import Arm
from shared.trials import Observation, Signal

RUNS, QUICK_RUNS = 1000, 2
VIDEOS, QUICK_VIDEOS = 260, 12
CAPTIONS = 4000
"""Of the canary, in one run."""
MARGIN = 0.03
BAD, WORSE = 0.05, 0.10
CORRELATION = 0.8
"""Of how hard a video is for the one and for the other: both are of the same base model."""
PEEKS, Z = 50, NormalDist().inv_cdf(0.99)
NEVER = math.inf
AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ended:
    """After how many captions of the canary each came to its end; infinite: it did not."""

    sent_back: float
    promoted: float
    z_test: float


def main() -> None:
    parser = parser_of("canary", __doc__, quick="few runs")
    parser.add_argument("--runs", type=int)
    arguments = begin(parser)
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    told = simulated(runs)
    show(told)
    told["fleet"] = measure(QUICK_VIDEOS if arguments.quick else VIDEOS, quick=arguments.quick)
    show_fleet(told["fleet"])
    if arguments.json:
        print(json.dumps(told))


def simulated(runs: int) -> dict[str, Any]:
    cases = {
        (name, paired): list(run_all(runs, bad, paired, f"{name}, {kind}"))
        for name, bad in (("same", BAD), ("margin", BAD + MARGIN), ("worse", WORSE))
        for paired, kind in ((True, "paired"), (False, "unpaired"))
    }

    def share(name: str, end: str) -> float:
        """The worse one of paired and unpaired."""
        return max(
            sum(float(getattr(one, end)) < NEVER for one in cases[name, paired]) / runs
            for paired in (True, False)
        )

    def middle(name: str, paired: bool, end: str) -> float | None:
        found = median(float(getattr(one, end)) for one in cases[name, paired])
        return found if found < NEVER else None

    return {
        "runs": runs,
        "false_rollback": share("same", "sent_back"),
        "false_promotion": share("margin", "promoted"),
        "found_paired_median": middle("worse", True, "sent_back"),
        "found_unpaired_median": middle("worse", False, "sent_back"),
        "z_test_false": share("same", "z_test"),
        "z_test_found_paired_median": middle("worse", True, "z_test"),
        "z_test_found_unpaired_median": middle("worse", False, "z_test"),
        "promoted_paired_median": middle("same", True, "promoted"),
        "promoted_unpaired_median": middle("same", False, "promoted"),
    }


def run_all(runs: int, bad: float, paired: bool, name: str) -> Iterator[Ended]:
    for seed in track(range(runs), name, console=Console(stderr=True), transient=True):
        portions = pairs(bad, seed) if paired else singles(bad, seed)
        yield run(portions)


def run(portions: Iterator[tuple[Observation, ...]]) -> Ended:
    """To the last caption, unless it is sent back before: who is promoted is watched on, so that
    what is counted as false is no less than it would be."""
    state = TrialState(generation=1, version="canary", since=AT, updated_at=AT, jamak="")
    weighing = Weighing(state, MARGIN)
    peeked = Peeked()
    sent_back = promoted = z_test = NEVER
    for portion in portions:
        weighing.see(portion)
        captions = peeked.see(portion)
        if peeked.fires and z_test == NEVER:
            z_test = captions
        if weighing.verdict and weighing.verdict.what == "not worse":
            promoted = min(promoted, captions)
            weighing.verdict = None
        elif weighing.verdict:
            sent_back = min(sent_back, captions)
            if z_test < NEVER:
                break
    return Ended(sent_back, promoted if promoted < sent_back else NEVER, z_test)


class Peeked:
    """The test that one would take: two shares, their difference beside its spread."""

    def __init__(self) -> None:
        self._seen = {"canary": [0, 0], "incumbent": [0, 0]}
        self._squares = self._pairs = 0
        self.fires = False

    def see(self, portion: tuple[Observation, ...]) -> int:
        """How many captions of the canary there were so far."""
        for one in portion:
            self._seen[one.arm][0] += 1
            self._seen[one.arm][1] += bool(one.bad)
        if len(portion) == 2:
            self._pairs += 1
            self._squares += bool(portion[0].bad) != bool(portion[1].bad)
        captions = self._seen["canary"][0]
        looked = portion[-1].arm == "canary" or len(portion) == 2
        if looked and captions % PEEKS == 0 and self._seen["incumbent"][0]:
            self.fires = self.fires or self._z() >= Z
        return captions

    def _z(self) -> float:
        (ours, bad), (theirs, bad_before) = self._seen.values()
        if self._pairs:  # McNemar's
            return (bad - bad_before) / math.sqrt(self._squares) if self._squares else 0.0
        pooled = (bad + bad_before) / (ours + theirs)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / ours + 1 / theirs))
        return (bad / ours - bad_before / theirs) / spread if spread else 0.0


def pairs(bad: float, seed: int) -> Iterator[tuple[Observation, ...]]:
    """The same videos by both."""
    chance = np.random.default_rng((seed, 1))
    hard = chance.standard_normal((CAPTIONS, 1)) * math.sqrt(CORRELATION)
    own = chance.standard_normal((CAPTIONS, 2)) * math.sqrt(1 - CORRELATION)
    spoilt = hard + own < [NormalDist().inv_cdf(share) for share in (bad, BAD)]
    syllables = chance.integers(20, 60, (CAPTIONS, 1)) + chance.integers(0, 10, (CAPTIONS, 2))
    for number, (both, lengths) in enumerate(zip(spoilt.tolist(), syllables.tolist(), strict=True)):
        yield tuple(
            seen(arm, fault, length, str(number))
            for arm, fault, length in zip(ARMS, both, lengths, strict=True)
        )


def singles(bad: float, seed: int) -> Iterator[tuple[Observation, ...]]:
    """Each video by one of them, by a hash."""
    chance = np.random.default_rng((seed, 2))
    captions = 0
    while captions < CAPTIONS:
        turns = chance.integers(0, 2, CAPTIONS).tolist()
        lots, syllables = (
            chance.random(CAPTIONS).tolist(),
            chance.integers(20, 70, CAPTIONS).tolist(),
        )
        for turn, lot, length in zip(turns, lots, syllables, strict=True):
            captions += turn == 0
            if captions > CAPTIONS:
                return
            yield (seen(ARMS[turn], lot < (bad, BAD)[turn], length, None),)


def seen(arm: Arm, bad: bool, syllables: int, pair: str | None) -> Observation:
    signals: tuple[Signal, ...] = ("repetitive",) if bad else ()
    return Observation.model_construct(
        at=AT, arm=arm, pair=pair, record="", bad=signals, syllables=syllables, published=True
    )


def show(told: dict[str, Any]) -> None:
    grid = Table("", "ours", "z-test at 1 %, peeked every 50", title=f"{told['runs']} runs")
    grid.add_row(
        "identical, and sent back", f"{told['false_rollback']:.1%}", f"{told['z_test_false']:.1%}"
    )
    grid.add_row(
        f"worse by {MARGIN:.0%}, and promoted", f"{told['false_promotion']:.1%}", "never promotes"
    )
    for kind in ("paired", "unpaired"):
        ours, peeked = told[f"found_{kind}_median"], told[f"z_test_found_{kind}_median"]
        name = f"{BAD:.0%} → {WORSE:.0%} bad, {kind}: captions until it is sent back"
        grid.add_row(name, f"{ours:,.0f}", f"{peeked:,.0f}")
        promoted = told[f"promoted_{kind}_median"]
        name = f"identical, {kind}: captions until it is promoted"
        grid.add_row(name, "-" if promoted is None else f"{promoted:,.0f}", "")
    Console(file=sys.stdout).print(grid)


def show_fleet(told: dict[str, Any]) -> None:
    grid = Table("in a real fleet", "", title=f"{told['videos']} videos")
    for name, value in told.items():
        grid.add_row(name.replace("_", " "), str(value))
    Console(file=sys.stdout).print(grid)


if __name__ == "__main__":
    main()
