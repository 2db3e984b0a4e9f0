"""One way to build and run a trainer, whatever it teaches: the stages differ in what they hand in.

TRL's trainers know images and no videos. Their batches come ready from our collators, which encode
with the very code that captions use (collate.py); so nothing of a row may be prepared before them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from shared.training import TrainJob
from workers.model.loading import LoadedModel
from workers.train.adapter import trainable_kept_in_fp32
from workers.train.collate import Batch
from workers.train.report import StepReporter
from workers.train.resumable import Resumable, train_through
from workers.train.saving import Saving

WAIT_S = 86_400
Features = Mapping[str, Any]
"""What a collator is given of one row."""


class AsCollated(Resumable):
    """Makes of a trainer of TRL one that hands its rows to the collator as they are, in our order,
    and keeps our checkpoints."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def train_with(
    trainer: type[Any],
    config: type[Any],
    collator: Callable[[Sequence[Features]], Batch],
    model: Any,
    rows: Sequence[Features],
    job: TrainJob,
    loaded: LoadedModel,
    saving: Saving,
    **options: Any,
) -> list[float]:
    """Train what of a PeftModel may be trained, in place; the loss of each step.

    Args:
        trainer: of TRL, with AsCollated.
        config: of that trainer.
        saving: where it begins, and where it keeps what it has learned.
        options: of that configuration, for this stage alone.

    Raises:
        Stopped: it was asked to end.
    """
    with trainable_kept_in_fp32(model):
        built = trainer(
            model=model,
            args=config(**_arguments(job, loaded, saving.workdir), **options),
            data_collator=collator,
            train_dataset=Dataset.from_list([dict(row) for row in rows]),
            processing_class=loaded.tokenizer,
            callbacks=[reporter := StepReporter()],
        )
    return train_through(built, reporter, saving)


def _arguments(job: TrainJob, loaded: LoadedModel, workdir: Path) -> dict[str, Any]:
    """What all stages have in common, as arguments of TRL's configurations."""
    on_gpu = loaded.device.type == "cuda"
    checkpointing = on_gpu if job.gradient_checkpointing is None else job.gradient_checkpointing
    return {
        "output_dir": str(workdir / "trainer"),
        "seed": job.seed,
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "gradient_accumulation_steps": job.accumulate,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "cosine",
        # The first step has a rate of nothing: a job of one has none, or it would learn nothing.
        "warmup_steps": min(max(1, job.steps // 20), job.steps - 1),
        # The collators cut nothing: cutting into visual tokens breaks a batch.
        "max_length": None,
        # TRL's columns are not the model's arguments; the collators need them.
        "remove_unused_columns": False,
        "bf16": loaded.dtype == torch.bfloat16,
        "fp16": loaded.dtype == torch.float16,
        # Costs time and saves memory, which is scarce on cards only.
        "gradient_checkpointing": checkpointing,
        # Of several processes the first one captions the held-out videos, and the others wait. One
        # that died is noticed by the launcher at once.
        "ddp_timeout": WAIT_S,
        # All that may be trained is part of each step.
        "ddp_find_unused_parameters": False,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        # It would tell a loss that is no number as that of the steps before, here as 0.
        "logging_nan_inf_filter": False,
        # And after the last one.
        "save_strategy": "steps",
        "save_steps": job.save_every,
        "report_to": "none",
        "disable_tqdm": True,
    }
