"""Whether scene changes are found, and what it costs, beside PySceneDetect.

    python -m benchmarks.scenes [--json] [--quick] [--corpus DIR] [--rounds N] [--seed N]
                                [--case NAME]...

Drawn videos whose changes are known: hard cuts, fades, dissolves, and hard cuts among flashes and
among fast motion. A change is found within 2 frames if it is a cut, else within 8 or half of its
length. Each detector runs in a process of its own, with its own settings, in interleaved rounds;
CPU seconds of all its threads, without imports, as medians; the spread is the most less the least.
`--json` ends with one object.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, need, parser_of
from benchmarks.scenes_corpus import QUICK, Truth, corpus, make, path_of
from benchmarks.scenes_detectors import DETECTORS

ROOT = Path(__file__).parent.parent
SEED = 7000
"""The detector was changed after a look at the videos of 2026 and 4242, but not at these."""


def run(detector: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scenes_detectors", detector, str(path)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def score(truths: Sequence[Truth], frames: Sequence[int]) -> tuple[float, float]:
    """Recall and precision; each found change answers for one true one at most."""
    left = list(frames)
    for truth in truths:
        near = [frame for frame in left if abs(frame - truth.frame) <= truth.tolerance]
        if near:
            left.remove(min(near, key=lambda frame: abs(frame - truth.frame)))
    hits = len(frames) - len(left)
    return (
        round(hits / len(truths), 4) if truths else 1.0,
        round(hits / len(frames), 4) if frames else 1.0,
    )


def main() -> None:
    parser = parser_of("scenes", __doc__, quick="one small video, one round")
    parser.add_argument("--corpus", type=Path, help="where the videos are, or are to be put")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=SEED, help="another one: other videos")
    parser.add_argument("--case", action="append", help="only these")
    arguments = begin(parser)
    detectors = list(DETECTORS)
    if arguments.quick:
        detectors = ["jamak"]
    else:
        need("scenedetect")
    cases = [QUICK] if arguments.quick else corpus(arguments.seed)
    cases = [case for case in cases if not arguments.case or case.name in arguments.case]
    rounds = 1 if arguments.quick else arguments.rounds
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="jamak-corpus-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        videos = arguments.corpus or Path(folder)
        videos.mkdir(parents=True, exist_ok=True)
        making = bars.add_task("making videos", total=sum(case.frames for case in cases))
        truths = [make(case, videos, lambda: bars.advance(making)) for case in cases]
        bars.update(making, visible=False)
        bar = bars.add_task("detecting", total=len(cases) * rounds * len(detectors))
        for case, known in zip(cases, truths, strict=True):
            cpu: dict[str, list[float]] = defaultdict(list)
            scores = {}
            for _ in range(rounds):
                for detector in detectors:
                    told = run(detector, path_of(case, videos))
                    cpu[detector].append(told["cpu_s"])
                    scores[detector] = score(known, told["frames"])
                    bars.advance(bar)
            for detector in detectors:
                recall, precision = scores[detector]
                ratios = [
                    ours / theirs
                    for ours, theirs in zip(cpu[detector], cpu["content"], strict=False)
                ]
                rows.append(
                    {
                        "case": case.name,
                        "codec": case.codec,
                        "detector": detector,
                        "recall": recall,
                        "precision": precision,
                        "cpu_s": round(statistics.median(cpu[detector]), 4),
                        "cpu_spread": round(max(cpu[detector]) - min(cpu[detector]), 4),
                        "ratio_to_content": round(statistics.median(ratios), 3) if ratios else None,
                    }
                )
    grid = Table("video", "detector", "recall", "precision", "CPU s", "spread", "x content")
    for row in rows:
        names = ("case", "detector", "recall", "precision", "cpu_s", "cpu_spread")
        grid.add_row(*(str(row[name]) for name in names), str(row["ratio_to_content"] or "-"))
    Console(file=sys.stdout, width=120).print(grid)
    if arguments.json:
        print(json.dumps({"cases": rows}))


if __name__ == "__main__":
    main()
