"""The one training loop of the recipe."""

import math
from collections.abc import Callable

import torch
from torch import nn

WARMUP = 100
Report = Callable[[str, int, int, float], None]
"""Stage, step, steps, loss."""


def optimise(
    stage: str,
    parameters: list[nn.Parameter],
    loss_of_batch: Callable[[], torch.Tensor],
    *,
    steps: int,
    rate: float,
    report: Report,
) -> None:
    """AdamW with warm-up, cosine decay and clipping."""
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )

    def factor(step: int) -> float:
        if step < WARMUP:
            return (step + 1) / WARMUP
        return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of_batch()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            report(stage, step + 1, steps, loss.item())
