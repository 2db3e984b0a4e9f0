"""What trainers need to know beside what captioners do."""

from pydantic import Field

from shared.length_settings import LengthSettings


class TrainSettings(LengthSettings):
    train_features_mib: int = Field(
        8192,
        ge=0,
        description="Disk of a trainer for what the vision tower made of frames: the next job with "
        "the same videos needs neither decoding nor vision then (docs/training.md). It lies in "
        "JAMAK_SCRATCH_DIR, or without it as long as the worker runs. 0 = nothing is kept: "
        "every step decodes its videos again.",
    )
