"""Films go into the bucket, captions come out of it: what the demo does with a running stack.

All it does there, a user can do: uploads, `jamak` commands, reading records.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.demo.captions import caption
from infra.demo.clips import film
from infra.demo.commands import Command, started
from infra.demo.lesson import Take
from infra.demo.steps import DemoFailed
from infra.local.metrics import read_metrics
from infra.local.stack import LocalStack
from producer.jobs.recipes import recipe_of
from shared.bucket.keys import failure_key, parse_uri, record_key
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.messages import Caption, CaptionJob, Failure, decode
from shared.settings import Settings

PATIENCE_S = 120.0
"""Without a single new caption."""
COMMAND_S = 600.0
"""The longest that a command may take: the training."""
LOOK_S = 0.1


@dataclass(frozen=True)
class Shown:
    """A film in the bucket, and what should be said about it."""

    key: str
    reference: str
    uploaded_at: datetime


@dataclass(frozen=True)
class Told:
    """What came back."""

    key: str
    reference: str
    caption: str
    """Of a failure: why there is none."""
    status: str
    adapter: str | None
    latency_s: float
    """From the upload, or the moment it was asked again, to the record."""
    frames: int = 0
    """That the model saw."""
    visual_tokens: int = 0
    worker_s: float = 0.0
    """What the worker spent on it, from the download to the last token."""

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def right(self) -> bool:
        return self.caption == self.reference


class Screening:
    def __init__(self, stack: LocalStack, settings: Settings, store: ObjectStore) -> None:
        self._stack, self._settings, self._store = stack, settings, store

    def film(self, takes: Sequence[Take], folder: Path, on_film: Callable[[], None]) -> list[Path]:
        paths = []
        for take in takes:
            paths.append(film(take.scene, take.clip, folder / take.id))
            on_film()
        return paths

    def show(self, takes: Sequence[Take], paths: Sequence[Path], prefix: str) -> list[Shown]:
        """Upload: the bucket's notification does the rest."""
        shown = []
        for take, path in zip(takes, paths, strict=True):
            key = f"{prefix}{path.name}"
            shown.append(Shown(key, caption(take.scene), datetime.now(UTC)))
            self._store.upload(path, self._stack.videos_bucket, key)
        return shown

    def ask_again(
        self,
        shown: Sequence[Shown],
        prefix: str,
        *,
        generation: int = 0,
        frames: int | None = None,
    ) -> list[Shown]:
        """`jamak enqueue`: with a new generation for the adapter in use now, or so many frames."""
        options = ["--generation", str(generation)]
        if frames:
            options += ["--frames", str(frames)]
        uri = f"s3://{self._stack.videos_bucket}/{prefix}"
        now = datetime.now(UTC)
        self.jamak("enqueue", uri, *options)
        return [Shown(film.key, film.reference, now) for film in shown]

    def captions(
        self,
        shown: Sequence[Shown],
        on_caption: Callable[[], object],
        *,
        generation: int = 0,
        frames: int | None = None,
    ) -> list[Told]:
        """In the order of `shown`; wait for all of them.

        Raises:
            DemoFailed: nothing more comes, or a process of the stack has ended.
        """
        recipe = recipe_of(self._settings, generation=generation, frames=frames)
        waiting = {
            film: CaptionJob(
                video=video_of(self._store.head(self._stack.videos_bucket, film.key)), recipe=recipe
            )
            for film in shown
        }
        told: dict[str, Told] = {}
        deadline = time.monotonic() + PATIENCE_S
        while waiting:
            self._stack.check()
            for item, job in list(waiting.items()):
                found = self._result(item, job)
                if found:
                    told[item.key] = found
                    del waiting[item]
                    deadline = time.monotonic() + PATIENCE_S
                    on_caption()
            if time.monotonic() > deadline:
                keys = ", ".join(film.key for film in waiting)
                raise DemoFailed(f"no caption for {keys}; its log: {self._log_end('captioner')}")
            time.sleep(LOOK_S)
        return [told[film.key] for film in shown]

    def jamak(
        self,
        *arguments: str,
        while_it_runs: Callable[[], None] = lambda: None,
        within_s: float = COMMAND_S,
        refused: int = 0,
    ) -> dict[str, Any]:
        """Run a `jamak` command as a user would; its JSON.

        Args:
            refused: an exit status that is an answer, too.

        Raises:
            DemoFailed: with what it said.
        """
        with self.start(*arguments) as command:
            return self.answer(
                command, while_it_runs=while_it_runs, within_s=within_s, refused=refused
            )

    def start(self, *arguments: str) -> AbstractContextManager[Command]:
        """What `jamak` does, beside something else."""
        return started(arguments, self._stack.environ)

    def answer(
        self,
        command: Command,
        *,
        while_it_runs: Callable[[], None] = lambda: None,
        within_s: float = COMMAND_S,
        refused: int = 0,
    ) -> dict[str, Any]:
        """As `jamak`, of a command that was started."""
        deadline = time.monotonic() + within_s
        while command.runs():
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"{command.name} did not end within {within_s:.0f} s; "
                    f"the trainer's log: {self._log_end('trainer')}"
                )
            self._stack.check()
            while_it_runs()
            time.sleep(LOOK_S)
        return command.said(refused=refused)

    def until_adapter(self, version: str | None) -> None:
        """Wait until the caption worker says that it uses it; None = the base model."""
        self._until("jamak_adapter_info", version or "")

    def until_canary(self, version: str) -> None:
        """Wait until the caption worker says that it tries it beside the one in use."""
        self._until("jamak_canary_info", version)

    def _until(self, info: str, version: str) -> None:
        port = self._stack.metrics_port("captioner")
        deadline = time.monotonic() + PATIENCE_S
        while version not in {
            sample.labels["version"]
            for sample in read_metrics(port)
            if sample.name == info and sample.value == 1
        }:
            self._stack.check()
            if time.monotonic() > deadline:
                named, told = version or "the base model", self._log_end("captioner")
                raise DemoFailed(f"the worker does not use {named}: {told}")
            time.sleep(LOOK_S)

    def publish_training_set(
        self, takes: Sequence[Take], paths: Sequence[Path], uri: str, on_film: Callable[[], None]
    ) -> None:
        """The manifest at `uri`, its films beside it."""
        bucket, key = parse_uri(uri)
        folder = key.rpartition("/")[0]
        rows = []
        for take, path in zip(takes, paths, strict=True):
            self._store.upload(path, bucket, f"{folder}/{path.name}")
            rows.append(
                {"id": take.id, "videos": [{"uri": path.name}], "completion": caption(take.scene)}
            )
            on_film()
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        self._store.put(bucket, key, "\n".join(lines).encode())

    def _result(self, film: Shown, job: CaptionJob) -> Told | None:
        bucket, prefix = self._settings.output_of(job.video.bucket, job.video.key)
        record, failure = record_key(prefix, job), failure_key(prefix, job)
        if self._store.exists(bucket, record):
            made = decode(Caption, self._store.get(bucket, record))
            told = self._told(film, made.text, made.status, made.created_at)
            return replace(
                told,
                adapter=made.adapter.version if made.adapter else None,
                frames=made.frames.decoded,
                visual_tokens=made.tokens.visual,
                worker_s=round(sum(made.timings_s.values()), 3),
            )
        if self._store.exists(bucket, failure):
            why = decode(Failure, self._store.get(bucket, failure))
            return self._told(film, f"{why.reason}: {why.message}", why.status, why.created_at)
        return None

    @staticmethod
    def _told(film: Shown, text: str, status: str, at: datetime) -> Told:
        seconds = round((at - film.uploaded_at).total_seconds(), 3)
        return Told(film.key, film.reference, text, status, None, seconds)

    def _log_end(self, process: str) -> str:
        lines = self._stack.log(process).read_text(errors="replace").splitlines()
        return "\n".join(lines[-5:])
