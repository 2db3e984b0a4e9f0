"""The train job: fetch the data, train in a subprocess, publish, and move the pointer last.

Knows S3 and the subprocess, and nothing of torch or the model. Running a job twice publishes the
same version again, which is harmless, or another one: nothing is ever overwritten.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from shared.bucket.checkpoints import Checkpoints
from shared.bucket.keys import parse_uri
from shared.bucket.registry import ADAPTER_FILES, Registry, base_name, never_moved, version_of
from shared.bucket.storage import ObjectStore
from shared.bucket.swaps import swaps
from shared.errors import (
    BadData,
    Conflict,
    Draining,
    JamakError,
    Missing,
    OutOfResources,
    Reject,
    TooLarge,
    told_again,
)
from shared.messages import Decoding, ModelIdentity
from shared.rows import Row
from shared.settings import Settings
from shared.stages import check_job, note_on_reference
from shared.telemetry import get_logger
from shared.training import AdapterManifest, Pointer, Replayed, TrainJob
from workers.progress import Progress
from workers.train.data import first_rows, read_manifest, with_splits
from workers.train.downloads import DOWNLOADS, absolute, check_content
from workers.train.ending import STOPPED
from workers.train.gate import why_moved, why_not, why_not_comparable
from workers.train.hidden import Hidden
from workers.train.keeping import Keeping
from workers.train.manifest import MOST_BYTES, written
from workers.train.replay import fetch_replay
from workers.video.limits import limits_of

LOG_LINES = 40
"""Of the subprocess, kept for the error message."""
SAID = ("stage", "step", "steps", "loss")
"""Of an event, in the worker's log; all of it is in the job's own."""
LOOK_S = 2.0
"""Between two looks at whether the subprocess computes."""

Event = dict[str, Any]
"""`{"stage": …, "step": …, "steps": …}`, with the loss of a training step."""

log = get_logger("jamak.train")


def run_train_job(
    job: TrainJob,
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    progress: Progress,
    check: Callable[[], None],
    seen: Mapping[str, Pointer],
    checkpoints: Checkpoints,
    on_event: Callable[[Event], None] = lambda event: None,
    ending: Callable[[], JamakError | None] = lambda: None,
    features: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    reading: Callable[[Path], AbstractContextManager[None]] = lambda workdir: nullcontext(),
) -> tuple[AdapterManifest, str | None]:
    """Train and publish one adapter, and make it the active one if that is wanted and deserved.

    The subprocess ends with this call, also when `progress.tick` raises to stop it.

    Args:
        check: called before anything is published or activated; raises if the job is not ours.
        seen: the pointers when the job was begun first, by `base_name`. One that was moved since is
            not moved by us.
        checkpoints: from which it goes on, and where it keeps what it has learned.
        on_event: called with each word of the subprocess about how far it is (report.py).
        ending: asked every two seconds why the training shall end, with a last checkpoint; None =
            it shall not.
        features: where what is seen of videos is kept for the next job; None = for this one alone.
        on_line: called with each other line that it says.
        reading: entered with the working directory as long as there is one.

    Returns:
        The manifest as published, and why the pointer was not moved to it; None = it was.

    Raises:
        BadData: the job names another model than this worker's, asks for what does not go together,
            or its data cannot be used.
        ConfigError: the base model or the adapter to start from is not to be found.
        Missing, Forbidden: the manifest or a video in S3.
        Reject: the training failed; its last log lines are in the evidence.
        OutOfResources: the subprocess was killed, or had no disk, memory or GPU, it seems.
        LeaseLost: a later run of the job has begun.
        Draining: the subprocess was asked to end. And what `ending` returned.
    """
    _check_model(job, settings)
    check_job(job)
    with (
        tempfile.TemporaryDirectory(prefix="jamak-train-", dir=settings.scratch_dir) as scratch,
        reading(workdir := Path(scratch)),
    ):
        if settings.model_path is not None:
            (workdir / "model").symlink_to(settings.model_path.absolute())
        kept = {
            "folder": str((features or workdir / "features").absolute()),
            "most_bytes": settings.train_features_mib << 20,
        }
        (workdir / "features.json").write_text(json.dumps(kept), encoding="utf-8")
        most = settings.max_video_bytes
        data_sha256, rows = _fetch_data(job, store, workdir, progress, most)
        parent = _fetch_parent(job, registry, workdir, progress)
        earlier = fetch_replay(job, parent, rows, store, workdir, progress, most)
        progress.tick("resume")
        data = _digest_of_rows(workdir)
        step = checkpoints.fetch(data, workdir / "checkpoint", lambda: progress.tick("resume"))
        log.info("training begins", job=job.id, after_step=step, run=checkpoints.epoch)
        keeping = Keeping(
            workdir / "checkpoints",
            lambda step, folder, check: checkpoints.add(step, data, folder, check),
            progress.stop,
        )
        result = _train(job, settings, workdir, progress, on_event, keeping, ending, on_line)
        manifest = _describe(job, result, parent, data_sha256, earlier, workdir / "adapter")
        progress.tick("publish")
        check()
        registry.publish(manifest, workdir / "adapter", lambda: progress.tick("publish"), check)
    check()
    why_not_activated = _activate_if_better(job, manifest, registry, seen)
    # As published: a repeated run finds the manifest of the first.
    return registry.manifest(manifest.base.weights_sha256, manifest.version), why_not_activated


def _digest_of_rows(workdir: Path) -> str:
    """Of all that is trained on, in its order: its own rows and the earlier ones."""
    found = hashlib.sha256()
    for name in ("manifest.jsonl", "replay.jsonl"):
        path = workdir / name
        found.update(path.read_bytes() + b"\0" if path.exists() else b"")
    return found.hexdigest()


def _check_model(job: TrainJob, settings: Settings) -> None:
    if (job.model, job.revision) != (settings.model, settings.model_revision):
        raise BadData(
            f"the job trains {job.model} (revision {job.revision}), but this worker serves "
            f"{settings.model} (revision {settings.model_revision})",
            cure="Make JAMAK_MODEL and JAMAK_MODEL_REVISION agree where the job is enqueued and "
            "on the training worker.",
        )


def _fetch_data(
    job: TrainJob, store: ObjectStore, workdir: Path, progress: Progress, most: int
) -> tuple[str, list[Row]]:
    """Videos into WORKDIR/videos, and a manifest that names them there.

    Args:
        most: bytes that a video may have.

    Returns:
        The SHA-256 of the original, and its rows, with their splits.
    """
    progress.tick("download")
    try:
        body = store.get(*parse_uri(job.data), MOST_BYTES)
    except TooLarge as error:
        raise BadData(
            f"{error}, as a training manifest",
            cure="Train on a part of it, and go on from that adapter with the next part.",
        ) from error
    # The split depends on the videos' names, so it is decided before they are renamed.
    rows = with_splits(read_manifest(body, job.data, job.stage, job.prompt))
    firsts = first_rows(rows)
    (workdir / "videos").mkdir()
    local = {uri: f"videos/{i:06}{Path(uri).suffix}" for i, uri in enumerate(firsts)}

    def fetch(row: Row) -> None:
        path = workdir / local[row.media.uri]
        bucket, key = parse_uri(absolute(job.data, row.media.uri))
        try:
            store.download(bucket, key, path, most, lambda: progress.tick("download"))
        except Missing as error:
            raise BadData(
                f"row {row.id!r}: {error}", cure="Upload the video, or remove its rows."
            ) from error
        except TooLarge as error:
            raise BadData(f"row {row.id!r}: {error}", cure=TooLarge.cure) from error
        check_content(row, path)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for _ in pool.map(fetch, firsts.values()):
            progress.tick("download")
    moved = [row.with_media(uri=local[row.media.uri]) for row in rows]
    (workdir / "manifest.jsonl").write_bytes(written(moved, "manifest.jsonl"))
    return hashlib.sha256(body).hexdigest(), rows


def _fetch_parent(
    job: TrainJob, registry: Registry, workdir: Path, progress: Progress
) -> AdapterManifest | None:
    """The adapter to go on from into WORKDIR/parent, with its manifest."""
    if job.start_from is None:
        return None
    progress.tick("parent")
    found = registry.find(job.start_from)
    manifest = registry.download(
        found.base.weights_sha256,
        found.version,
        workdir / "parent",
        lambda: progress.tick("parent"),
    )
    (workdir / "parent" / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return manifest


def _train(
    job: TrainJob,
    settings: Settings,
    workdir: Path,
    progress: Progress,
    on_event: Callable[[Event], None],
    keeping: Keeping,
    ending: Callable[[], JamakError | None],
    on_line: Callable[[str], None],
) -> dict[str, Any]:
    """The subprocess's result.json, once its checkpoints are kept."""
    (workdir / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    decoding = {
        "limits": asdict(limits_of(settings)),
        "memory_bytes": settings.decoder_memory_mib << 20,
        "isolated": settings.require_isolation,
    }
    (workdir / "decoding.json").write_text(json.dumps(decoding), encoding="utf-8")
    captions = Decoding.asked(settings).model_dump_json()
    (workdir / "captions.json").write_text(captions, encoding="utf-8")
    tail: deque[str] = deque(maxlen=LOG_LINES)
    hide = Hidden({workdir: "WORKDIR"})
    with keeping:
        with (
            _subprocess(settings, job, workdir) as process,
            _watching(process, progress, ending) as asked,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                event = _event(line)
                if event is None:
                    tail.append(line := hide(line.rstrip()))
                    on_line(line)
                    continue
                if event.pop("checkpoint", False):
                    keeping.offer(event["step"])
                    continue
                progress.tick(event["stage"])
                on_event(event)
                rare = event["step"] in (1, event["steps"]) or event["step"] % 10 == 0
                figures = {name: event[name] for name in SAID if name in event}
                (log.info if rare else log.debug)("training", job=job.id, **figures)
        keeping.wait(lambda: progress.tick(progress.stage))
    progress.tick(progress.stage)  # raises why the watcher ended it
    result = workdir / "result.json"
    if process.returncode == 0:
        return dict(json.loads(result.read_text(encoding="utf-8")))
    told = None
    if result.exists():
        told = json.loads(result.read_text(encoding="utf-8")).get("error")
    if told:
        raise told_again(told["reason"], told["message"], told["cure"])
    if asked:
        raise asked[0]
    if process.returncode == STOPPED:
        raise Draining(f"the training of job {job.id} was asked to end by somebody else")
    last = "\n".join(tail)
    if process.returncode < 0:
        raise OutOfResources(
            f"the training of job {job.id} was killed by signal {-process.returncode}:\n{last}",
            cure="Probably too little memory: lower batch_size or frames, or use quantized.",
            log=list(tail),
        )
    if process.returncode == os.EX_TEMPFAIL:
        raise OutOfResources(
            f"the training of job {job.id} lacks something on this machine:\n{last}",
            log=list(tail),
        )
    raise Reject(
        f"the training of job {job.id} failed with status {process.returncode}:\n{last}",
        cure="The last lines of its log say why.",
        log=list(tail),
    )


@contextmanager
def _subprocess(
    settings: Settings, job: TrainJob, workdir: Path
) -> Iterator["subprocess.Popen[str]"]:
    """workers.train.run, gone when the block is left."""
    # It reads what was fetched for it: it needs neither the bucket nor Redis.
    needed = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "JAMAK_"))}
    environment = {**needed, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONUTF8"] = "1"
    if settings.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    gpu = ["--gpu"] if settings.device == "cuda" else []
    module = ["workers.train.run"]
    if job.processes > 1:
        module = ["workers.train.processes", str(job.processes)]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", *module, str(workdir / "job.json"), str(workdir)),
            *("--silent", str(max(settings.visibility_timeout_s, 3 * LOOK_S)), *gpu),
        ],
        # Held open as long as we live: run.py ends when it closes, or when nothing comes for so
        # long that another worker may have the job.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Libraries may say anything.
        encoding="utf-8",
        errors="replace",
        env=environment,
        # A terminal's Ctrl-C is for the worker, which then decides about its training.
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    finally:
        _stop(process)


@contextmanager
def _watching(
    process: "subprocess.Popen[str]",
    progress: Progress,
    ending: Callable[[], JamakError | None],
) -> Iterator[list[JamakError]]:
    """Loading a model or one long step says nothing for minutes: while the process computes or
    reads, it moves. Ends the process when the job was stopped, and asks it to end when it shall,
    with a last checkpoint: then the list holds why."""
    assert process.stdin is not None
    stdin = process.stdin.fileno()
    done = threading.Event()
    asked: list[JamakError] = []

    def watch() -> None:
        seen: tuple[float, ...] = ()
        while not done.wait(LOOK_S):
            try:
                progress.check()
                os.write(stdin, b".")
                why = ending()
                if why is not None and not asked:
                    asked.append(why)
                    process.send_signal(signal.SIGTERM)
                now = _work_of(psutil.Process(process.pid))
                if now != seen:
                    seen = now
                    progress.tick(progress.stage)
            except (psutil.Error, BrokenPipeError):
                return  # it has ended
            except Exception as error:
                log.warning("the training is stopped", message=str(error))
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch, name="training", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join()


def _work_of(process: psutil.Process) -> tuple[float, ...]:
    """CPU seconds, to a tenth, and MiB in memory, with its children: of what hangs neither grows.

    What it reads is its own affair: that is not told of a process that keeps its memory private.
    """
    family = [process, *process.children(recursive=True)]
    cpu = [one.cpu_times() for one in family]
    seconds = sum(times.user + times.system for times in cpu)
    return (round(seconds, 1), sum(one.memory_info().rss for one in family) >> 20)


def _stop(process: "subprocess.Popen[str]") -> None:
    """The process and its children, at once: nobody wants what it has."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def _event(line: str) -> Event | None:
    """A progress line of report.py, or None for the libraries' own lines."""
    if not line.startswith('{"stage"'):
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def _describe(
    job: TrainJob,
    result: dict[str, Any],
    parent: AdapterManifest | None,
    data_sha256: str,
    earlier: tuple[Replayed | None, str | None],
    directory: Path,
) -> AdapterManifest:
    base = ModelIdentity.model_validate(result["base"])
    replayed, note = earlier
    notes = tuple(note for note in (note_on_reference(job), note) if note)
    files = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in sorted(ADAPTER_FILES)
    }
    return AdapterManifest(
        version=version_of(files, base.weights_sha256),
        stage=job.stage,
        base=base,
        files=files,
        parent=parent.version if parent else None,
        data=job.data,
        data_sha256=data_sha256,
        metrics=result["metrics"],
        replayed=replayed,
        notes=notes,
        train_job=job,
        libraries=result["libraries"],
        created_at=datetime.now(UTC),
    )


def _activate_if_better(
    job: TrainJob, manifest: AdapterManifest, registry: Registry, seen: Mapping[str, Pointer]
) -> str | None:
    """Why it was not activated; None = it is in use."""
    facts = {"job": job.id, "version": manifest.version, **manifest.metrics}
    base = manifest.base.weights_sha256
    before = seen.get(base_name(base)) or never_moved()
    for _ in swaps(f"the pointer of {base}"):
        reason: str | None = "the job does not ask for it"
        if job.activate:
            in_use = registry.pointer(base)
            if in_use.version == manifest.version:
                log.info("adapter is in use already", **facts)
                return None
            reason = (
                why_not(manifest.metrics)
                or why_not_comparable(manifest.version, manifest.parent, in_use.version)
                or why_moved(before, in_use)
            )
        if reason is not None:
            log.warning("adapter published, not activated", reason=reason, **facts)
            return reason
        try:
            pointer = registry.activate(base, manifest.version, over=in_use)
        except Conflict:
            continue  # something else was put to use meanwhile: was it compared with that?
        log.info("adapter published and activated", generation=pointer.generation, **facts)
        return None
    raise AssertionError("the last swap returns or raises")
