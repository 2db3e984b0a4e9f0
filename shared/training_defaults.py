"""What a training job of each stage is, unless its sender says otherwise. For the 7B model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    steps: int
    batch_size: int
    learning_rate: float
    rank: int = 16
    frames: int = 4


STAGES: dict[str, Defaults] = {
    "sft": Defaults(steps=100, batch_size=8, learning_rate=2e-4),
    # A preference pulls far: at the rate of `sft` it leaves a model that says nothing sensible.
    "dpo": Defaults(steps=100, batch_size=8, learning_rate=2e-5),
}
