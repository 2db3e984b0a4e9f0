"""What a training job of each stage is, unless its sender says otherwise. For the 7B model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.rows import Stage


@dataclass(frozen=True)
class Defaults:
    steps: int
    batch_size: int
    learning_rate: float
    rank: int = 16
    frames: int = 4
    replay_share: float = 0.25
    """Where a job goes on from an adapter: so much against forgetting."""


STAGES: dict[Stage, Defaults] = {
    # The projector is small, and alone.
    "align": Defaults(steps=300, batch_size=16, learning_rate=1e-3),
    "sft": Defaults(steps=100, batch_size=8, learning_rate=2e-4),
    # A preference pulls far: at the rate of `sft` it leaves a model that says nothing sensible.
    "dpo": Defaults(steps=100, batch_size=8, learning_rate=2e-5),
    "kto": Defaults(steps=100, batch_size=8, learning_rate=2e-5),
}


def completed(stage: Stage, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `TrainJob` that somebody asked for, and the stage's own for those that have one
    and are left out."""
    usual = STAGES[stage]
    goes_on = asked.get("start_from") is not None or asked.get("replay") is not None
    return {
        "stage": stage,
        "steps": usual.steps,
        "batch_size": usual.batch_size,
        "learning_rate": usual.learning_rate,
        "rank": usual.rank,
        "frames": usual.frames,
        "replay_share": usual.replay_share if goes_on else 0.0,
        **asked,
    }
