"""What trainers need to know beside what captioners do."""

from pydantic import Field

from shared.length_settings import LengthSettings


class TrainSettings(LengthSettings):
    policy: str | None = Field(
        None,
        min_length=1,
        description="When an adapter may go into use: a YAML file, or s3://bucket/policy.yaml "
        "(docs/judge.md). Trainers then judge what they trained by the engine, and publish the "
        "report beside it. Without it they decide by the scores of docs/training.md.",
    )
    train_features_mib: int = Field(
        8192,
        ge=0,
        description="Disk of a trainer for what the vision tower made of frames: the next job with "
        "the same videos needs neither decoding nor vision then (docs/training.md). It lies in "
        "JAMAK_SCRATCH_DIR, or without it as long as the worker runs. 0 = nothing is kept: "
        "every step decodes its videos again.",
    )
