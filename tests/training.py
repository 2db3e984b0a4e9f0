"""A tiny training set: twelve films of three plain colours, and jobs that learn them."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from infra.demo.clips import write_film
from infra.local.stack import DEMO_MODEL
from shared.bucket.registry import ADAPTER_FILES
from shared.bucket.storage import ObjectStore
from shared.messages import Decoding, ModelIdentity
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from shared.settings import Settings
from shared.training import AdapterManifest, TrainJob
from workers.progress import Progress
from workers.train.data import keep_rows, read_rows, with_splits
from workers.train.job import _fetch_videos, _read_data

COLOURS = {"빨간": (200, 30, 30), "파란": (30, 30, 200), "초록색": (30, 160, 30)}


def make_videos(folder: Path) -> dict[str, Path]:
    """Name -> an MP4 of one colour, 8 frames; "빨간0" is the first red one."""
    generator = np.random.default_rng(0)
    made = {}
    for colour, rgb in COLOURS.items():
        for number in range(4):
            path = folder / f"{colour}{number}.mp4"
            noise = generator.integers(-20, 20, (8, 48, 80, 3))
            write_film(path, np.clip(np.array(rgb) + noise, 0, 255).astype(np.uint8), fps=8)
            made[path.stem] = path
    return made


def make_row(name: str, path: object, split: str) -> dict[str, Any]:
    return {
        "id": name,
        "videos": [{"uri": str(path)}],
        "completion": f"{name[:-1]} 배경에 아무것도 없습니다.",
        "split": split,
    }


def sft_rows(videos: dict[str, Path], held_out: str = "3") -> list[dict[str, Any]]:
    """Of each colour, those whose number is in `held_out` evaluate."""
    return [
        make_row(name, path, "eval" if name[-1] in held_out else "train")
        for name, path in videos.items()
    ]


def dpo_rows(videos: dict[str, Path]) -> list[dict[str, Any]]:
    rows = []
    for row in sft_rows(videos):
        chosen = row.pop("completion")
        rows.append({**row, "chosen": chosen, "rejected": f"{chosen} 그리고 고양이"})
    return rows


def kto_rows(videos: dict[str, Path]) -> list[dict[str, Any]]:
    """Of each video a caption that was liked, and one that was not."""
    rows = []
    for row in sft_rows(videos):
        rows.append({**row, "label": True})
        worse = f"{row['completion']} 그리고 고양이"
        rows.append({**row, "id": f"{row['id']}-", "completion": worse, "label": False})
    return rows


def make_job(**fields: Any) -> TrainJob:
    defaults: dict[str, Any] = {
        "id": "t1",
        "data": "s3://training/set/manifest.jsonl",
        "model": "jamak/tiny",
        "revision": "r1",
        "prompt": BASE_PROMPT,
        "frames": 2,
        "steps": 60,
        "batch_size": 6,
        "learning_rate": 2e-3,
        "rank": 8,
    }
    return TrainJob(**{**defaults, **fields})


def fill(
    folder: Path,
    rows: list[dict[str, Any]],
    parent: tuple[Path, ModelIdentity] | None = None,
) -> None:
    """A working directory as the job makes it."""
    folder.mkdir(exist_ok=True)
    (folder / "model").symlink_to(DEMO_MODEL)
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    decoding = {"limits": {}, "memory_bytes": 2 << 30, "isolated": False}
    (folder / "decoding.json").write_text(json.dumps(decoding))
    (folder / "captions.json").write_text(Decoding(max_new_tokens=96).model_dump_json())
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
            train_job=make_job(),
            libraries={},
            created_at=datetime.now(UTC),
        )
        (folder / "parent" / "manifest.json").write_text(manifest.model_dump_json())


def fetch_data(
    job: TrainJob, store: ObjectStore, folder: Path, progress: Progress, most: int
) -> tuple[str, list[Row]]:
    """As a job does it, without asking whether it fits its card."""
    digest, rows = _read_data(job, store, progress)
    _fetch_videos(job, rows, store, folder, progress, most)
    return digest, rows


def trained(
    job: TrainJob, settings: Settings, workdir: Path, *more: Any, **changed: float
) -> dict[str, Any]:
    """What the subprocess leaves, with the scores of a good adapter. Last comes what is in its
    files."""
    *_, content = more
    (workdir / "adapter").mkdir()
    for name in ADAPTER_FILES:
        (workdir / "adapter" / name).write_text(content)
    rows = read_rows((workdir / "manifest.jsonl").read_text(), job.stage, job.prompt)
    keep_rows(workdir / "rows.jsonl", with_splits(rows))
    base = ModelIdentity(id="jamak/tiny", revision="r1", weights_sha256="a" * 64)
    measured = {
        "exact_before": 0.5,
        "exact_after": 0.6,
        "chrf_before": 60.0,
        "chrf_after": 70.0,
        "n_eval_videos": 8,
        "n_better": 8,
        "n_worse": 0,
        **changed,
    }
    return {"base": base.model_dump(), "metrics": measured, "libraries": {}}
