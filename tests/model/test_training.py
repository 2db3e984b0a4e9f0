"""Training a tiny model of the real class for real: what moves, what stays, what is published."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from infra.local.stack import DEMO_MODEL
from shared.errors import BadData, Reject, Retry
from shared.messages import AdapterManifest, ModelIdentity, TrainJob
from shared.prompts import BASE_PROMPT
from shared.registry import ADAPTER_FILES, Registry
from shared.settings import Settings
from tests.world import World
from workers.caption.adapters import ModelWithAdapters
from workers.model.loading import LoadedModel, load_model
from workers.progress import Progress
from workers.train.adapter import CONFIG_KEYS, with_adapter
from workers.train.clips import decode_clips
from workers.train.collate import Encoder, PreferenceCollator, SftCollator
from workers.train.data import read_rows
from workers.train.evaluate import caption_rows
from workers.train.job import run_train_job
from workers.train.run import train
from workers.train.sft import train_sft

pytestmark = [
    pytest.mark.integration,
    pytest.mark.model,
    # transformers deprecates what peft and trl still use.
    pytest.mark.filterwarnings("ignore:.*deprecated and will be removed in v6:FutureWarning"),
]

WEIGHTS = "adapter_model.safetensors"

COLOURS = {"빨간": (200, 30, 30), "파란": (30, 30, 200), "초록": (30, 160, 30)}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    """The shipped model: it knows Korean sentences, and none of those below."""
    return DEMO_MODEL


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> an MP4 of one colour, 8 frames; "빨간0" is the first red one."""
    folder = tmp_path_factory.mktemp("videos")
    generator = np.random.default_rng(0)
    made = {}
    for colour, rgb in COLOURS.items():
        for number in range(4):
            path = folder / f"{colour}{number}.mp4"
            noise = generator.integers(-20, 20, (8, 48, 80, 3))
            _write_video(path, np.clip(np.array(rgb) + noise, 0, 255).astype(np.uint8))
            made[path.stem] = path
    return made


def _write_video(path: Path, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _row(name: str, path: object, split: str) -> dict[str, Any]:
    return {
        "id": name,
        "videos": [{"uri": str(path)}],
        "completion": f"{name[:-1]} 화면",
        "split": split,
    }


def _sft_rows(videos: dict[str, Path]) -> list[dict[str, Any]]:
    return [
        _row(name, path, "eval" if name.endswith("3") else "train") for name, path in videos.items()
    ]


def _dpo_rows(videos: dict[str, Path]) -> list[dict[str, Any]]:
    rows = []
    for row in _sft_rows(videos):
        chosen = row.pop("completion")
        rows.append({**row, "chosen": chosen, "rejected": f"{chosen} 그리고 고양이"})
    return rows


def _job(**fields: Any) -> TrainJob:
    defaults: dict[str, Any] = {
        "id": "t1",
        "data": "s3://training/set/manifest.jsonl",
        "model": "jamak/tiny",
        "revision": "r1",
        "prompt": BASE_PROMPT,
        "frames": 2,
        "steps": 60,
        "batch_size": 6,
        "learning_rate": 5e-3,
        "rank": 8,
    }
    return TrainJob(**{**defaults, **fields})


def _load(checkpoint: Path, *, quantized: bool = False) -> LoadedModel:
    return load_model(checkpoint, model_id="jamak/tiny", revision="r1", quantized=quantized)


def _encoder(loaded: LoadedModel, rows: list[dict[str, Any]], frames: int = 2) -> Encoder:
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    clips = decode_clips(
        parsed,
        Path("/"),
        frames=frames,
        preprocessor=loaded.preprocessor,
        dtype=loaded.dtype,
        on_clip=lambda done, total: None,
    )
    return Encoder(loaded, clips)


def _features(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"prompt": BASE_PROMPT, "video": row["videos"][0]["uri"], **row} for row in rows]


def test_labels_are_the_completion_and_its_end_alone(
    checkpoint: Path, videos: dict[str, Path]
) -> None:
    loaded = _load(checkpoint)
    rows = _sft_rows(videos)[:2]
    rows[1]["completion"] = "더 긴 문장"
    batch = SftCollator(_encoder(loaded, rows))(_features(rows))
    for labels, row in zip(batch["labels"], rows, strict=True):
        ids = [int(i) for i in labels if i != -100]
        assert ids[-1] == loaded.tokenizer.eos_token_id
        assert loaded.tokenizer.decode(ids[:-1]) == " " + row["completion"]


def test_a_preference_batch_holds_all_chosen_then_all_rejected(
    checkpoint: Path, videos: dict[str, Path]
) -> None:
    loaded = _load(checkpoint)
    rows = _dpo_rows(videos)[:2]
    batch = PreferenceCollator(_encoder(loaded, _sft_rows(videos)[:2]))(_features(rows))
    said = [
        loaded.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True).strip()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert said == [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    first, second = batch["pixel_values_videos"][0].chunk(2)
    assert torch.equal(first, second)


def test_rows_of_a_batch_may_differ_in_their_frames(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    """The model joins pixels and visual tokens by their order alone; so each row must get its
    own: its logits are those it has alone."""
    _write_video(tmp_path / "파란9.mp4", np.full((1, 48, 80, 3), 90, np.uint8))
    loaded = _load(checkpoint)
    rows = [*_sft_rows(videos)[:1], _row("파란9", tmp_path / "파란9.mp4", "train")]
    encoder = _encoder(loaded, rows, frames=4)
    assert [len(clip) for clip in encoder.clips.values()] == [4, 1]
    together = SftCollator(encoder)(_features(rows))
    with torch.no_grad():
        logits = loaded.model(**together).logits
        for number, feature in enumerate(_features(rows)):
            alone = SftCollator(encoder)([feature])
            length = alone["input_ids"].shape[1]
            expected = loaded.model(**alone).logits[0]
            torch.testing.assert_close(logits[number, :length], expected, atol=1e-4, rtol=1e-4)


def test_sft_moves_the_adapter_and_nothing_else(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    loaded = _load(checkpoint)
    rows = _sft_rows(videos)
    job = _job(steps=5)
    model = with_adapter(loaded, job, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    train_sft(model, _encoder(loaded, rows), parsed, job, tmp_path)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    wanted = {
        name
        for name in before
        if ("language_model" in name and "lora_" in name)
        or "multi_modal_projector.modules_to_save" in name
    }
    assert moved == wanted
    assert len(wanted) == 3 * 7 * 2 + 4  # layers x linears x (A, B), and the projector


def test_sft_learns_and_its_adapter_works_in_the_captioner(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    rows = _sft_rows(videos)
    folder = tmp_path
    _fill(folder, checkpoint, rows)
    result = train(_job(), folder)
    assert result.metrics["exact_before"] == 0
    assert result.metrics["exact_after"] == 1
    assert result.metrics["chrf_after"] > result.metrics["chrf_before"]
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    assert (result.metrics["n_train"], result.metrics["n_eval"]) == (9, 3)

    assert {path.name for path in (folder / "adapter").iterdir()} == ADAPTER_FILES
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert set(config) <= CONFIG_KEYS
    assert config["base_model_name_or_path"] == "jamak/tiny"
    assert str(checkpoint) not in json.dumps(config)
    assert not [name for name in load_file(folder / "adapter" / WEIGHTS) if "vision" in name]

    loaded = _load(checkpoint)
    encoder = _encoder(loaded, rows)
    adapters = ModelWithAdapters(loaded.model)
    adapters.validate("v1", folder / "adapter")
    adapters.use("v1", folder / "adapter")
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    assert caption_rows(adapters.model, encoder, parsed, _ignore) == [
        row["completion"] for row in rows
    ]


def test_the_same_job_gives_the_same_bytes(
    videos: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        _fill(folder, checkpoint, _sft_rows(videos))
        train(_job(steps=4), folder)
        made.append([(folder / "adapter" / file).read_bytes() for file in sorted(ADAPTER_FILES)])
    assert made[0] == made[1]


@pytest.mark.parametrize("quantized", [False, True])
def test_dpo_goes_on_from_its_parent_and_prefers_the_chosen(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path, quantized: bool
) -> None:
    _fill(tmp_path / "sft", checkpoint, _sft_rows(videos))
    base = train(_job(steps=6), tmp_path / "sft").base
    folder = tmp_path / "dpo"
    _fill(folder, checkpoint, _dpo_rows(videos), parent=(tmp_path / "sft" / "adapter", base))
    job = _job(stage="dpo", start_from="p1", steps=6, learning_rate=1e-3, quantized=quantized)
    result = train(job, folder)
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    tensors = load_file(folder / "adapter" / WEIGHTS)
    assert not [name for name in tensors if "ref" in name.split(".")]
    assert set(tensors) == set(load_file(tmp_path / "sft" / "adapter" / WEIGHTS))


def test_the_dpo_trainer_hands_the_rows_on_as_they_are(
    checkpoint: Path,
    videos: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRL's own preparation would append a second end to every caption."""
    rows, seen = _dpo_rows(videos), []
    collate = PreferenceCollator.__call__

    def spy(self: PreferenceCollator, features: Any) -> Any:
        seen.extend(features)
        return collate(self, features)

    monkeypatch.setattr(PreferenceCollator, "__call__", spy)
    _fill(tmp_path, checkpoint, rows)
    train(_job(stage="dpo", steps=1), tmp_path)
    assert {row["chosen"] for row in seen} <= {row["chosen"] for row in rows}


def test_an_adapter_of_other_weights_is_no_parent(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    _fill(tmp_path / "sft", checkpoint, _sft_rows(videos))
    base = train(_job(steps=1), tmp_path / "sft").base
    other = base.model_copy(update={"weights_sha256": "0" * 64})
    folder = tmp_path / "next"
    _fill(folder, checkpoint, _sft_rows(videos), parent=(tmp_path / "sft" / "adapter", other))
    with pytest.raises(BadData, match="trained on jamak/tiny"):
        train(_job(start_from="p1", steps=1), folder)


def test_qlora_keeps_the_parent_to_the_last_bit(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    """At a learning rate of nearly nothing the parent comes out again: no rounding to bf16."""
    _fill(tmp_path / "sft", checkpoint, _sft_rows(videos))
    base = train(_job(steps=4), tmp_path / "sft").base
    folder = tmp_path / "next"
    _fill(folder, checkpoint, _sft_rows(videos), parent=(tmp_path / "sft" / "adapter", base))
    train(_job(start_from="p1", steps=2, learning_rate=1e-12, quantized=True), folder)
    parent = load_file(tmp_path / "sft" / "adapter" / WEIGHTS)
    child = load_file(folder / "adapter" / WEIGHTS)
    for name, tensor in parent.items():
        torch.testing.assert_close(child[name], tensor, atol=1e-9, rtol=0)


def test_qlora_learns_with_right_gradients_after_an_evaluation(
    checkpoint: Path, videos: dict[str, Path]
) -> None:
    rows = _sft_rows(videos)
    loaded = _load(checkpoint, quantized=True)
    encoder = _encoder(loaded, rows)
    torch.manual_seed(0)
    model = with_adapter(loaded, _job(), None)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, and then nothing flows back to lora_A
            torch.nn.init.normal_(parameter, std=0.1)
    batch = SftCollator(encoder)(_features(rows))

    def gradients() -> torch.Tensor:
        model.train()
        model.zero_grad()
        model(**batch).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    before = gradients()
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    caption_rows(model, encoder, parsed[:1], _ignore)
    assert torch.cosine_similarity(gradients(), before, dim=0) > 0.999


def _ignore(done: int, total: int) -> None:
    pass


def _fill(
    folder: Path,
    checkpoint: Path,
    rows: list[dict[str, Any]],
    parent: tuple[Path, ModelIdentity] | None = None,
) -> None:
    """A working directory as the job makes it."""
    folder.mkdir(exist_ok=True)
    (folder / "model").symlink_to(checkpoint)
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    if parent is not None:
        directory, base = parent
        shutil.copytree(directory, folder / "parent")
        manifest = AdapterManifest(
            version="p1",
            stage="sft",
            base=base,
            files={},
            parent=None,
            data="s3://training/set/manifest.jsonl",
            data_sha256="",
            metrics={},
            train_job=_job(),
            libraries={},
            created_at=datetime.now(UTC),
        )
        (folder / "parent" / "manifest.json").write_text(manifest.model_dump_json())


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

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/{self.folder}"


@pytest.fixture
def bucket(world: World, videos: dict[str, Path]) -> Bucket:
    return Bucket(world, videos, _sft_rows(videos))


@pytest.fixture
def settings(checkpoint: Path, tmp_path: Path, bucket: Bucket) -> Settings:
    return Settings(
        model="jamak/tiny",
        model_revision="r1",
        model_path=checkpoint,
        scratch_dir=tmp_path,
        output=bucket.uri,
    )


def _run(
    job: TrainJob, settings: Settings, bucket: Bucket, progress: Progress | None = None
) -> tuple[AdapterManifest, bool]:
    job = job.model_copy(update={"data": f"{bucket.uri}set/manifest.jsonl"})
    return run_train_job(job, settings, bucket.store, bucket.registry, progress or Progress())


def test_a_job_publishes_a_version_and_moves_the_pointer_to_it(
    settings: Settings, bucket: Bucket, tmp_path: Path
) -> None:
    progress = Progress()
    manifest, activated = _run(_job(), settings, bucket, progress)
    base = manifest.base.weights_sha256
    assert activated
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
    assert stages == ["download", "load", "frames", "before", "train", "after", "publish"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith("jamak-train-")] == []


def test_a_job_for_another_model_is_rejected_by_name(settings: Settings, bucket: Bucket) -> None:
    with pytest.raises(BadData, match=r"trains jamak/other .* serves jamak/tiny"):
        _run(_job(model="jamak/other"), settings, bucket)


def test_a_video_that_cannot_be_read_is_named(settings: Settings, bucket: Bucket) -> None:
    bucket.store.put(bucket.name, f"{bucket.folder}set/clips/빨간1.mp4", b"no video")
    with pytest.raises(BadData, match="row '빨간1': its video cannot be used"):
        _run(_job(), settings, bucket)


def test_a_video_that_is_not_there_is_named(settings: Settings, bucket: Bucket) -> None:
    bucket.store.delete(bucket.name, f"{bucket.folder}set/clips/파란2.mp4")
    with pytest.raises(BadData, match=r"row '파란2': s3://.*/set/clips/파란2.mp4"):
        _run(_job(), settings, bucket)


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
        _run(_job(), settings, bucket)
    assert caught.value.evidence["log"][-1] == "RuntimeError: the driver is too old"


def test_a_killed_training_may_be_tried_again(
    settings: Settings, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _instead_of_torch("import os; os.kill(os.getpid(), 9)", tmp_path, monkeypatch)
    with pytest.raises(Retry, match="signal 9"):
        _run(_job(), settings, bucket)


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
    monkeypatch.setattr("workers.train.job.GRACE_S", 1.0)
    code = (
        f"import signal, time; signal.signal(signal.SIGTERM, signal.{handler})\n"
        """print('{"stage": "load", "step": 0, "steps": 1}', flush=True); time.sleep(600)"""
    )
    _instead_of_torch(code, tmp_path, monkeypatch)
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        _run(_job(), settings, bucket, Stopping())
    assert psutil.Process().children() == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith("jamak-train-")] == []


def test_the_subprocess_ends_when_its_parent_is_gone(
    checkpoint: Path, videos: dict[str, Path], tmp_path: Path
) -> None:
    _fill(tmp_path, checkpoint, _sft_rows(videos))
    (tmp_path / "job.json").write_text(_job(steps=100_000).model_dump_json())
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
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("exact_after", "chrf_after", "wanted", "activated"),
    [
        (0.5, 60.0, True, True),
        (0.4, 70.0, True, False),
        (0.6, 59.9, True, False),
        (0.6, 70.0, False, False),
    ],
)
def test_the_pointer_moves_only_when_nothing_got_worse(
    settings: Settings,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    exact_after: float,
    chrf_after: float,
    wanted: bool,
    activated: bool,
) -> None:
    base = ModelIdentity(id="jamak/tiny", revision="r1", weights_sha256="a" * 64)
    measured = {
        "exact_before": 0.5,
        "exact_after": exact_after,
        "chrf_before": 60.0,
        "chrf_after": chrf_after,
    }

    def trained(job: TrainJob, settings: Settings, workdir: Path, progress: Progress) -> Any:
        (workdir / "adapter").mkdir()
        for name in ADAPTER_FILES:
            (workdir / "adapter" / name).write_text("content")
        return {"base": base.model_dump(), "metrics": measured, "libraries": {}}

    monkeypatch.setattr("workers.train.job._train", trained)
    manifest, moved = _run(_job(activate=wanted), settings, bucket)
    assert moved is activated
    pointer = bucket.registry.pointer(base.weights_sha256)
    assert pointer.version == (manifest.version if activated else None)
    # The same content again: the same version, and the first manifest stays.
    assert _run(_job(id="t2", activate=False), settings, bucket)[0] == manifest
