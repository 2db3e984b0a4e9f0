"""Random adapters for the tiny model, as training leaves and publishes them."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model

from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.messages import ModelIdentity
from shared.training import AdapterManifest, TrainJob
from tests.training import make_job
from workers.model.adapter_files import lora_config
from workers.model.loading import load_model
from workers.train.adapter import save_adapter


def make_adapter(checkpoint: Path, folder: Path, seed: int, rank: int = 8) -> Path:
    """A random adapter that moves the language model and the projector, as training leaves it."""
    torch.manual_seed(seed)
    model = get_peft_model(load_model(checkpoint, model_id="tests/tiny").model, lora_config(rank))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or ("modules_to_save" in name and parameter.ndim == 2):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    save_adapter(model, make_job(), folder / "adapter")
    return folder / "adapter"


def publish(
    registry: Registry, folder: Path, base: ModelIdentity, **fields: Any
) -> AdapterManifest:
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER_FILES
    }
    defaults: dict[str, Any] = {
        "version": version_of(files, base.weights_sha256),
        "stage": "sft",
        "base": base,
        "files": files,
        "parent": None,
        "data": "s3://data/manifest.jsonl",
        "data_sha256": "0" * 64,
        "metrics": {"exact_after": 1.0},
        "train_job": TrainJob(
            id="job", data="s3://data/manifest.jsonl", model=base.id, revision="1", prompt="p"
        ),
        "libraries": {},
        "created_at": datetime.now(UTC),
    }
    manifest = AdapterManifest(**{**defaults, **fields})
    registry.publish(manifest, folder)
    return manifest
