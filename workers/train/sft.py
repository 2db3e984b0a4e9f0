"""Learning from reference captions: the projector alone (align), or with the language model (sft).

Both stages are one trainer. What of the adapter may be trained was said when it was put into the
model (adapter.py).
"""

from collections.abc import Sequence
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from shared.rows import Row
from shared.stages import losses_of
from shared.training import TrainJob
from workers.train.collate import Encoder, SftCollator
from workers.train.saving import Saving
from workers.train.trainers import AsCollated, train_with


class VideoSFTTrainer(AsCollated, SFTTrainer):  # type: ignore[misc]  # trl is untyped
    pass


def train_sft(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, saving: Saving
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step."""
    (loss,) = losses_of(job)
    return train_with(
        VideoSFTTrainer,
        SFTConfig,
        SftCollator(encoder),
        model,
        [
            {"prompt": row.prompt, "completion": row.completion, "video": row.media.key}
            for row in rows
        ],
        job,
        encoder.loaded,
        saving,
        loss_type=loss,
    )
