"""What the trainers of all stages have in common, as arguments of TRL's configurations."""

from pathlib import Path
from typing import Any

import torch

from shared.training import TrainJob
from workers.model.loading import LoadedModel


def common_arguments(job: TrainJob, loaded: LoadedModel, workdir: Path) -> dict[str, Any]:
    on_gpu = loaded.device.type == "cuda"
    return {
        "output_dir": str(workdir / "trainer"),
        "seed": job.seed,
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, job.steps // 20),
        # The collators cut nothing: cutting into visual tokens breaks a batch.
        "max_length": None,
        # TRL's columns are not the model's arguments; the collators need them.
        "remove_unused_columns": False,
        "bf16": loaded.dtype == torch.bfloat16,
        "fp16": loaded.dtype == torch.float16,
        # Costs time and saves memory, which is scarce on cards only.
        "gradient_checkpointing": on_gpu,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        # And after the last one.
        "save_strategy": "steps",
        "save_steps": job.save_every,
        "report_to": "none",
        "disable_tqdm": True,
    }
