"""Backlogs into queues: how fast, beside other queues; and how little memory that takes.

    python -m benchmarks.enqueue [--json] [--quick] [--keys N] [--drain-keys N] [--rounds N]

First, keys a second from the manifest in S3 to Redis, marks lifted, against others that send keys
from memory; rounds are interleaved, ratios are of CPU seconds against Celery's `delay()`. Then a
backlog of a million keys with the usual marks: listed from an S3 Inventory by `jamak backlog
start`, fed by `jamak feed`, and drained by a raw script that wants to see each line exactly once.
"""

import csv
import gzip
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import redis
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.enqueue_peers import PEERS, keys
from benchmarks.programs import begin, need, parser_of
from infra.local.processes import Process, stop
from infra.local.redis import RedisServer, start_redis
from infra.local.s3 import OUTPUT_BUCKET, VIDEOS_BUCKET, S3Server, start_s3
from producer.backlog.feeder import Feed, feed_round
from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest
from producer.jobs.recipes import recipe_of
from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.leased_queues import split_item
from shared.bucket.storage import ObjectStore
from shared.messages import Video
from shared.settings import load_settings

ROOT = Path(__file__).parent.parent
QUEUE = "jamak:caption.t4.bulk"
NEEDED = {"dramatiq": "dramatiq", "rq": "rq", "taskiq": "taskiq_redis", "huey": "huey"}
"""Peer -> module."""
PEER_SHARE = 10
"""Others get so many times fewer keys: they would take minutes."""
SAMPLE_S = 0.5


class Stack:
    """Redis and an S3 API of our own, and the environment of processes on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.s3: S3Server = start_s3(folder / "s3")
        self._redis_number = 0
        self.on_a_fresh_redis()

    def on_a_fresh_redis(self) -> None:
        """Whose peak of memory is that of what is done from here on."""
        if self._redis_number:
            self.client.close()
            self.redis.stop()
        self._redis_number += 1
        self.redis: RedisServer = start_redis(self.folder / f"redis-{self._redis_number}")
        self.env = {
            **self.s3.env,
            "JAMAK_REDIS_URL": self.redis.url,
            "JAMAK_OUTPUT": f"s3://{OUTPUT_BUCKET}/",
            "BENCH_REDIS_URL": self.redis.url,
        }
        os.environ.update(self.env)
        self.store, self.client = ObjectStore(), redis.Redis.from_url(self.redis.url)
        self.reload()

    def reload(self) -> None:
        """After a change of the environment."""
        self.settings = load_settings()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def close(self) -> None:
        self.client.close()
        self.s3.stop()
        self.redis.stop()


# Speed.


def make_backlog(stack: Stack, name: str, count: int) -> Backlog:
    """As a scan leaves it."""
    backlog = Backlog(stack.store, stack.settings, name)
    manifest = Manifest(
        name=name,
        source=f"s3://{VIDEOS_BUCKET}/2026/",
        recipe=recipe_of(stack.settings),
        card="t4",
        created_at=datetime.now(UTC),
    )
    backlog.create(manifest)
    videos = [
        Video(bucket="videos", key=key.removeprefix("s3://videos/"), etag="0" * 32, size_bytes=1)
        for key in keys(count)
    ]
    for start in range(0, count, SHARD_LINES):
        backlog.write_shard(start // SHARD_LINES, videos[start : start + SHARD_LINES])
    _, etag = backlog.manifest()
    backlog.save(manifest.model_copy(update={"lines": count, "scanned": True}), etag)
    return backlog


def ours(stack: Stack, name: str, count: int) -> dict[str, float]:
    """From the shards in the bucket to Redis."""
    backlog = make_backlog(stack, name, count)
    queues = leased_queues(stack.settings, caption_prefix(stack.settings))
    queues.put("caption.t4.bulk", [])
    wall, cpu = time.perf_counter(), time.process_time()
    one = Feed(backlog, queues)
    while feed_round([one], lambda queue: 10**9):
        pass
    told = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    waiting = stack.client.llen(QUEUE)
    assert waiting == count, f"{waiting} of {count} are there"
    stack.client.flushdb()
    return told


def theirs(stack: Stack, name: str, count: int) -> dict[str, float]:
    done = subprocess.run(
        stack.command("benchmarks.enqueue_peers", name, str(count)),
        cwd=ROOT,
        env={**os.environ},
        check=True,
        capture_output=True,
        text=True,
    )
    stack.client.flushdb()
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def speeds(
    stack: Stack, names: list[str], count: int, rounds: int, bars: Bars
) -> dict[str, dict[str, float]]:
    bar = bars.add_task("rounds", total=rounds * len(names))
    told: dict[str, list[tuple[int, dict[str, float]]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            if name == "jamak":
                told[name].append((count, ours(stack, f"speed-{number}", count)))
            else:
                few = max(200, count // PEER_SHARE)
                told[name].append((few, theirs(stack, name, few)))
            bars.advance(bar)
    found = {}
    for name in names:
        per_cpu_s = [n / one["cpu_s"] for n, one in told[name]]
        base = [n / one["cpu_s"] for n, one in told["celery_delay"]]
        ratios = [mine / other for mine, other in zip(per_cpu_s, base, strict=True)]
        found[name] = {
            "keys_per_s": round(statistics.median(n / one["wall_s"] for n, one in told[name])),
            "keys_per_cpu_s": round(statistics.median(per_cpu_s)),
            "ratio_to_delay": round(statistics.median(ratios), 2),
            "ratio_least": round(min(ratios), 2),
            "ratio_most": round(max(ratios), 2),
        }
    return found


# A backlog that is drained while it is fed.


def write_inventory(stack: Stack, count: int) -> str:
    """An S3 Inventory of so many videos: the address of its manifest."""
    packed = io.BytesIO()
    with gzip.open(packed, "wt", compresslevel=1, newline="") as text:
        rows = csv.writer(text, quoting=csv.QUOTE_ALL)
        for number in range(count):
            rows.writerow(["videos", f"2026/11/{number:09}.mp4", "1", f"{number:032x}"])
    s3 = stack.s3.s3()
    s3.put_object(Bucket=VIDEOS_BUCKET, Key="inventory/data.csv.gz", Body=packed.getvalue())
    manifest = {
        "sourceBucket": "videos",
        "destinationBucket": f"arn:aws:s3:::{VIDEOS_BUCKET}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag",
        "files": [{"key": "inventory/data.csv.gz"}],
    }
    body = json.dumps(manifest).encode()
    s3.put_object(Bucket=VIDEOS_BUCKET, Key="inventory/manifest.json", Body=body)
    return f"s3://{VIDEOS_BUCKET}/inventory/manifest.json"


class Watch:
    """Samples the memory of a process until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.rss_mib: list[float] = []
        self._process, self._stop = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                self.rss_mib.append(self._process.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                return

    def stop(self) -> list[float]:
        self._stop.set()
        self._thread.join()
        return self.rss_mib or [0.0]


def drained(stack: Stack, count: int, bars: Bars) -> dict[str, Any]:
    source = write_inventory(stack, count)
    log = stack.folder / "start.log"
    started = time.perf_counter()
    scanning = Process(
        "start",
        stack.command("producer.cli", "backlog", "start", "million", source, "--json"),
        log=log,
        env=dict(os.environ),
        cwd=ROOT,
    )
    watch = Watch(scanning.pid)
    while scanning.poll() is None:
        time.sleep(0.1)
    scan_s, scan_rss = time.perf_counter() - started, watch.stop()
    assert scanning.poll() == 0, log.read_text()
    feeding = Process(
        "feed",
        stack.command("producer.cli", "feed"),
        log=stack.folder / "feed.log",
        env={**os.environ, "JAMAK_LOG_LEVEL": "warning"},
        cwd=ROOT,
    )
    watch = Watch(feeding.pid)
    bar = bars.add_task("draining", total=count)
    try:
        started = time.perf_counter()
        seen, twice = drain(stack.client, count, feeding, lambda n: bars.advance(bar, n))
        drain_s = time.perf_counter() - started
    finally:
        rss = watch.stop()
        stop([feeding])
    quarter = max(1, len(rss) // 4)
    memory: Any = stack.client.info("memory")
    return {
        "ids_missing": count - seen,
        "ids_twice": twice,
        "redis_peak_mib": round(memory["used_memory_peak"] / 2**20, 1),
        "rss_mib": round(max(rss), 1),
        "rss_second_quarter_mib": round(max(rss[quarter : 2 * quarter] or rss), 1),
        "rss_last_quarter_mib": round(max(rss[-quarter:]), 1),
        "scan_rss_mib": round(max(scan_rss), 1),
        "scan_keys_per_s": round(count / scan_s),
        "drained_keys_per_s": round(count / drain_s),
    }


def drain(
    client: redis.Redis, count: int, feeding: Process, on_keys: Any, patience_s: float = 30.0
) -> tuple[int, int]:
    """Pop until every line was seen, or nothing comes any more: how many were seen, and again."""
    lines = bytearray(count)
    seen = twice = 0
    last = time.monotonic()
    while seen < count and time.monotonic() - last < patience_s:
        feeding.check()
        # As workers would: what is taken is counted, and the mark follows.
        with client.pipeline() as pipe:
            pipe.rpop(QUEUE, 500)
            items: list[bytes] = pipe.execute()[0] or []
        if not items:
            time.sleep(0.002)
            continue
        client.hincrby("jamak:taken", "caption.t4.bulk", len(items))
        last = time.monotonic()
        for item in items:
            _, _, message = split_item(item)
            _, _, rest = message.partition(b'\\"line\\":')
            line = int(rest[: rest.index(b"}")])
            twice += lines[line]
            seen += not lines[line]
            lines[line] = 1
        on_keys(len(items))
    return seen, twice


def main() -> None:
    parser = parser_of("enqueue", __doc__, quick="small numbers: seconds")
    parser.add_argument("--keys", type=int, default=100_000, help="of ours, over all rounds")
    parser.add_argument("--drain-keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = begin(parser)
    names = ["jamak", "celery_delay", "kombu_batch"] if arguments.quick else ["jamak", *PEERS]
    need(*(NEEDED[name] for name in names if name in NEEDED))
    rounds = 1 if arguments.quick else arguments.rounds
    count = 2000 if arguments.quick else arguments.keys // rounds
    drain_keys = 12_000 if arguments.quick else arguments.drain_keys
    with (
        tempfile.TemporaryDirectory(prefix="jamak-enqueue-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        stack = Stack(Path(folder))
        try:
            found: dict[str, dict[str, Any]] = dict(speeds(stack, names, count, rounds, bars))
            stack.on_a_fresh_redis()
            found["jamak"] |= drained(stack, drain_keys, bars)
        finally:
            stack.close()
    console = Console(file=sys.stdout)
    speed = Table("", "keys/s", "keys/CPU s", "of delay()", "least", "most")
    for name, one in found.items():
        speed.add_row(name, *(f"{value:,}" for value in list(one.values())[:5]))
    console.print(speed)
    backlog = Table("a backlog of", f"{drain_keys:,}")
    for name, value in list(found["jamak"].items())[5:]:
        backlog.add_row(name.replace("_", " "), f"{value:,}")
    console.print(backlog)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
