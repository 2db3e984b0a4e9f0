"""Ten million keys: whether feeding and reconciling stay as fast and as small as for one million.

    python -m benchmarks.scale [--json] [--quick] [--keys N]

The real feeder and the real reconcile over a store that computes what it lists, so that it can be
of any size, and a real Redis. Every seventh record is missing when reconcile looks. For each size:
CPU seconds of feeding and of reconciling a million, the memory of the process and of Redis.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import redis
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, parser_of
from infra.local.redis import start_redis
from producer.backlog.feeder import Feed, feed_round
from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest
from producer.bucket.reconcile import Reconciler
from producer.jobs.recipes import recipe_of
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.bucket.keys import record_key, view_key
from shared.bucket.records import VIEWS
from shared.bucket.storage import ObjectInfo
from shared.errors import Missing
from shared.messages import CaptionJob, Video
from shared.settings import Settings

QUEUE = "caption.t4.bulk"
MISSING_EVERY = 7
PAGE = 1000
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def video(line: int) -> Video:
    return Video(bucket="videos", key=f"2026/{line:09}.mp4", etag=f"{line:032x}", size_bytes=1)


class Computed:
    """A store in which every video of a backlog has its record and views, but every seventh.

    Small objects, the cursor and the manifest, are kept in memory.
    """

    def __init__(self, settings: Settings, lines: int) -> None:
        self._lines, self._settings = lines, settings
        self._recipe = recipe_of(settings)
        self._small: dict[str, bytes] = {}
        self.requests = 0

    def get_with_etag(self, bucket: str, key: str, most: int | None = None) -> tuple[bytes, str]:
        self.requests += 1
        if key not in self._small:
            raise Missing(key)
        return self._small[key], str(hash(self._small[key]))

    def put(self, bucket: str, key: str, body: bytes, **_: Any) -> str:
        self.requests += 1
        self._small[key] = body
        return str(hash(body))

    def lists_in_order(self, bucket: str, prefix: str) -> bool:
        return True

    def list_page(
        self, bucket: str, prefix: str, after: str = ""
    ) -> tuple[Sequence[ObjectInfo], bool]:
        """Records, failures and views; the number of the line stands in each key."""
        self.requests += 1
        kind = prefix.split("/")[0]
        if kind == "failures":
            return [], False
        line = self._line_of(after)
        found: list[ObjectInfo] = []
        while line < self._lines and len(found) < PAGE:
            if line % MISSING_EVERY:
                for key in self._keys(kind, line):
                    if key > after:
                        found.append(ObjectInfo(bucket, key, "e", 1, NOW))
            line += 1
        return found, line < self._lines

    def _keys(self, kind: str, line: int) -> list[str]:
        if kind == "captions":
            return [view_key("", "videos", video(line).key, end) for end in sorted(VIEWS)]
        return [record_key("", CaptionJob(video=video(line), recipe=self._recipe))]

    def _line_of(self, key: str) -> int:
        name = key.rpartition("/")[2][:9]
        return int(name) if name.isdigit() else 0


class Shards(Backlog):
    """A backlog that is scanned, and whose files nobody has to write."""

    def __init__(self, store: Any, settings: Settings, name: str, lines: int) -> None:
        super().__init__(store, settings, name)
        self._total = lines
        self.create(
            Manifest(
                name=name,
                source="s3://videos/2026/",
                recipe=recipe_of(settings),
                card="t4",
                lines=lines,
                scanned=True,
                created_at=NOW,
            )
        )

    def shard(self, name: str) -> list[Video]:
        start = int(name) * SHARD_LINES
        return [video(line) for line in range(start, min(start + SHARD_LINES, self._total))]


def measure(
    settings: Settings, client: redis.Redis, number: int, keys: int, bars: Bars
) -> dict[str, Any]:
    """A backlog of so many keys, fed and reconciled from its beginning to its end."""
    store = Computed(settings, keys)
    queues = leased_queues(settings, caption_prefix(settings))
    backlog = Shards(store, settings, f"scale-{number}", keys)
    bar = bars.add_task(f"{keys:,} keys", total=2 * keys)
    one = Feed(backlog, queues)
    cpu = time.process_time()
    while fed := feed_round([one], lambda queue: 1000):
        client.delete(f"jamak:{QUEUE}")
        bars.advance(bar, fed)
    one.save()
    feed_s = time.process_time() - cpu
    cpu = time.process_time()

    def room(queue: str) -> int:
        client.delete(f"jamak:{queue}")
        return 500

    told = Reconciler(settings, store, queues, room, lambda n: bars.advance(bar, n)).backlog(one)  # type: ignore[arg-type]
    reconcile_s = time.process_time() - cpu
    assert told.enqueued == -(-keys // MISSING_EVERY), told
    memory: Any = client.info("memory")
    bars.remove_task(bar)
    return {
        "keys": keys,
        "feed_cpu_s_per_million": round(feed_s * 1e6 / keys, 2),
        "reconcile_cpu_s_per_million": round(reconcile_s * 1e6 / keys, 2),
        "requests_per_million": round(store.requests * 1e6 / keys),
        "rss_mib": round(psutil.Process().memory_info().rss / 2**20, 1),
        "redis_mib": round(memory["used_memory"] / 2**20, 2),
        "redis_peak_mib": round(memory["used_memory_peak"] / 2**20, 2),
    }


def main() -> None:
    parser = parser_of("scale", __doc__, quick="small numbers: seconds")
    parser.add_argument("--keys", type=int, default=10_000_000)
    arguments = begin(parser)
    telemetry.configure_logging("warning")
    most = 12_000 if arguments.quick else arguments.keys
    sizes = [most // 10, most // 2, most]
    with (
        tempfile.TemporaryDirectory(prefix="jamak-scale-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        server = start_redis(Path(folder))
        settings = Settings(redis_url=server.url)  # type: ignore[arg-type]
        with redis.Redis.from_url(server.url) as client:
            try:
                measure(settings, client, 0, 2000, bars)  # what is loaded once
                rows = [
                    measure(settings, client, n + 1, size, bars) for n, size in enumerate(sizes)
                ]
            finally:
                server.stop()
    grid = Table(*rows[0])
    for row in rows:
        grid.add_row(*(f"{value:,}" for value in row.values()))
    Console(file=sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps({"sizes": rows}))


if __name__ == "__main__":
    main()
