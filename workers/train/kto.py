"""Learning from thumbs (KTO): captions that were liked become likelier, disliked ones less likely.

The reference is the adapter as it was when training began, as in dpo.py. How far the model has
moved as a whole (the KL term) is estimated on captions of other videos of the same batch.
"""

from collections.abc import Sequence
from typing import Any

from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from shared.rows import Row
from shared.stages import losses_of
from shared.training import TrainJob
from workers.train.collate import Encoder, FeedbackCollator
from workers.train.saving import Saving
from workers.train.trainers import AsCollated, train_with


class VideoKTOTrainer(AsCollated, KTOTrainer):  # type: ignore[misc]  # trl is untyped
    pass


def train_kto(
    model: Any, encoder: Encoder, rows: Sequence[Row], job: TrainJob, saving: Saving
) -> list[float]:
    """Train the adapter of a PeftModel in place; the loss of each step."""
    (loss,) = losses_of(job)
    liked, disliked = weights(rows)
    return train_with(
        VideoKTOTrainer,
        KTOConfig,
        FeedbackCollator(encoder, with_kl=loss == "kto"),
        model,
        [
            {
                "prompt": row.prompt,
                "completion": row.completion,
                "label": row.label,
                "video": row.media.key,
            }
            for row in rows
        ],
        job,
        encoder.loaded,
        saving,
        beta=job.beta,
        loss_type=loss,
        desirable_weight=liked,
        undesirable_weight=disliked,
    )


def weights(rows: Sequence[Row]) -> tuple[float, float]:
    """Of liked and of disliked captions, so that both weigh as much together: the fewer count more
    (Ethayarajh et al. 2024, equation 8)."""
    liked = sum(row.label is True for row in rows)
    disliked = len(rows) - liked
    return max(1.0, disliked / liked), max(1.0, liked / disliked)
