"""What a frame costs: sampling 8 and 32 frames of each video, beside other libraries.

    python -m benchmarks.frames [--json] [--quick] [--corpus drawn|real] [--videos DIR]
                                [--rounds N] [--case NAME]...

Each library in a process of its own and on one thread, in interleaved rounds; the targets are
worked out before the clock starts. Those that decode from the beginning are run once on the longest
videos and on the real corpus. CPU seconds, wall, peak memory, and whether the frames are those of a
plain decode. Two corpora: `drawn` has what is hard to sample, `real` the groups of pictures of the
world's encoders. `model` frames are 336x336, `rgb` ones of the video's own size. Ratios are of CPU
seconds. Ours has its memory in large pages, as a worker's decoders have; the others are as they are
installed. With GLIBC_TUNABLES=glibc.malloc.hugetlb=1 all have it. `--json` ends with one object.
"""

import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks import frames_real
from benchmarks.frames_corpus import CASES, QUICK, Case, make
from benchmarks.frames_libraries import LIBRARIES, shared_libraries
from benchmarks.programs import begin, need, parser_of
from workers.video.container import VideoFile
from workers.video.packet_times import from_packets
from workers.video.process import LARGE_PAGES

ROOT = Path(__file__).parent.parent
MODULES = {"decord": "decord", "torchcodec": "torchcodec", "opencv": "cv2"}
MODULES["ffmpeg"] = "imageio_ffmpeg"
SEQUENTIAL = {"opencv", "pyav", "ffmpeg"}
SAME = 3
"""Levels of 255 by which two conversions of one frame may differ."""


def indices_of(path: Path, n: int) -> list[int]:
    """The frames on screen at the centres of n equal segments, counted from 0."""
    with VideoFile(str(path), path.name, lambda size: b"") as video:
        timeline = from_packets(video)
        assert timeline
        return [int(np.searchsorted(timeline.times, one)) for one in timeline.targets(n)]


def run(library: str, path: Path, output: str, indices: list[int], env: dict[str, str]) -> Any:
    """One measurement, or why there is none."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.frames_libraries", library, str(path), output]
        + [str(index) for index in indices],
        cwd=ROOT,
        env={**LARGE_PAGES, **env} if library == "jamak" else env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        # The first is the cause; one that ends with a colon only announces others.
        cause = re.search(r"^[\w.]*Error: .*[^:\n]$", done.stderr, re.MULTILINE)
        return {"error": cause[0][:200] if cause else f"exit code {done.returncode}"}
    told = json.loads(done.stdout.splitlines()[-1])
    kept = Path(told.pop("frames"))
    told["pictures"] = np.load(kept)
    shutil.rmtree(kept.parent)
    return told


def measure(
    case: Case, path: Path, n: int, output: str, libraries: list[str], rounds: int, env: Any
) -> list[dict[str, Any]]:
    indices = indices_of(path, n)
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    pictures: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for number in range(rounds):
        for library in libraries:
            if library in errors or (number and case.once and library in SEQUENTIAL):
                continue
            one = run(library, path, output, indices, env)
            if "error" in one:
                errors[library] = one["error"]
                continue
            pictures[library] = one.pop("pictures")
            if len(pictures[library]) != len(indices):
                errors[library] = f"{len(pictures[library])} of {len(indices)} frames"
                continue
            told[library].append(one)
    rows = []
    for library in libraries:
        row = {"corpus": case.corpus, "case": case.name, "codec": case.codec}
        row |= {"n": n, "output": output, "library": library}
        if library in errors:
            rows.append({**row, "error": errors[library]})
            continue
        cpu = [one["cpu_s"] for one in told[library]]
        ours = [one["cpu_s"] for one in told["jamak"]]
        ratios = [theirs / mine for theirs, mine in zip(cpu, ours, strict=False)]
        rows.append(
            {
                **row,
                "rounds": len(cpu),
                "cpu_s": round(statistics.median(cpu), 4),
                "cpu_spread": round(max(cpu) - min(cpu), 4),
                "wall_s": round(statistics.median(one["wall_s"] for one in told[library]), 4),
                "rss_mib": round(max(one["rss_mib"] for one in told[library])),
                "ratio_to_ours": round(statistics.median(ratios), 3),
                "identical": same(pictures[library], pictures["pyav"]) if output == "rgb" else None,
            }
        )
    return rows


def same(ours: Any, theirs: Any) -> bool:
    """The same frames; their colours may be converted by another hand."""
    if ours.shape != theirs.shape:
        return False
    return int(np.abs(ours.astype(np.int16) - theirs).max()) <= SAME


def geometric_mean(rows: list[dict[str, Any]], library: str) -> float | None:
    found = [
        row["ratio_to_ours"] for row in rows if row["library"] == library and "error" not in row
    ]
    return round(math.exp(statistics.mean(map(math.log, found))), 3) if found else None


def means(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Of the drawn corpus by codecs, of the real one, which is H.264, as it is."""
    groups = {
        "h264_hevc": ("drawn", ("h264", "hevc")),
        "vp9_av1": ("drawn", ("vp9", "av1")),
        "real": ("real", ("h264",)),
    }
    told = {}
    for library in ("torchcodec", "decord"):
        for name, (corpus, codecs) in groups.items():
            for output in ("model", "rgb"):
                some = [
                    row
                    for row in rows
                    if (row["corpus"], row["output"]) == (corpus, output) and row["codec"] in codecs
                ]
                told[f"{library}_{name}_{output}"] = geometric_mean(some, library)
    return told


def main() -> None:
    parser = parser_of("frames", __doc__, quick="one small video, two libraries")
    parser.add_argument("--corpus", choices=("drawn", "real"), help="only this one")
    parser.add_argument("--videos", type=Path, help="where the videos are, or are to be put")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", help="only these")
    arguments = begin(parser)
    quick = arguments.quick
    libraries = ["jamak", "pyav"] if quick else list(LIBRARIES)
    need(*(MODULES[one] for one in libraries if one in MODULES))
    every = QUICK if quick else CASES + frames_real.cases()
    cases = [one for one in every if arguments.corpus in (None, one.corpus)]
    if arguments.case:
        cases = [one for one in cases if one.name in arguments.case]
    rows: list[dict[str, Any]] = []
    libs = shared_libraries()
    search = ":".join(filter(None, (str(libs), os.environ.get("LD_LIBRARY_PATH"))))
    env = {**os.environ, "LD_LIBRARY_PATH": search, "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="jamak-corpus-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        videos = arguments.videos or Path(folder)
        videos.mkdir(parents=True, exist_ok=True)
        making = bars.add_task("making videos", total=sum(round(c.seconds * c.fps) for c in cases))
        paths = [make(case, videos, lambda: bars.advance(making)) for case in cases]
        bar = bars.add_task("sampling", total=len(cases) * 4)
        for case, path in zip(cases, paths, strict=True):
            for n in (8, 32):
                for output in ("rgb", "model"):
                    found = measure(
                        case, path, n, output, libraries, 1 if quick else arguments.rounds, env
                    )
                    if output == "rgb":
                        known = {row["library"]: row.get("identical") for row in found}
                    for row in found:
                        if row.get("identical", 0) is None:  # of the same frames, made smaller
                            row["identical"] = known[row["library"]]
                    rows += found
                    bars.advance(bar)
    shutil.rmtree(libs)
    told = {"cases": rows, **means(rows)}
    grid = Table("video", "n", "output", "library", "CPU s", "spread", "wall s", "MiB", "x", "same")
    for row in rows:
        shown = [str(row.get(name, "-")) for name in ("cpu_s", "cpu_spread", "wall_s", "rss_mib")]
        grid.add_row(
            *(row["case"], str(row["n"]), row["output"], row["library"], *shown),
            str(row.get("ratio_to_ours", "-")),
            row.get("error") or ("yes" if row["identical"] else "no"),
        )
    Console(file=sys.stdout, width=160).print(grid)
    if arguments.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
