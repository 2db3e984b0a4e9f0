"""Direct preference optimisation: of two captions, the chosen one becomes the likelier.

The reference is the adapter as it was when training began (TRL keeps a frozen copy, the projector
with it).
"""

from collections.abc import Sequence
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from shared.rows import Row
from shared.stages import losses_of
from shared.training import TrainJob
from workers.train.collate import Encoder, PreferenceCollator
from workers.train.saving import Saving
from workers.train.trainers import AsCollated, train_with


class VideoDPOTrainer(AsCollated, DPOTrainer):  # type: ignore[misc]  # trl is untyped
    pass


def train_dpo(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, saving: Saving
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step."""
    losses = losses_of(job)
    return train_with(
        VideoDPOTrainer,
        DPOConfig,
        PreferenceCollator(encoder),
        model,
        [
            {
                "prompt": row.prompt,
                "chosen": row.chosen,
                "rejected": row.rejected,
                "rejected_frames": row.rejected_frames,
                "video": row.media.key,
            }
            for row in rows
        ],
        job,
        encoder.loaded,
        saving,
        beta=job.beta,
        label_smoothing=job.label_smoothing,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
    )
