"""A bad adapter on trial in a real fleet: captioner, watcher, Redis and an S3 API as processes.

First a few films are captioned by each of the two adapters, so it is known what each says of them.
Then the bad one is on trial while the same films, each under many names, are captioned in a stream;
nobody does anything until the last one is. Knows nothing of the statistics.
"""

import hashlib
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.learning_school import Film, School, school
from benchmarks.reload import adapters
from infra.demo.scenes import sample_scenes
from infra.local.stack import DEMO_MODEL
from producer.jobs.recipes import recipe_of
from producer.jobs.send import queue_of, send
from shared import __version__
from shared.broker.apps import caption_app, queues_of
from shared.bucket.records import Records
from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.bucket.videos import video_of
from shared.messages import Caption, CaptionJob, ModelIdentity
from shared.training import AdapterManifest, Pointer, TrainJob

FILMS, QUICK_FILMS = 8, 2
SHARE = 0.1
LOOK_S, PATIENCE_S, END_S = 0.5, 300.0, 30.0
STEP = 20
"""Videos that are sent at once: as many wait, so the stream does not end before the trial."""


def measure(videos: int, *, quick: bool = False) -> dict[str, Any]:
    """Args:
    videos: in the stream.
    quick: so few that the trial has no end.
    """
    with school(DEMO_MODEL, "demo-llama", ("captioner", "watcher")) as fleet:
        return Trial(fleet).run(videos, QUICK_FILMS if quick else FILMS, 0.0 if quick else END_S)


class Trial:
    def __init__(self, fleet: School) -> None:
        self._fleet, self._store = fleet, fleet.store
        settings = fleet.settings
        self._registry = Registry(fleet.store, settings.output_bucket, settings.output_prefix)
        self._queues, self._records = (
            queues_of(caption_app(settings)),
            Records(fleet.store, settings),
        )

    def run(self, videos: int, kinds: int, end_s: float) -> dict[str, Any]:
        fleet = self._fleet
        films = fleet.films("new", sample_scenes(kinds, 5, split="heldout"), 5)
        questions = fleet.questions("new", films)
        good = fleet.say(questions)
        base, version = self._publish(fleet.folder)
        fleet.use(version)
        bad = fleet.say(questions)
        fleet.screening.jamak("adapters", "rollback")
        fleet.screening.until_adapter(None)
        right = {("", n): text for n, text in enumerate(good)}
        right |= {(version, n): text for n, text in enumerate(bad)}
        began = time.monotonic()
        trial = self._registry.begin_canary(base, version, SHARE, paired=True, by="operator")
        fleet.screening.until_canary(version)
        made = self._stream(films, videos)
        ended = self._ended(base, end_s)
        return {
            **self._told(made, right, version, trial, ended),
            "s": round(time.monotonic() - began, 1),
        }

    def _stream(self, films: list[Film], videos: int) -> list[tuple[int, CaptionJob]]:
        """The number of each one's film, and its job; until all have ended."""
        recipe = recipe_of(self._fleet.settings)
        made: list[tuple[int, CaptionJob]] = []
        waiting: dict[str, CaptionJob] = {}
        moved_at = time.monotonic()
        while len(made) < videos or waiting:
            if len(waiting) < STEP and len(made) < videos:
                numbers = range(len(made), min(len(made) + STEP, videos))
                jobs = [
                    (n % len(films), self._job(films[n % len(films)], n, recipe)) for n in numbers
                ]
                send(self._queues, queue_of("t4", bulk=False), [job for _, job in jobs])
                made += jobs
                waiting |= {job.id: job for _, job in jobs}
            over = [one for one, job in waiting.items() if self._is_over(job)]
            for one in over:
                del waiting[one]
            now = time.monotonic()
            moved_at = now if over else moved_at
            self._fleet.stack.check()
            if now - moved_at > PATIENCE_S:
                break  # what still waits is lost
            time.sleep(LOOK_S)
        return made

    def _job(self, film: Film, number: int, recipe: Any) -> CaptionJob:
        bucket, key = self._fleet.stack.videos_bucket, f"stream/{number}.mp4"
        self._store.upload(film.path, bucket, key)
        return CaptionJob(video=video_of(self._store.head(bucket, key)), recipe=recipe)

    def _is_over(self, job: CaptionJob) -> bool:
        return self._records.exists(job) or self._records.find_failure(job) is not None

    def _ended(self, base: str, end_s: float) -> Pointer:
        """Or not: the watcher looks every few seconds, and a while after the last caption."""
        until = time.monotonic() + end_s
        while (pointer := self._registry.pointer(base)).canary and time.monotonic() < until:
            time.sleep(LOOK_S)
        return pointer

    def _told(
        self,
        made: list[tuple[int, CaptionJob]],
        right: dict[tuple[str, int], str],
        version: str,
        trial: Pointer,
        ended: Pointer,
    ) -> dict[str, Any]:
        found: dict[str, Caption] = {}
        failed = 0
        for _, job in made:
            caption = self._records.find(job)
            if caption is not None:
                found[job.id] = caption
            else:
                failed += self._records.find_failure(job) is not None
        arms = Counter(one.trial.arm if one.trial else "none" for one in found.values())
        by_canary = [
            one for one in found.values() if one.adapter and one.adapter.version == version
        ]
        mislabelled = sum(
            right[one.adapter.version if one.adapter else "", film] != one.text
            for film, job in made
            if (one := found.get(job.id))
        )
        stop = ended.history[-1]
        return {
            "videos": len(made),
            "lost": len(made) - len(found) - failed,
            "failed": failed,
            "mislabelled": mislabelled,
            "bad_published_share": round(len(by_canary) / len(made), 4),
            "bad_published": len(by_canary),
            "share": SHARE,
            "arms": dict(arms),
            "verdict": stop.how,
            "why": stop.why,
            "rolled_back_s": round((stop.at - trial.updated_at).total_seconds(), 1),
        }

    def _publish(self, folder: Path) -> tuple[str, str]:
        """One whose numbers are noise; its base and its version."""
        from workers.model.loading import load_model

        (folder / "adapters").mkdir()
        loaded = load_model(DEMO_MODEL, model_id=self._fleet.settings.model)
        adapters(loaded, folder / "adapters")
        return loaded.identity.weights_sha256, publish(
            self._registry, folder / "adapters" / "left", loaded.identity
        )


def publish(registry: Registry, folder: Path, base: ModelIdentity) -> str:
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER_FILES
    }
    job = TrainJob(
        id="planted", data="s3://data/none.jsonl", model=base.id, revision="1", prompt="none"
    )
    manifest = AdapterManifest(
        version=version_of(files, base.weights_sha256),
        stage="sft",
        base=base,
        files=files,
        parent=None,
        data=job.data,
        data_sha256="0" * 64,
        metrics={},
        train_job=job,
        libraries={"jamak": __version__},
        created_at=datetime.now(UTC),
    )
    registry.publish(manifest, folder)
    return manifest.version
