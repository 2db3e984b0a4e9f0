"""A TrainJob through the real trainer subprocess and a real S3 API: what it leaves behind."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import SafetensorError

from infra.local.stack import DEMO_MODEL
from shared.bucket.checkpoints import Checkpoints
from shared.bucket.registry import ADAPTER_FILES, Registry
from shared.bucket.reports import POLICY
from shared.cards import Gpu
from shared.errors import (
    Archived,
    BadData,
    DoesNotFit,
    LeaseLost,
    Missing,
    OutOfResources,
    Reject,
    Retry,
)
from shared.messages import ModelIdentity
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from shared.settings import Settings
from shared.training import AdapterManifest, Pointer, TrainJob
from tests.adapters import publish
from tests.sick import full_disk
from tests.training import fetch_data, fill, make_job, make_videos, sft_rows, trained
from tests.waiting import SLOWEST
from tests.world import World
from workers.model.adapter_files import WEIGHTS_FILE
from workers.progress import Progress
from workers.train.data import kept_rows, read_rows
from workers.train.fitting import check_fits, trainer
from workers.train.job import _fetch_videos, _read_data, run_train_job
from workers.train.manifest import written
from workers.train.own_process import Event
from workers.train.run import lacks_something, main

pytestmark = [pytest.mark.integration, pytest.mark.model]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_videos(tmp_path_factory.mktemp("videos"))


class Bucket:
    """A training set in S3, and room for adapters."""

    def __init__(self, world: World, videos: dict[str, Path], rows: list[dict[str, Any]]) -> None:
        self.store, self.name = world.store, world.output
        self.folder = f"training-{uuid.uuid4().hex[:8]}/"
        for name, path in videos.items():
            self.store.upload(path, self.name, f"{self.folder}set/clips/{name}.mp4")
        relative = [{**row, "videos": [{"uri": f"clips/{row['id']}.mp4"}]} for row in rows]
        self.manifest = "\n".join(json.dumps(row) for row in relative).encode()
        self.store.put(self.name, f"{self.folder}set/manifest.jsonl", self.manifest)
        self.registry = Registry(self.store, self.name, self.folder)

    def run_of(self, job: TrainJob) -> Checkpoints:
        return Checkpoints(self.store, self.name, self.folder, job.id, "worker", lambda: None)

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/{self.folder}"


@pytest.fixture
def bucket(world: World, videos: dict[str, Path]) -> Bucket:
    return Bucket(world, videos, sft_rows(videos))


@pytest.fixture
def settings(tmp_path: Path, bucket: Bucket) -> Settings:
    return _settings(bucket, tmp_path)


def _settings(bucket: Bucket, tmp_path: Path) -> Settings:
    return Settings(
        model="jamak/tiny",
        model_revision="r1",
        model_path=DEMO_MODEL,
        scratch_dir=tmp_path,
        output=bucket.uri,
    )


def _run(
    job: TrainJob,
    settings: Settings,
    bucket: Bucket,
    progress: Progress | None = None,
    check: Callable[[], None] = lambda: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[AdapterManifest, str | None]:
    job = job.model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    return run_train_job(
        job,
        settings,
        bucket.store,
        bucket.registry,
        progress or Progress(),
        check,
        bucket.registry.pointers(),
        bucket.run_of(job),
        on_event,
    )


def test_a_job_publishes_a_version_and_moves_the_pointer_to_it(
    world: World, videos: dict[str, Path], tmp_path: Path
) -> None:
    # Nine of the twelve held out: so many prove that it got better.
    bucket = Bucket(world, videos, sft_rows(videos, held_out="123"))
    settings = _settings(bucket, tmp_path)
    progress = Progress()
    events: list[Event] = []
    manifest, why_not = _run(make_job(), settings, bucket, progress, on_event=events.append)
    base = manifest.base.weights_sha256
    assert why_not is None
    assert (manifest.metrics["n_better"], manifest.metrics["n_eval_videos"]) == (9, 9)
    trained = [event for event in events if event["stage"] == "train"]
    assert [event["step"] for event in trained] == list(range(1, 61))
    assert all(event["loss"] > 0 for event in trained)
    # Three rows of about thirty tokens, twice over, and the same ones in every step.
    assert {event["tokens"] for event in trained} == {trained[0]["tokens"]}
    assert trained[0]["tokens"] > 6 * 20
    assert all(event["seconds"] > 0 and event["grad_norm"] > 0 for event in trained)
    assert "mean_token_accuracy" in trained[0]["metrics"]
    assert bucket.registry.pointer(base).version == manifest.version
    assert manifest.metrics["exact_after"] == 1
    assert manifest.data_sha256 == hashlib.sha256(bucket.manifest).hexdigest()
    listed = bucket.store.list(bucket.name, f"{bucket.folder}adapters/")
    published = {Path(item.key).name for item in listed}
    assert published == {*ADAPTER_FILES, "manifest.json", "active.json"}
    assert bucket.registry.download(base, manifest.version, tmp_path / "fetched") == manifest
    bucket.registry.rollback(base)
    assert bucket.registry.pointer(base).version is None
    stages = list(progress.timings_s())
    assert stages == ["download", "resume", "load", "frames", "before", "train", "after", "publish"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith("jamak-train-")] == []


def test_a_job_for_another_model_is_rejected_by_name(settings: Settings, bucket: Bucket) -> None:
    with pytest.raises(BadData, match=r"trains jamak/other .* serves jamak/tiny"):
        _run(make_job(model="jamak/other"), settings, bucket)


def test_a_video_that_cannot_be_read_is_named(settings: Settings, bucket: Bucket) -> None:
    bucket.store.put(bucket.name, f"{bucket.folder}set/clips/빨간1.mp4", b"no video")
    with pytest.raises(BadData, match="row '빨간1': its video cannot be used"):
        _run(make_job(), settings, bucket)


def test_a_video_that_is_not_there_is_named(settings: Settings, bucket: Bucket) -> None:
    bucket.store.delete(bucket.name, f"{bucket.folder}set/clips/파란2.mp4")
    with pytest.raises(BadData, match=r"row '파란2': s3://.*/set/clips/파란2.mp4"):
        _run(make_job(), settings, bucket)


@pytest.fixture
def large(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The 7B model on a T4, known by its config.json alone."""
    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "intermediate_size": 4096,
        "image_size": 336,
        "patch_size": 14,
    }
    config = {"model_type": "llava_next_video", "text_config": text, "vision_config": vision}
    (tmp_path / "config.json").write_text(json.dumps(config))
    t4 = Gpu("Tesla T4", 15.0, 7.5)
    monkeypatch.setattr("workers.train.fitting.detect_gpu", lambda: t4)
    return settings.model_copy(update={"model_path": tmp_path, "device": "auto"})


def test_a_training_that_cannot_fit_its_card_fetches_no_video(
    large: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket.store, "download", None)
    with pytest.raises(DoesNotFit, match="can be used here") as caught:
        _run(make_job(batch_size=8, quantized=False), large, bucket)
    assert "--quantized" in caught.value.cure


@pytest.mark.parametrize(
    ("rank", "syllables", "fits"), [(8, 5, True), (256, 5, False), (8, 900, False)]
)
def test_a_job_is_planned_with_the_rank_of_its_adapter_and_with_what_it_replays(
    large: Settings,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    syllables: int,
    fits: bool,
) -> None:
    for name, body in (("adapter_config.json", json.dumps({"r": rank})), (WEIGHTS_FILE, "")):
        (tmp_path / name).write_text(body)
    rows = [
        {"id": n, "videos": [{"uri": f"clips/{n}.mp4"}], "completion": "가" * syllables, "split": s}
        for n, s in (("빨간0", "train"), ("파란3", "eval"))
    ]
    earlier = f"{bucket.folder}set/earlier.jsonl"
    bucket.store.put(bucket.name, earlier, "\n".join(map(json.dumps, rows)).encode())
    base = ModelIdentity(id="jamak/tiny", revision="r1", weights_sha256="a" * 64)
    data = f"s3://{bucket.name}/{earlier}"
    parent = publish(bucket.registry, tmp_path, base, data=data, train_job=make_job(data=data))
    monkeypatch.setattr("workers.train.job.train_apart", lambda *args: trained(*args, "content"))
    progress = Progress()
    job = make_job(start_from=parent.version, replay_share=0.25, quantized=True, rank=4)
    patient = large.model_copy(update={"max_syllables": 1000})
    if fits:
        manifest, _ = _run(job, patient, bucket, progress)
        assert manifest.train_job.rank == rank
        assert list(progress.timings_s())[:3] == ["download", "parent", "replay"]
        assert [(one.data, one.rows) for one in manifest.replayed] == [(data, 1)]
        return
    fetched: list[str] = []
    download = bucket.store.download
    monkeypatch.setattr(
        bucket.store, "download", lambda *args: (fetched.append(args[1]), download(*args))
    )
    with pytest.raises(DoesNotFit):
        _run(job, patient, bucket, progress)
    assert [Path(key).name for key in sorted(fetched)] == sorted(ADAPTER_FILES)


@pytest.mark.parametrize(("gpu", "quantized"), [(Gpu("NVIDIA L4", 22.2, 8.9), True), (None, False)])
def test_an_adapter_says_whether_it_was_trained_on_4_bit_weights(
    settings: Settings,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    gpu: Gpu | None,
    quantized: bool,
) -> None:
    """What the subprocess was told is what is recorded, though the job left it open."""
    jobs: list[TrainJob] = []

    def apart(job: TrainJob, *args: Any) -> dict[str, Any]:
        jobs.append(job)
        return trained(job, *args, "content")

    monkeypatch.setattr("workers.train.job.train_apart", apart)
    monkeypatch.setattr("workers.train.fitting.detect_gpu", lambda: gpu)
    monkeypatch.setattr("workers.train.quantizing.has_bitsandbytes", lambda: True)
    job = make_job()
    assert job.quantized is None
    manifest, _ = _run(job, settings.model_copy(update={"device": "auto"}), bucket)
    assert jobs == [manifest.train_job]
    assert manifest.train_job.quantized is quantized


def test_a_manifest_in_parquet_is_trained_on_as_one_in_lines(
    bucket: Bucket, tmp_path: Path
) -> None:
    rows = read_rows(bucket.manifest.decode(), "sft", BASE_PROMPT)
    manifests = []
    for name in ("manifest.jsonl", "manifest.parquet"):
        key, workdir = f"{bucket.folder}set/{name}", tmp_path / name
        bucket.store.put(bucket.name, key, written(rows, name))
        workdir.mkdir()
        job = make_job(data=f"s3://{bucket.name}/{key}")
        fetch_data(job, bucket.store, workdir, Progress(), 1 << 20)
        manifests.append((workdir / "manifest.jsonl").read_text())
    assert manifests[0] == manifests[1]
    assert len(read_rows(manifests[0], "sft", BASE_PROMPT)) == len(rows)


def test_whoever_waits_for_a_large_video_is_alive(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or for a slow bucket: it moves with each piece, not with each video."""
    monkeypatch.setattr("shared.bucket.storage._CHUNK_BYTES", 100)
    progress = Progress()
    job = make_job().model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    fetch_data(job, bucket.store, tmp_path, progress, 1 << 20)
    (count, *_) = progress.pulse
    pieces = sum(one.stat().st_size for one in (tmp_path / "videos").iterdir()) // 100
    assert count > pieces / 2  # they tick at once, and may count as one


def test_what_is_too_large_is_not_fetched(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job().model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    with pytest.raises(BadData, match=r"row '\w+': s3://\S+mp4 has \d+ bytes; it may have 10"):
        fetch_data(job, bucket.store, tmp_path, Progress(), 10)
    assert sum(one.stat().st_size for one in (tmp_path / "videos").iterdir()) == 0
    monkeypatch.setattr("workers.train.job.MOST_BYTES", 10)
    with pytest.raises(BadData, match="it may have 10, as a training manifest"):
        fetch_data(job, bucket.store, tmp_path, Progress(), 1 << 20)


def test_a_copy_under_another_name_is_not_trained_on_and_held_out(
    bucket: Bucket, videos: dict[str, Path], tmp_path: Path
) -> None:
    bucket.store.upload(videos["빨간0"], bucket.name, f"{bucket.folder}set/clips/파란3.mp4")
    job = make_job().model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    with pytest.raises(
        BadData, match="row '빨간0' trains on what row '파란3' evaluates on"
    ) as caught:
        fetch_data(job, bucket.store, tmp_path, Progress(), 1 << 20)
    assert "sha256" in caught.value.cure


def test_rows_whose_videos_cannot_be_had_are_left_out_if_the_job_says_so(
    bucket: Bucket, videos: dict[str, Path], tmp_path: Path
) -> None:
    bucket.store.delete(bucket.name, f"{bucket.folder}set/clips/파란2.mp4")
    bucket.store.upload(videos["빨간0"], bucket.name, f"{bucket.folder}set/clips/파란3.mp4")
    changes = {"data": f"{bucket.uri}set/manifest.jsonl", "skip_unfit": True}
    job = make_job().model_copy(update=changes)
    _, rows = _read_data(job, bucket.store, Progress())
    gone, copied = _fetch_videos(job, rows, bucket.store, tmp_path, Progress(), 1 << 20)
    assert gone.startswith(f"1 of {len(rows)} rows are left out") and "row '파란2'" in gone
    assert f"1 of {len(rows) - 1} rows" in copied and "row '빨간0' trains on what" in copied
    kept = {row.id: row.split for row in kept_rows(tmp_path / "manifest.jsonl")}
    assert kept == {row.id: row.split for row in rows if row.id not in ("파란2", "빨간0")}
    (tmp_path / "again").mkdir()
    with pytest.raises(BadData, match="it may have 10"):
        _fetch_videos(job, rows, bucket.store, tmp_path / "again", Progress(), 10)


def _archive(bucket: Bucket, name: str, path: Path) -> None:
    with bucket.store.client.asking(bucket.name, name) as s3:
        key = f"{bucket.folder}set/clips/{name}.mp4"
        s3.put_object(Bucket=bucket.name, Key=key, Body=path.read_bytes(), StorageClass="GLACIER")


def test_a_video_that_was_archived_is_left_out_like_one_that_is_gone(
    bucket: Bucket, videos: dict[str, Path], tmp_path: Path
) -> None:
    _archive(bucket, "파란2", videos["파란2"])
    job = make_job().model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    _, rows = _read_data(job, bucket.store, Progress())
    for skips in (False, True):
        job = job.model_copy(update={"skip_unfit": skips})
        (folder := tmp_path / str(skips)).mkdir()
        if skips:
            (note,) = _fetch_videos(job, rows, bucket.store, folder, Progress(), 1 << 20)
            assert "row '파란2'" in note and "archived" in note
        else:
            with pytest.raises(Archived):
                _fetch_videos(job, rows, bucket.store, folder, Progress(), 1 << 20)


def test_a_training_is_kept_that_cannot_be_judged(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[str] = []

    def apart(job: TrainJob, *rest: Any) -> dict[str, Any]:
        trainings.append(job.id)
        return trained(job, *rest, "content")

    def judged(*given: Any) -> None:
        raise BadData("row 'a' is too long", cure="Shorten it.")

    monkeypatch.setattr("workers.train.job.train_apart", apart)
    monkeypatch.setattr("workers.train.job.judge_apart", judged)
    policy = f"{bucket.folder}adapters/{POLICY}"
    bucket.store.put(
        bucket.name, policy, f"forgetting: {{data: {bucket.uri}set/gone.jsonl}}".encode()
    )
    with pytest.raises(Missing, match=r"set/gone\.jsonl"):
        _run(make_job(), settings, bucket)
    assert trainings == []  # what it needs afterwards is looked for before
    bucket.store.put(bucket.name, policy, b"{}")
    manifest, why = _run(make_job(), settings, bucket)
    assert why == "it could not be judged: row 'a' is too long"
    assert bucket.registry.manifest(manifest.base.weights_sha256, manifest.version) == manifest
    assert bucket.registry.pointer(manifest.base.weights_sha256).version is None


@pytest.mark.parametrize(("name", "words"), [("rejected", 700), ("prompt", 20_000)])
def test_a_row_that_no_model_has_room_for_needs_no_memory(
    large: Settings, name: str, words: int
) -> None:
    columns = {"chosen": "고양이", "rejected": "개", "prompt": BASE_PROMPT}
    rows = [
        Row.model_validate({"id": n, "videos": [{"uri": "a.mp4"}], **columns, **more})
        for n, more in (("s", {}), ("l", {name: f"{columns[name]} {'words ' * words}"}))
    ]
    job = make_job(stage="dpo", batch_size=2, quantized=True, skip_unfit=True)
    assert check_fits(job, large, trainer(large), rows) is None
    with pytest.raises(DoesNotFit):
        check_fits(job.model_copy(update={"skip_unfit": False}), large, trainer(large), rows)


def test_a_row_that_will_be_left_out_needs_no_memory(large: Settings) -> None:
    card = trainer(large)
    told = {"videos": [{"uri": "a.mp4"}], "prompt": BASE_PROMPT}
    texts = {"long": "words " * 4000, "short": "고양이"}
    rows = [Row.model_validate({"id": n, "completion": text, **told}) for n, text in texts.items()]
    job = make_job(batch_size=8, quantized=True)
    with pytest.raises(DoesNotFit):
        check_fits(job, large, card, rows)
    assert check_fits(job.model_copy(update={"skip_unfit": True}), large, card, rows) is None


def _instead_of_torch(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The subprocess runs this where it would import torch."""
    (folder / "path").mkdir()
    (folder / "path" / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "path"))


def test_a_failed_training_tells_its_last_words(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _instead_of_torch("raise RuntimeError('the driver is too old')", tmp_path, monkeypatch)
    with pytest.raises(Reject, match="RuntimeError: the driver is too old") as caught:
        _run(make_job(), settings, bucket)
    assert caught.value.evidence["log"][-1] == "RuntimeError: the driver is too old"


def test_a_job_of_several_processes_begins_with_their_launcher(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; print(*sys.orig_argv[2:4]); raise SystemExit(1)"
    _instead_of_torch(code, tmp_path, monkeypatch)
    for count, begun in ((1, "workers.train.run WORKDIR/"), (3, "workers.train.processes 3")):
        with pytest.raises(Reject) as caught:
            _run(make_job(processes=count), settings, bucket)
        assert caught.value.evidence["log"][0].startswith(begun)


def test_a_killed_training_may_be_tried_again(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _instead_of_torch("import os; os.kill(os.getpid(), 9)", tmp_path, monkeypatch)
    with pytest.raises(Retry, match="signal 9"):
        _run(make_job(), settings, bucket)


def test_a_training_that_lacks_something_here_may_be_tried_again(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('No space left on device'); raise SystemExit(75)"
    _instead_of_torch(code, tmp_path, monkeypatch)
    with pytest.raises(OutOfResources, match="lacks something on this machine:\nNo space left"):
        _run(make_job(), settings, bucket)


def test_a_training_that_lacks_memory_says_what_takes_less(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('torch.OutOfMemoryError: CUDA out of memory.'); raise SystemExit(75)"
    _instead_of_torch(code, tmp_path, monkeypatch)
    with pytest.raises(OutOfResources) as caught:
        _run(make_job(), settings, bucket)
    assert "lower batch_size or frames" in caught.value.cure


@pytest.mark.parametrize(
    ("given", "count", "seen"),
    [(None, 1, "0"), ("3,2", 1, "3"), ("GPU-a,GPU-b", 1, "GPU-a"), ("3,2", 2, "3,2")],
)
def test_one_process_sees_one_gpu(
    settings: Settings,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    count: int,
    seen: str,
) -> None:
    """Or transformers takes all of them, and TRL refuses that."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    code = "import os; print('sees', os.environ.get('CUDA_VISIBLE_DEVICES')); raise SystemExit(1)"
    _instead_of_torch(code, tmp_path, monkeypatch)
    on_any = settings.model_copy(update={"device": None})
    with pytest.raises(Reject) as caught:
        _run(make_job(processes=count), on_any, bucket)
    assert f"sees {seen}" in caught.value.evidence["log"]


def test_a_training_for_a_gpu_does_not_go_on_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(tmp_path / "job.json", tmp_path, gpu=True) == os.EX_TEMPFAIL


def test_what_a_machine_lacks_is_told_from_what_is_wrong_with_a_training(tmp_path: Path) -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        MemoryError(),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ):
        assert lacks_something(error, tmp_path)
    with pytest.raises(RuntimeError) as allocating:
        torch.empty(1 << 60)
    assert lacks_something(allocating.value, tmp_path)
    serializing = SafetensorError("Error while serializing: I/O error")
    assert not lacks_something(serializing, tmp_path)
    assert not lacks_something(OSError("no file named model.safetensors"), tmp_path)
    with full_disk():
        assert lacks_something(serializing, tmp_path)


class Stopping(Progress):
    """As a drain or a lost lease stops a job."""

    def tick(self, stage: str) -> None:
        super().tick(stage)
        if stage == "load":
            raise KeyboardInterrupt


@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_a_stopped_job_leaves_no_subprocess_and_no_files(
    settings: Settings,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    handler: str,
) -> None:
    """Neither a training that ends when it is asked to, nor one that does not."""
    code = (
        f"import signal, time; signal.signal(signal.SIGTERM, signal.{handler})\n"
        """print('{"stage": "load", "step": 0, "steps": 1}', flush=True); time.sleep(600)"""
    )
    _instead_of_torch(code, tmp_path, monkeypatch)
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        _run(make_job(), settings, bucket, Stopping())
    assert psutil.Process().children() == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith("jamak-train-")] == []


def test_the_subprocess_ends_when_its_parent_is_gone(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    fill(tmp_path, sft_rows(videos))
    (tmp_path / "job.json").write_text(make_job(steps=100_000).model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.train.run", tmp_path / "job.json", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdin is not None
        process.stdin.close()  # what the kernel does for a parent that was killed
        try:
            assert process.wait(10 * SLOWEST) == -signal.SIGKILL
        finally:
            process.kill()


def test_the_subprocess_ends_when_its_parent_stands_still() -> None:
    """Somebody else has the job then, and it is not trained twice at once."""
    code = "from workers.train.ending import end_with_parent; end_with_parent(0.3)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    with process:
        try:
            assert process.wait(30) == -signal.SIGKILL
        finally:
            process.kill()


def test_the_subprocess_hears_that_its_parent_goes_on(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.train.own_process.LOOK_S", 0.05)
    code = "import os, signal; signal.alarm(60); os.read(0, 1); os.read(0, 1); raise SystemExit(75)"
    _instead_of_torch(code, tmp_path, monkeypatch)
    with pytest.raises(OutOfResources, match="lacks something"):
        _run(make_job(), settings, bucket)


def test_who_lost_the_lease_publishes_nothing(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise LeaseLost("somebody else has it")

    monkeypatch.setattr("workers.train.job.train_apart", lambda *args: trained(*args, "content"))
    with pytest.raises(LeaseLost):
        _run(make_job(), settings, bucket, check=lost)
    assert list(bucket.store.list(bucket.name, f"{bucket.folder}adapters/")) == []


def test_who_loses_the_lease_while_it_publishes_has_published_nothing(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        if list(bucket.store.list(bucket.name, f"{bucket.folder}adapters/")):
            raise LeaseLost("somebody else has it")

    monkeypatch.setattr("workers.train.job.train_apart", lambda *args: trained(*args, "content"))
    with pytest.raises(LeaseLost):
        _run(make_job(), settings, bucket, check=lost)
    assert list(bucket.registry.bases()) == []


@pytest.mark.parametrize(
    ("changed", "wanted", "why_not"),
    [
        ({}, True, None),
        ({"exact_after": 0.4}, True, "the held-out captions got worse"),
        ({"chrf_after": 59.9}, True, "the held-out captions got worse"),
        ({"n_better": 0}, True, "are as good as before"),
        ({"n_eval_videos": 1, "n_better": 1}, True, "1 video is held out"),
        ({}, False, "the job does not ask for it"),
    ],
)
def test_the_pointer_moves_only_when_it_proved_to_be_better(
    settings: Settings,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, float],
    wanted: bool,
    why_not: str | None,
) -> None:
    monkeypatch.setattr(
        "workers.train.job.train_apart", lambda *args: trained(*args, "content", **changed)
    )
    manifest, told = _run(make_job(activate=wanted), settings, bucket)
    assert told == why_not if why_not is None else why_not in str(told)
    pointer = bucket.registry.pointer(manifest.base.weights_sha256)
    assert pointer.version == (manifest.version if why_not is None else None)
    # The same content again: the same version, and the first manifest stays.
    again, _ = _run(make_job(id="t2", activate=False), settings, bucket)
    assert again == manifest


def test_what_was_put_to_use_meanwhile_is_not_replaced_unseen(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = iter(("another training", "ours", "another training"))
    monkeypatch.setattr(
        "workers.train.job.train_apart", lambda *args: trained(*args, next(contents))
    )
    other, why_not = _run(make_job(id="t1"), settings, bucket)
    assert why_not is None
    mine, why_not = _run(make_job(id="t2"), settings, bucket)
    assert f"but {other.version} is in use" in str(why_not)
    base = mine.base.weights_sha256
    assert bucket.registry.pointer(base).version == other.version
    # Run again, a job finds itself in use.
    assert _run(make_job(id="t1"), settings, bucket)[1] is None


def test_what_is_put_to_use_at_the_last_moment_is_not_replaced_either(
    settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the gate's look at the pointer and the move."""
    contents = iter(("ours", "another training"))
    monkeypatch.setattr(
        "workers.train.job.train_apart", lambda *args: trained(*args, next(contents))
    )
    others: list[AdapterManifest] = []

    class Late(Registry):
        def pointer(self, base_sha256: str) -> Pointer:
            seen = super().pointer(base_sha256)
            if not others:
                others.append(_run(make_job(id="t2"), settings, bucket)[0])
            return seen

    job = make_job(data=f"{bucket.uri}set/manifest.jsonl")
    late = Late(bucket.store, bucket.name, bucket.folder)
    run = bucket.run_of(job)
    mine, why_not = run_train_job(
        job, settings, bucket.store, late, Progress(), lambda: None, {}, run
    )
    assert f"but {others[0].version} is in use" in str(why_not)
    assert late.pointer(mine.base.weights_sha256).version == others[0].version


@pytest.mark.parametrize(
    ("silent", "alive"),
    [("while True: pass", True), ("import time; time.sleep(600)", False)],
)
def test_a_silent_training_is_alive_while_it_computes(
    settings: Settings,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    silent: str,
    alive: bool,
) -> None:
    """Loading 7B takes minutes without a word. And when its lease is lost, it ends."""
    monkeypatch.setattr("workers.train.own_process.LOOK_S", 0.3)
    _instead_of_torch(
        """print('{"stage": "load", "step": 0, "steps": 1}', flush=True)\n""" + silent,
        tmp_path,
        monkeypatch,
    )
    progress = Progress()
    pulses: list[tuple[int, ...]] = []

    def watch() -> None:
        while progress.stage != "load":
            time.sleep(0.05)
        time.sleep(0.7)  # the first look counts as a move
        looks = 60 if alive else 6
        while len(pulses) < looks and len(set(pulses)) <= 3:
            pulses.append(progress.pulse)
            time.sleep(0.4)
        progress.stop(LeaseLost("gone"))

    thread = threading.Thread(target=watch)
    thread.start()
    with pytest.raises(LeaseLost):
        _run(make_job(), settings, bucket, progress)
    thread.join()
    assert (len(set(pulses)) > 3) == alive
