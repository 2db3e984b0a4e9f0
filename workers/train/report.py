"""How far training is: one JSON object a line on stdout, for the parent process to read."""

import json
from typing import Any

from transformers import TrainerCallback


def report(stage: str, step: int, steps: int, **values: float) -> None:
    print(json.dumps({"stage": stage, "step": step, "steps": steps, **values}), flush=True)


class StepReporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Reports each step of a trainer, and keeps its losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            loss = float(logs["loss"])
            self.losses.append(loss)
            report("train", state.global_step, state.max_steps, loss=round(loss, 4))
