"""What is read of a video in S3: the bytes and the time of what we choose, beside all of it.

    python -m benchmarks.source [--json] [--quick] [--corpus DIR] [--rounds N]

A request takes a latency of 20 or 50 ms and its bytes at 80 MB/s, simulated on local files;
reading and opening are timed, decoding is not. Each video has the connections that it has in a
worker with the default settings. "All of it" is a download in parts of 8 MB, eight at once.
`--json` ends with one object.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.frames_corpus import CASES, QUICK, Case, make
from benchmarks.programs import begin, parser_of
from workers.caption.card_plan import AHEAD
from workers.video.byte_plan import read_index
from workers.video.container import VideoFile
from workers.video.decode import FrameReader
from workers.video.decoder import SpooledFile
from workers.video.packet_times import from_packets
from workers.video.pool import connections_each
from workers.video.source import Source
from workers.video.spool import Spool
from workers.video.timeline import from_index

BYTES_PER_S = 80e6
LATENCIES_MS = (20, 50)
FULL, FULL_PART_BYTES = 8, 8 << 20
"""Connections of a full download, and what each asks for at once."""
CONCURRENCY = AHEAD[0]
"""Videos that a worker reads at once."""
NAMES = {
    "10s": "1080p-10s-gop250",
    "60s": "1080p-60s",
    "10min": "720p-10min",
    "4k": "4k-20s",
}


def faststart(path: Path) -> Path:
    """The same packets with the index at the front."""
    target = path.with_name(f"{path.stem}-start.mp4")
    if target.exists():
        return target
    with (
        av.open(str(path)) as origin,
        av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream_from_template(origin.streams.video[0])
        for packet in origin.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return target


def remote(path: Path, latency_ms: int) -> Source:
    def fetch(start: int, end: int) -> bytes:
        time.sleep(latency_ms / 1000 + (end - start) / BYTES_PER_S)
        with path.open("rb") as file:
            return os.pread(file.fileno(), end - start, start)

    return Source(path.name, path.stat().st_size, fetch)


class Reader:
    """Stands where the decoder process has its parent."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.waited_s = 0.0

    def need(self, start: int, end: int) -> int:
        since = time.perf_counter()
        until = self._spool.wait(start, end, lambda: None)
        self.waited_s += time.perf_counter() - since
        return until


def chosen(source: Source, n: int, spool: Spool, decode: bool) -> dict[str, Any]:
    """As the worker reads it.

    Args:
        decode: as well, to learn what the plan has forgotten and has to wait for then.
    """
    began = time.perf_counter()
    spool.begin(source, n)
    reader = Reader(spool)
    file: Any = SpooledFile(spool.fd, source.size_bytes, reader, lambda spent: None)  # type: ignore[arg-type]
    with VideoFile(file, source.name, file.head) as video:
        timeline = from_index(video, source.size_bytes)
        if timeline is None:
            spool.plan(None)
            timeline = from_packets(video)
        assert timeline
        targets = timeline.targets(n)
        index = read_index(video.stream, timeline)
        ranges = index.plan(targets) if index else None
        spool.plan(ranges)
        for start, end in [(0, source.size_bytes)] if spool.whole else ranges or []:
            spool.wait(start, end, lambda: None)
        wall_s = time.perf_counter() - began
        reader.waited_s = 0.0
        if decode:
            found = sum(1 for _ in FrameReader(video, timeline, lambda: None).read(targets))
            assert found == len(targets)
    told = {
        "wall_s": wall_s,
        "forgotten_s": reader.waited_s,
        "bytes": spool.fetched_bytes,
        "chosen": "whole" if spool.whole else "ranges",
    }
    spool.end()
    return told


def everything(source: Source, n: int, eight: ThreadPoolExecutor) -> float:
    """Seconds of a full parallel download, and of looking into what came."""
    began = time.perf_counter()
    with tempfile.NamedTemporaryFile() as file:

        def part(start: int) -> None:
            body = source.fetch(start, min(start + FULL_PART_BYTES, source.size_bytes))
            os.pwrite(file.fileno(), body, start)

        def head(size: int) -> bytes:
            return os.pread(file.fileno(), size, 0)

        list(eight.map(part, range(0, source.size_bytes, FULL_PART_BYTES)))
        with VideoFile(file.name, source.name, head) as video:
            timeline = from_index(video, source.size_bytes)
            assert timeline
            index = read_index(video.stream, timeline)
            assert index
            index.plan(timeline.targets(n))
        return time.perf_counter() - began


def measure(path: Path, n: int, latency_ms: int, rounds: int) -> dict[str, Any]:
    source = remote(path, latency_ms)
    ours, full = [], []
    with (
        closing(Spool(None, connections_each(CONCURRENCY), 1 << 40)) as spool,
        ThreadPoolExecutor(FULL) as eight,
    ):
        for number in range(rounds):
            full.append(everything(source, n, eight))
            ours.append(chosen(source, n, spool, decode=not number))
    walls = [one["wall_s"] + ours[0]["forgotten_s"] for one in ours]
    ratios = [one / other for one, other in zip(walls, full, strict=True)]
    return {
        "chosen": ours[0]["chosen"],
        "bytes_share": round(ours[0]["bytes"] / source.size_bytes, 3),
        "wall_ratio": round(statistics.median(ratios), 3),
        "wall_spread": round(max(ratios) - min(ratios), 3),
        "wall_s": round(statistics.median(walls), 3),
        "full_s": round(statistics.median(full), 3),
    }


def cases(quick: bool) -> list[tuple[str, Case]]:
    if quick:
        return [("small", QUICK[0])]
    known = {case.name: case for case in CASES}
    return [(name, known[made]) for name, made in NAMES.items()]


def main() -> None:
    parser = parser_of("source", __doc__, quick="one small video, one round")
    parser.add_argument("--corpus", type=Path, help="where the videos are, or are to be put")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = begin(parser)
    rounds = 1 if arguments.quick else arguments.rounds
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="jamak-corpus-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        corpus = arguments.corpus or Path(folder)
        corpus.mkdir(parents=True, exist_ok=True)
        wanted = cases(arguments.quick)
        making = bars.add_task(
            "making videos", total=sum(round(case.seconds * case.fps) for _, case in wanted)
        )
        paths = {name: make(case, corpus, _ticking(bars, making)) for name, case in wanted}
        bar = bars.add_task("reading", total=len(wanted) * 4 * len(LATENCIES_MS))
        for name, path in paths.items():
            for moov, file in (("end", path), ("start", faststart(path))):
                for n in (8, 32):
                    for latency_ms in LATENCIES_MS:
                        told = measure(file, n, latency_ms, rounds)
                        rows.append(
                            {"case": name, "n": n, "moov": moov, "latency_ms": latency_ms, **told}
                        )
                        bars.advance(bar)
    grid = Table("video", "n", "moov", "latency ms", "chosen", "bytes", "wall", "spread", "wall s")
    for row in rows:
        shown = row["bytes_share"], row["wall_ratio"], row["wall_spread"], row["wall_s"]
        grid.add_row(
            *(row["case"], str(row["n"]), row["moov"], str(row["latency_ms"]), row["chosen"]),
            *(f"{value:g}" for value in shown),
        )
    Console(file=sys.stdout, width=120).print(grid)
    if arguments.json:
        print(json.dumps({"cases": rows}))


def _ticking(bars: Bars, bar: Any) -> Callable[[], None]:
    return lambda: bars.advance(bar)


if __name__ == "__main__":
    main()
