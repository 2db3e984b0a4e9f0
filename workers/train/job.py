"""The train job: fetch the data, train in a subprocess, publish, and move the pointer last.

Knows S3, and nothing of torch or the model. Running a job twice publishes the
same version again, which is harmless, or another one: nothing is ever overwritten.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from shared.bucket.checkpoints import Checkpoints
from shared.bucket.keys import parse_uri
from shared.bucket.registry import ADAPTER_FILES, Registry, base_name, never_moved, version_of
from shared.bucket.storage import ObjectStore
from shared.bucket.swaps import swaps
from shared.errors import BadData, Conflict, JamakError, Missing, Reject, TooLarge
from shared.messages import ModelIdentity
from shared.policy import why_not_against
from shared.rows import Row
from shared.settings import Settings
from shared.stages import check_job, note_on_reference
from shared.telemetry import get_logger
from shared.training import AdapterManifest, Pointer, Replayed, TrainJob
from workers.progress import Progress
from workers.train.data import first_rows, note_skipped, read_manifest, with_splits
from workers.train.downloads import DOWNLOADS, absolute, check_content, on_both_sides
from workers.train.fitting import check_fits, on_gpu, trainer
from workers.train.gate import on_trial, why_moved, why_not, why_not_comparable
from workers.train.judged_job import Judging, Verdict
from workers.train.keeping import Keeping
from workers.train.lineage import learned_before
from workers.train.manifest import MOST_BYTES, written
from workers.train.own_process import Event, judge_apart, train_apart
from workers.train.quantizing import decided
from workers.train.replay import choose_replay, fetch_replay

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
        DoesNotFit: the training takes more memory than this machine has; no video was fetched.
        Missing, Forbidden: the manifest or a video in S3.
        Reject: the training failed; its last log lines are in the evidence.
        OutOfResources: the subprocess was killed, or had no disk, memory or GPU, it seems.
        LeaseLost: a later run of the job has begun.
        Draining: the subprocess was asked to end. And what `ending` returned.
    """
    _check_model(job, settings)
    check_job(job)
    machine = trainer(settings)
    job, weights = decided(job, on_gpu=on_gpu(machine))
    bits = "in 4 bits" if weights.quantized else "not in 4 bits"
    log.info(f"language model {bits}", job=job.id, reason=weights.why)
    on_line(f"language model {bits}: {weights.why}")
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
        judging = Judging(job, settings, store, registry, workdir, progress)
        data_sha256, rows = _read_data(job, store, progress)
        parent = _fetch_parent(job, registry, workdir, progress)
        if parent is not None:
            job = job.model_copy(update={"rank": rank_of(workdir / "parent") or job.rank})
        sets, unknown = learned_before(job, parent, registry)
        chosen = choose_replay(job, sets, rows, store, progress)
        unplanned = check_fits(job, settings, machine, rows, chosen.rows)
        if unplanned is not None:
            log.warning(unplanned, job=job.id)
            on_line(unplanned)
        skipped = _fetch_videos(job, rows, store, workdir, progress, settings.max_video_bytes)
        judging.fetch()
        earlier = fetch_replay(chosen, store, workdir, progress, settings.max_video_bytes)
        told = (note_on_reference(job), weights.note, unplanned, unknown, *skipped, *earlier.notes)
        notes = tuple(note for note in told if note)
        progress.tick("resume")
        data = _digest_of_what_is_trained(workdir, quantized=weights.quantized)
        step = checkpoints.fetch(data, workdir / "checkpoint", lambda: progress.tick("resume"))
        log.info("training begins", job=job.id, after_step=step, run=checkpoints.epoch)
        keeping = Keeping(
            workdir / "checkpoints",
            lambda step, folder, check: checkpoints.add(step, data, folder, check),
            progress.stop,
        )
        result = train_apart(job, settings, workdir, progress, on_event, keeping, ending, on_line)
        manifest = _describe(
            job, result, parent, data_sha256, earlier.replayed, workdir / "adapter", notes
        )
        verdict, unjudged = None, ""
        try:
            verdict = judging.verdict(
                manifest,
                partial(judge_apart, job, settings, workdir, progress, on_event, ending, on_line),
            )
        except Reject as error:  # what was trained for hours is kept all the same
            unjudged = not_judged(error)
        progress.tick("publish")
        check()
        registry.publish(manifest, workdir / "adapter", lambda: progress.tick("publish"), check)
        if verdict is not None:
            judging.keep(verdict, manifest)
    check()
    why_not_activated = unjudged or _activate_if_better(job, manifest, registry, seen, verdict)
    # As published: a repeated run finds the manifest of the first.
    return registry.manifest(manifest.base.weights_sha256, manifest.version), why_not_activated


def not_judged(error: Reject) -> str:
    return f"it could not be judged: {error}"


def _digest_of_what_is_trained(workdir: Path, *, quantized: bool) -> str:
    """Of all that is trained on, in its order, its own rows and the earlier ones; and on what: on
    other weights nobody goes on, where another trainer has no GPU or no bitsandbytes."""
    found = hashlib.sha256(b"4 bits\0" if quantized else b"")
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


def _read_data(job: TrainJob, store: ObjectStore, progress: Progress) -> tuple[str, list[Row]]:
    """The SHA-256 of the manifest, and its rows, with their splits. Raises BadData."""
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
    return hashlib.sha256(body).hexdigest(), rows


def _fetch_videos(
    job: TrainJob,
    rows: Sequence[Row],
    store: ObjectStore,
    workdir: Path,
    progress: Progress,
    most: int,
) -> tuple[str, ...]:
    """Videos into WORKDIR/videos, and a manifest that names them there.

    Args:
        most: bytes that a video may have.

    Returns:
        A note for each reason why rows are left out.

    Raises:
        BadData: naming the row whose video is not there, is too large, or is another one.
    """
    progress.tick("download")
    firsts = first_rows(rows)
    (workdir / "videos").mkdir()
    local = {uri: f"videos/{i:06}{Path(uri).suffix}" for i, uri in enumerate(firsts)}

    def fetch(row: Row) -> BadData | None:
        """Why it cannot be had."""
        path = workdir / local[row.media.uri]
        bucket, key = parse_uri(absolute(job.data, row.media.uri))
        try:
            store.download(bucket, key, path, most, lambda: progress.tick("download"))
            check_content(row, path)
        except Missing as error:
            return BadData(f"row {row.id!r}: {error}", cure="Upload the video, or remove its rows.")
        except TooLarge as error:
            return BadData(f"row {row.id!r}: {error}", cure=TooLarge.cure)
        except BadData as error:
            return error
        except Reject as error:
            if not job.skip_unfit:
                raise
            return BadData(f"row {row.id!r}: {error}", cure=error.cure)
        return None

    lacking: dict[str, BadData] = {}
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        for uri, error in zip(firsts, pool.map(fetch, firsts.values()), strict=True):
            progress.tick("download")
            if error is not None and not job.skip_unfit:
                raise error
            if error is not None:
                lacking[uri] = error
    there, notes = _without(rows, lacking)
    here = (row.with_media(uri=local[row.media.uri]) for row in there)
    copies: dict[str, BadData] = {}
    names = {name: uri for uri, name in local.items()}
    for row, error in on_both_sides(here, workdir, lambda: progress.tick("download")):
        if not job.skip_unfit:
            raise error
        copies[names[row.media.uri]] = error
    there, more = _without(there, copies)
    moved = [row.with_media(uri=local[row.media.uri]) for row in there]
    (workdir / "manifest.jsonl").write_bytes(written(moved, "manifest.jsonl"))
    return (*notes, *more)


def _without(
    rows: Sequence[Row], faults: Mapping[str, BadData]
) -> tuple[Sequence[Row], tuple[str, ...]]:
    """Those of other videos than these, with their splits, and a note.

    Raises:
        BadData: there are no others.
    """
    if not faults:
        return rows, ()
    others = [row for row in rows if row.media.uri not in faults]
    first = next(iter(faults.values()))
    if not others:
        raise first
    return with_splits(others), (note_skipped(len(rows) - len(others), len(rows), first),)


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


def rank_of(parent: Path) -> int | None:
    """Of the adapter that a job goes on from, which counts instead of the job's own; None: it does
    not say so, and the training, which reads all of it, will tell what is wrong."""
    try:
        rank = json.loads((parent / "adapter_config.json").read_bytes())["r"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return rank if type(rank) is int and rank > 0 else None


def _describe(
    job: TrainJob,
    result: dict[str, Any],
    parent: AdapterManifest | None,
    data_sha256: str,
    replayed: tuple[Replayed, ...],
    directory: Path,
    notes: tuple[str, ...],
) -> AdapterManifest:
    base = ModelIdentity.model_validate(result["base"])
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
        notes=(*notes, *result.get("notes", ())),
        train_job=job,
        libraries=result["libraries"],
        created_at=datetime.now(UTC),
    )


def _why_not(manifest: AdapterManifest, verdict: Verdict | None, in_use: str | None) -> str | None:
    """Why it is not better than what is in use, as far as anybody knows; None = it is."""
    if verdict is not None:
        return verdict.why_not or why_not_against(verdict.judged, in_use)
    return why_not(manifest.metrics) or why_not_comparable(
        manifest.version, manifest.parent, in_use
    )


def _activate_if_better(
    job: TrainJob,
    manifest: AdapterManifest,
    registry: Registry,
    seen: Mapping[str, Pointer],
    verdict: Verdict | None = None,
) -> str | None:
    """Why it was not activated; None = it is in use.

    Args:
        verdict: by a policy, which then decides; it may want a canary first.
        paired: captioners keep what they saw of videos, so that a canary costs little.
    """
    facts = {"job": job.id, "version": manifest.version, **manifest.metrics}
    base = manifest.base.weights_sha256
    before = seen.get(base_name(base)) or never_moved()
    share = verdict.policy.canary if verdict else None
    for _ in swaps(f"the pointer of {base}"):
        reason: str | None = "the job does not ask for it"
        if job.activate:
            now = registry.pointer(base)
            if now.version == manifest.version:
                log.info("adapter is in use already", **facts)
                return None
            if now.canary is not None and now.canary.version == manifest.version:
                return on_trial(now.canary.share)
            reason = _why_not(manifest, verdict, now.version) or why_moved(before, now)
        if reason is not None:
            log.warning("adapter published, not activated", reason=reason, **facts)
            return reason
        try:
            if share is None:
                moved = registry.activate(base, manifest.version, over=now)
                log.info("adapter published and activated", generation=moved.generation, **facts)
                return None
            why = "the policy lets it pass"
            moved = registry.begin_canary(
                base, manifest.version, share, paired=True, by="gate", why=why, over=now
            )
        except Conflict:
            continue  # something else was put to use meanwhile: was it compared with that?
        except Reject as error:
            log.warning("adapter published, not on trial", reason=str(error), **facts)
            return str(error)  # another one is on trial
        log.info("adapter published and on trial", generation=moved.generation, **facts)
        return on_trial(share)
    raise AssertionError("the last swap returns or raises")
