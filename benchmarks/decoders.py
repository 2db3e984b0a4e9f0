"""Videos a second through one decoder process and through two, and beside one that stands still.

    python -m benchmarks.decoders [--json] [--quick] [--rounds N]

Eight frames each, at the model's size. Rounds are interleaved; `--json` ends with one object.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.frames_corpus import QUICK, make
from benchmarks.programs import begin, parser_of
from workers.progress import Progress
from workers.video.pool import DecoderPool
from workers.video.sampling import Limits, Request
from workers.video.shape import Shape
from workers.video.source import file_source

REQUEST = Request(8, shape=Shape(336, 336))
STALLED_S = 600.0


def videos_per_s(pool: DecoderPool, path: Path, threads: int, videos: int) -> float:
    def one(_: int) -> int:
        with pool.open(file_source(path), Progress()) as video:
            return len(video.sample(REQUEST).frames)

    with ThreadPoolExecutor(threads) as workers:
        list(workers.map(one, range(threads)))  # the processes are there
        began = time.perf_counter()
        assert set(workers.map(one, range(videos))) == {REQUEST.n}
        return videos / (time.perf_counter() - began)


def beside_a_stalled_one(path: Path, videos: int) -> float:
    """Of the one decoder that is left, while the other one is stopped in the middle of a video."""
    pool, over = DecoderPool(2, Limits(deadline_s=STALLED_S)), threading.Event()
    stopped = threading.Event()

    def stall() -> None:
        with pool.open(file_source(path), Progress()) as video:
            # The process stands by; its copy decodes.
            (copy,) = psutil.Process(video.decoder.pid).children()
            copy.suspend()
            stopped.set()
            over.wait()
            video.decoder.kill()

    with ThreadPoolExecutor(1) as thread:
        stalled = thread.submit(stall)
        stopped.wait()
        found = videos_per_s(pool, path, 1, videos)
        over.set()
        stalled.result()
    pool.close()
    return found


def main() -> None:
    parser = parser_of("decoders", __doc__, quick="few videos, one round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = begin(parser)
    rounds, videos = (1, 6) if arguments.quick else (arguments.rounds, 40)
    found: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="jamak-decoders-") as folder:
        path = make(QUICK[0], Path(folder))
        for _ in track(range(rounds), "decoding", console=Console(stderr=True)):
            for size in (1, 2):
                pool = DecoderPool(size)
                found[f"{size}"].append(videos_per_s(pool, path, size, videos))
                pool.close()
            found["beside a stalled one"].append(beside_a_stalled_one(path, videos))
    told: dict[str, Any] = {
        "cores": psutil.cpu_count(),
        "decoders": [
            {
                "decoders": name,
                "videos_per_s": round(statistics.median(rates), 2),
                "spread": round(max(rates) - min(rates), 2),
            }
            for name, rates in found.items()
        ],
        "two_to_one": round(
            statistics.median(two / one for one, two in zip(found["1"], found["2"], strict=True)),
            3,
        ),
    }
    grid = Table("decoders", "videos/s", "spread")
    for row in told["decoders"]:
        grid.add_row(*(str(value) for value in row.values()))
    out = Console(file=sys.stdout)
    out.print(grid)
    out.print(f"two to one: {told['two_to_one']}")
    if arguments.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
