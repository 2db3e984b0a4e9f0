"""The subprocess that trains: `python -m workers.train.run JOB WORKDIR [--silent S] [--gpu]`.

    WORKDIR/model             in: a link to the checkpoint; without it, from the hub's cache
    WORKDIR/decoding.json     in: the limits of decoding, as the worker's settings have them
    WORKDIR/features.json     in: where what is seen of videos is kept, and how many bytes of it at
                              most; without it here, for this training alone
    WORKDIR/captions.json     in: how long captions may be, and in which language
    WORKDIR/manifest.jsonl    in: rows whose URIs are paths, relative to WORKDIR
    WORKDIR/replay.jsonl      in: earlier rows with such paths, if there are any; of any stage
    WORKDIR/parent/           in: the adapter to go on from and its manifest, if the job names one
    WORKDIR/checkpoint/       in: what to go on from, if there is something (saving.py)
    WORKDIR/checkpoints/STEP/ out: the state after a step
    WORKDIR/rows.jsonl        out: those of the manifest that it learns from or is examined on, with
                              their splits
    WORKDIR/told/             out: what people read of it, for its report (report.py)
    WORKDIR/adapter/          out: adapter_model.safetensors and adapter_config.json
    WORKDIR/result.json       out: {"base", "metrics", "libraries"}, or {"error"}

Where a job asks for several processes, each is one of these (processes.py); the first evaluates,
reports and saves. With --gpu it trains on one or not at all: on a CPU it would take days, and no
error would say why.
Progress goes to stdout, see report.py. A process of its own, because a trainer wants the main
thread, and because its memory is given back when it ends. It ends when its stdin does: with its
parent; and when nothing came there for S seconds, for then its parent stands still. At SIGTERM it
ends, too, but first it trains to the end of the step and keeps its state.
"""

import errno
import hashlib
import json
import os
import sys
import tempfile
import threading
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import set_seed

from shared.errors import BadAdapter, BadData, JamakError
from shared.messages import Decoding, ModelIdentity, decode
from shared.rows import Row, Stage
from shared.training import AdapterManifest, TrainJob
from shared.training_runs import Looked
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.checkpoint import find_checkpoint
from workers.model.loading import LoadedModel, load_model
from workers.model.memory import lacks_memory
from workers.model.selfcheck import check_model
from workers.train import ranks
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.data import (
    first_of_pixels,
    first_rows,
    keep_rows,
    kept_rows,
    note_skipped,
    read_rows,
    with_splits,
)
from workers.train.downloads import digest_of
from workers.train.ending import STOPPED, Ending, Stopped, end_with_parent
from workers.train.examine import Examined, examine, metrics_of
from workers.train.feature_files import FeatureFiles
from workers.train.memory import evaluated_at_once
from workers.train.mix import mixed, taught
from workers.train.report import report, tell_captions, tell_data
from workers.train.row_limits import check_limits
from workers.train.saving import Saving, looked_before
from workers.train.sayable import check_sayable
from workers.train.unfit import note_unfit, without_unfit
from workers.video.limits import Limits
from workers.video.pool import DecoderPool

HERE_BYTES = 1 << 40
"""Of features, where nothing is said: as much as the disk has."""
VIDEOS_EACH = 8
"""At least, of a decoder."""
SICK = os.EX_TEMPFAIL
"""This machine lacks what a training needs; the last lines of its log say what."""
LACKING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
)
PROBE_BYTES = 1 << 20
LIBRARIES = ("bitsandbytes", "peft", "torch", "transformers", "trl")


@dataclass(frozen=True)
class TrainResult:
    base: ModelIdentity
    metrics: dict[str, float]
    notes: tuple[str, ...] = ()
    """What was not as one would expect of such a job."""


def train(job: TrainJob, workdir: Path, ending: Ending | None = None) -> TrainResult:
    """Dataset, trainer, train, save.

    Raises:
        BadData: the manifest, a video of it or the parent adapter cannot be used.
        ConfigError: the base model cannot.
        Diverged: it came to no numbers any more.
        Stopped: it was asked to end.
        SystemExit: the first process of this training does the rest.
    """
    report("load", 0, 1)
    _check_gpus(job)
    decoding = captions_asked(workdir)
    rows = with_splits(
        read_rows((workdir / "manifest.jsonl").read_text(encoding="utf-8"), job.stage, job.prompt)
    )
    earlier = _earlier(workdir / "replay.jsonl", job)
    every = [*rows, *earlier]
    decoders = decoders_for(workdir, len(first_of_pixels(every)))
    with closing(decoders), _at_once(job, decoders, goes_on=(workdir / "checkpoint").exists()):
        loaded = load_base(job, workdir / "model")
        check_model(loaded)
        if not job.skip_unfit:
            check_sayable(loaded.tokenizer, rows)
            check_limits(rows, loaded.tokenizer, decoding)
        parent = _parent(job, loaded, workdir / "parent")
        report("load", 1, 1)

        clips = Clips(every, workdir, decoders, loaded, features_of(workdir), frames=job.frames)
        needed = set() if job.skip_unfit else {row.media.key for row in rows}
        spare = {row.media.key for row in every} - needed
        unreadable = clips.prepare(
            lambda done, total: report("frames", done, total), spare, looked_before(workdir)
        )
        encoder = Encoder(loaded, clips)
        held_out = _held_out(rows)
        rows, notes = _learnable(rows, job, encoder, decoding, unreadable)
        if _held_out(rows) - held_out:
            earlier, copies = _without_copies(earlier, rows, workdir)
            notes = (*notes, *copies)
        earlier, told = without_unfit(earlier, encoder, decoding, unreadable, note_unfit)
        if ranks.is_first():
            tell_data(workdir, rows, earlier)
            keep_rows(workdir / "rows.jsonl", rows)
        ending = ending or Ending()
        result = _trained(job, workdir, rows, earlier, encoder, parent, ending, clips.looked)
        return replace(result, notes=(*notes, *told))


@contextmanager
def _at_once(job: TrainJob, decoders: DecoderPool, *, goes_on: bool) -> Iterator[None]:
    """What goes on has looked at its data before, and its first step comes as soon as the model is
    there: what that step needs is brought up meanwhile."""
    if not goes_on:
        yield
        return
    coming = threading.Thread(target=_bring_up, args=(decoders,), name="decoders")
    coming.start()
    try:
        _trainer(job.stage)
        yield
    finally:
        coming.join()


def _bring_up(decoders: DecoderPool) -> None:
    with suppress(JamakError):  # whoever wants a decoder is told
        decoders.bring_up()


def _learnable(
    rows: list[Row],
    job: TrainJob,
    encoder: Encoder,
    decoding: Decoding,
    unreadable: Mapping[str, BadData],
) -> tuple[list[Row], tuple[str, ...]]:
    """The job's own rows, and a note if some are left out."""
    if not job.skip_unfit:
        encoder.check_lengths(rows)
        return rows, ()
    fit, notes = without_unfit(rows, encoder, decoding, unreadable, note_skipped, unsaid=True)
    if not fit:
        raise BadData(notes[0], cure="Mend the rows, or the limits that they are beyond.")
    return with_splits(fit), notes


def _held_out(rows: Sequence[Row]) -> set[str]:
    return {row.media.uri for row in rows if row.split == "eval"}


def _without_copies(
    earlier: Sequence[Row], rows: Sequence[Row], workdir: Path
) -> tuple[list[Row], tuple[str, ...]]:
    """Of what is held out now, and was not when the earlier rows were chosen; and a note."""
    known = {digest_of(workdir / uri) for uri in _held_out(rows)}
    copies = {uri for uri in first_rows(earlier) if digest_of(workdir / uri) in known}
    fit = [row for row in earlier if row.media.uri not in copies]
    gone = [row for row in earlier if row.media.uri in copies]
    why = [BadData(f"row {row.id!r} shows what is held out now", cure="") for row in gone[:1]]
    return fit, tuple(note_unfit(len(gone), len(earlier), error) for error in why)


def _digest_of(rows: Sequence[Row]) -> str:
    """Which they are, on which side; what they say is the manifest's."""
    told = [[row.id, row.split] for row in rows]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _trained(
    job: TrainJob,
    workdir: Path,
    rows: list[Row],
    earlier: list[Row],
    encoder: Encoder,
    parent: Adapter | None,
    ending: Ending,
    looked: Looked,
) -> TrainResult:
    # peft and TRL are loaded here: what is wrong with the data is known without them, and sooner.
    from workers.train.adapter import save_adapter, with_adapter

    new = [row for row in rows if row.split == "train"]
    train_rows = mixed(new, earlier, job.replay_share)
    eval_rows = [row for row in rows if row.split == "eval"]
    set_seed(job.seed)
    model = with_adapter(encoder.loaded, job, parent)

    def examined(when: str) -> Examined:
        return examine(
            model,
            encoder,
            eval_rows,
            lambda done, total: report(when, done, total),
            evaluated_at_once(job.batch_size),
        )

    saving = Saving(
        workdir,
        encoder.loaded.identity.weights_sha256,
        ending,
        encoder.lengths(train_rows, job),
        _digest_of([*rows, *earlier]),
        looked,
    )
    if ranks.is_first():
        saving.before = saving.before or examined("before")
        tell_captions(workdir, "before", saving.before.captions)
    losses = _trainer(job.stage)(model, encoder, train_rows, job, saving)
    before = saving.before
    if before is None or not ranks.is_first():
        raise SystemExit(0)
    after = examined("after")
    tell_captions(workdir, "after", after.captions)
    tenth = max(1, len(losses) // 10)
    metrics = {
        **metrics_of(job.stage, eval_rows, before, after),
        "loss_first": fmean(losses[:tenth]),
        "loss_last": fmean(losses[-tenth:]),
        "n_train": len(new),
        "n_replayed": len(earlier),
    }
    save_adapter(model, job, workdir / "adapter")
    return TrainResult(base=encoder.loaded.identity, metrics=metrics)


def features_of(workdir: Path) -> FeatureFiles:
    told = workdir / "features.json"
    if not told.exists():
        return FeatureFiles(workdir / "features", HERE_BYTES)
    where = json.loads(told.read_text(encoding="utf-8"))
    return FeatureFiles(Path(where["folder"]), where["most_bytes"])


def _earlier(path: Path, job: TrainJob) -> list[Row]:
    """As rows of this stage. Written by workers/train/replay.py, which has checked them."""
    if not path.exists():
        return []
    return [row for one in kept_rows(path) if (row := taught(one, job)) is not None]


def captions_asked(workdir: Path) -> Decoding:
    return decode(Decoding, (workdir / "captions.json").read_text(encoding="utf-8"))


def load_base(job: TrainJob, local: Path) -> LoadedModel:
    checkpoint = find_checkpoint(job.model, job.revision, local if local.is_symlink() else None)
    if not torch.cuda.is_available():
        device, dtype = "cpu", "float32"
    elif torch.cuda.is_bf16_supported(including_emulation=False):
        device, dtype = ranks.gpu(), "bfloat16"
    else:
        device, dtype = ranks.gpu(), "float16"
    return load_model(
        checkpoint,
        model_id=job.model,
        revision=job.revision,
        device=device,
        dtype=dtype,
        quantized=bool(job.quantized),
    )


def _check_gpus(job: TrainJob) -> None:
    """Raises BadData: it asks for more than there are. On CPUs processes share them."""
    there = torch.cuda.device_count()
    if 0 < there < job.processes:
        raise BadData(
            f"the job asks for {job.processes} processes, each with a GPU; here are {there}",
            cure="Ask for as many as the trainer has GPUs.",
        )


def decoders_for(workdir: Path, videos: int) -> DecoderPool:
    """As captions have them, and as many as help: to start one takes as long as some videos."""
    told = json.loads((workdir / "decoding.json").read_text(encoding="utf-8"))
    return DecoderPool(
        min(os.cpu_count() or 1, -(-videos // VIDEOS_EACH)),
        Limits(**told["limits"]),
        told["memory_bytes"],
        workdir,
        told["isolated"],
    )


def _parent(job: TrainJob, loaded: LoadedModel, directory: Path) -> Adapter | None:
    """Raises BadData: it was trained on other weights, or is no adapter of ours."""
    if job.start_from is None:
        return None
    manifest = decode(AdapterManifest, (directory / "manifest.json").read_text(encoding="utf-8"))
    cure = "Start from an adapter of this base model, or from none."
    if manifest.base.weights_sha256 != loaded.identity.weights_sha256:
        raise BadData(
            f"adapter {manifest.version} was trained on {manifest.base.id} (revision "
            f"{manifest.base.revision}), whose weights are not those of {job.model} (revision "
            f"{job.revision}) here",
            cure=cure,
        )
    try:
        return read_adapter(manifest.version, directory, AdapterShape.of(loaded.model))
    except BadAdapter as error:
        raise BadData(str(error), cure=cure) from error


def _trainer(stage: Stage) -> Callable[[Any, Encoder, list[Row], TrainJob, Saving], list[float]]:
    """TRL takes a second to load."""
    if stage == "dpo":
        from workers.train.dpo import train_dpo

        return train_dpo
    if stage == "kto":
        from workers.train.kto import train_kto

        return train_kto
    from workers.train.sft import train_sft

    return train_sft


def main(
    job_file: Path,
    workdir: Path,
    *,
    gpu: bool,
    work: Callable[[TrainJob, Path, Ending], dict[str, Any]] | None = None,
) -> int:
    """The exit status: 0 = result.json holds a result, 1 = it holds an error, SICK, STOPPED.

    Args:
        work: what is done, and its result; None = the training.
    """
    ranks.be_silent_unless_first()
    if gpu and not torch.cuda.is_available():
        print("there is no GPU here any more")
        return SICK
    ending = Ending()
    ending.listen()
    try:
        job = decode(TrainJob, job_file.read_text(encoding="utf-8"))
        result = (work or _training)(job, workdir, ending)
    except Stopped:
        return STOPPED
    except JamakError as error:
        told = {"reason": error.reason, "message": str(error), "cure": error.cure}
        tell_result(workdir, {"error": told})
        return 1
    except Exception as error:
        traceback.print_exc()
        return SICK if lacks_something(error, workdir) else 1
    tell_result(workdir, result)
    return 0


def _training(job: TrainJob, workdir: Path, ending: Ending) -> dict[str, Any]:
    result = train(job, workdir, ending)
    base = result.base.model_dump(mode="json")
    made: dict[str, Any] = {"base": base, "metrics": result.metrics, "notes": result.notes}
    return {**made, "libraries": _versions()}


def tell_result(workdir: Path, told: dict[str, Any]) -> None:
    """Whole or not at all: what is wrong with the data is told by each process, and the launcher
    ends the others when the first one has."""
    part = workdir / f"result.json.{ranks.rank()}"
    part.write_text(json.dumps(told), encoding="utf-8")
    part.replace(workdir / "result.json")


def lacks_something(error: Exception, workdir: Path) -> bool:
    """Disk, memory, files or the GPU: what is no fault of the training, it seems."""
    if isinstance(error, torch.AcceleratorError) or lacks_memory(error):
        return True
    if isinstance(error, OSError) and error.errno in LACKING:
        return True
    # What safetensors and torch say of a full disk is an error of their own.
    try:
        with tempfile.TemporaryFile(dir=workdir) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError:
        return True
    return False


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # bitsandbytes is for 4-bit weights alone
            found[name] = version(name)
    return found


def run(work: Callable[[TrainJob, Path, Ending], dict[str, Any]] | None = None) -> None:
    """As the command line says. Arguments as of `main`."""
    parser = ArgumentParser()
    parser.add_argument("job", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--silent", type=float)
    parser.add_argument("--gpu", action="store_true")
    told = parser.parse_args()
    threading.Thread(target=end_with_parent, args=(told.silent,), daemon=True).start()
    sys.exit(main(told.job, told.workdir, gpu=told.gpu, work=work))


if __name__ == "__main__":
    run()
