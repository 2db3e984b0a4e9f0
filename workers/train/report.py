"""What the training subprocess tells: how far it is, on stdout, and what its report shall hold.

{"stage": "train", "step": 12, "steps": 100, "loss": 0.5, …}     one line a step (shown live)
WORKDIR/told/data.json, before.json, after.json                  for report.json
"""

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback

from shared.errors import Diverged
from shared.rows import Row
from shared.training_report import MOST_HELD_OUT, DataSummary, HeldOut
from workers.train.examine import with_reference

OURS = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
"""The trainer's name -> ours, of what every stage has."""
NOT_METRICS = {*OURS, "epoch", "num_tokens", "step", "total_flos"}


def report(stage: str, step: int, steps: int, **values: Any) -> None:
    print(json.dumps({"stage": stage, "step": step, "steps": steps, **values}), flush=True)


def tell_data(workdir: Path, rows: Sequence[Row], earlier: Sequence[Row]) -> None:
    """What it is trained on, and what is held out.

    Args:
        earlier: what may be trained on again.
    """
    train_rows = [row for row in rows if row.split == "train"]
    eval_rows = [row for row in rows if row.split == "eval"]
    lengths = [len(text) for row in train_rows for text in row.texts]
    summary = DataSummary(
        train_rows=len(train_rows),
        train_videos=len({row.media.identity for row in train_rows}),
        held_out_rows=len(eval_rows),
        held_out_videos=len({row.media.identity for row in eval_rows}),
        earlier_rows=len(earlier),
        characters={"median": median(lengths), "max": max(lengths)} if lengths else {},
        sources=_counted(row.source for row in rows),
        licenses=_counted(row.license for row in rows),
        origins=_counted(row.origin for row in rows),
    )
    held_out = [
        HeldOut(id=row.id, reference=row.reference).model_dump()
        for row in with_reference(eval_rows)[:MOST_HELD_OUT]
    ]
    _tell(workdir, "data", {"summary": summary.model_dump(), "held_out": held_out})


def tell_captions(workdir: Path, when: str, captions: Sequence[str]) -> None:
    """Of the held-out rows that have a reference, `before` or `after`."""
    _tell(workdir, when, list(captions[:MOST_HELD_OUT]))


def _tell(workdir: Path, name: str, value: Any) -> None:
    folder = workdir / "told"
    folder.mkdir(exist_ok=True)
    # Whoever reads it may read while it is written.
    part = folder / f"{name}.part"
    part.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    part.rename(folder / f"{name}.json")


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(value for value in values if value).most_common(100))


class StepReporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Reports each step of a trainer, and keeps its losses. Raises Diverged."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._tokens: torch.Tensor | None = None
        self._began = time.perf_counter()
        self._hook: Any = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        self._hook = model.register_forward_pre_hook(self._count, with_kwargs=True)
        self._began = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hook.remove()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise Diverged(
                f"in step {state.global_step} of {state.max_steps} the loss is {loss}: the "
                "training has diverged"
            )
        self.losses.append(loss)
        now, tokens = time.perf_counter(), self._tokens
        self._tokens, passed_s, self._began = None, now - self._began, now
        report(
            "train",
            state.global_step,
            state.max_steps,
            **{ours: _number(logs[name]) for name, ours in OURS.items() if name in logs},
            tokens=int(tokens) * args.world_size if tokens is not None else 0,
            seconds=round(passed_s, 6),
            metrics={
                name: number
                for name, value in logs.items()
                if name not in NOT_METRICS and (number := _number(value)) is not None
            },
        )

    def _count(self, model: Any, args: Any, kwargs: Any) -> None:
        """The tokens of a pass that learns; a reference's does not."""
        if torch.is_grad_enabled() and (mask := kwargs.get("attention_mask")) is not None:
            # On the card: it is read once a step, when the loss is.
            found = mask.sum()
            self._tokens = found if self._tokens is None else self._tokens + found


def _number(value: Any) -> float | None:
    """None: JSON has no word for it, or it is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
