"""Supervised fine-tuning: the model learns the manifest's completions."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from shared.rows import Row
from shared.training import TrainJob
from workers.train.adapter import trainable_kept_in_fp32
from workers.train.arguments import common_arguments
from workers.train.collate import Encoder, SftCollator
from workers.train.report import StepReporter
from workers.train.resumable import Resumable, train_through
from workers.train.saving import Saving


class VideoSFTTrainer(Resumable, SFTTrainer):  # type: ignore[misc]  # trl is untyped
    """SFTTrainer in our order, with our checkpoints."""


def train_sft(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, saving: Saving
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step.

    Raises:
        Stopped: it was asked to end.
    """
    dataset = Dataset.from_list(
        [
            {"prompt": row.prompt, "completion": row.completion, "video": row.media.key}
            for row in rows
        ]
    )
    arguments = SFTConfig(
        **common_arguments(job, encoder.loaded, saving.workdir),
        # The collator encodes: joined as ids, with the visual tokens expanded.
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with trainable_kept_in_fp32(model):
        trainer = VideoSFTTrainer(
            model,
            arguments,
            data_collator=SftCollator(encoder),
            train_dataset=dataset,
            processing_class=encoder.loaded.tokenizer,
            callbacks=[reporter := StepReporter()],
        )
    return train_through(trainer, reporter, saving, encoder.lengths(rows, job))
