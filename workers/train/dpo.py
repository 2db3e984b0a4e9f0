"""Direct preference optimisation: of two captions, the chosen one becomes the likelier.

The reference is the adapter as it was when training began (TRL keeps a frozen copy).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from shared.rows import Row
from shared.training import TrainJob
from workers.train.adapter import trainable_kept_in_fp32
from workers.train.arguments import common_arguments
from workers.train.collate import Encoder, PreferenceCollator
from workers.train.report import StepReporter


class VideoDPOTrainer(DPOTrainer):  # type: ignore[misc]  # trl is untyped
    """DPOTrainer that leaves encoding to the collator; it has no option for that."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def train_dpo(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, workdir: Path
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step."""
    dataset = Dataset.from_list(
        [
            {
                "prompt": row.prompt,
                "chosen": row.chosen,
                "rejected": row.rejected,
                "video": row.media.key,
            }
            for row in rows
        ]
    )
    arguments = DPOConfig(
        **common_arguments(job, encoder.loaded, workdir),
        beta=0.1,
        # The preference alone may push both captions down and leave a model that says nothing
        # sensible; the likelihood of the chosen one holds it.
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.5],
    )
    with trainable_kept_in_fp32(model):
        trainer = VideoDPOTrainer(
            model,
            None,
            arguments,
            data_collator=PreferenceCollator(encoder),
            train_dataset=dataset,
            processing_class=encoder.loaded.tokenizer,
            callbacks=[reporter := StepReporter()],
        )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return reporter.losses
