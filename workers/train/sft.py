"""Supervised fine-tuning: the model learns the manifest's completions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from shared.rows import Row
from shared.training import TrainJob
from workers.train.adapter import trainable_kept_in_fp32
from workers.train.arguments import common_arguments
from workers.train.collate import Encoder, SftCollator
from workers.train.report import StepReporter


def train_sft(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, workdir: Path
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step."""
    dataset = Dataset.from_list(
        [
            {"prompt": row.prompt, "completion": row.completion, "video": row.media.key}
            for row in rows
        ]
    )
    arguments = SFTConfig(
        **common_arguments(job, encoder.loaded, workdir),
        # The collator encodes: joined as ids, with the visual tokens expanded.
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with trainable_kept_in_fp32(model):
        trainer = SFTTrainer(
            model,
            arguments,
            data_collator=SftCollator(encoder),
            train_dataset=dataset,
            processing_class=encoder.loaded.tokenizer,
            callbacks=[reporter := StepReporter()],
        )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return reporter.losses
