"""Jamak's own operations in a store, from enqueueing to the export: what each must come to.

Knows nothing of which store it is.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan_new
from producer.bucket.export import LocalTarget, backlog_parts, export
from producer.bucket.reconcile import Reconciler
from producer.jobs.examine import examine
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.keys import record_key
from shared.bucket.records import Records
from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, Overwritten
from shared.messages import (
    Caption,
    CaptionJob,
    CardUsed,
    FramesUsed,
    ModelIdentity,
    Recipe,
    TokensUsed,
    Video,
)
from shared.settings import Output, Settings
from shared.training import AdapterManifest, TrainJob

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
