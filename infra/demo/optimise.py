"""The one training loop of the recipe."""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from workers.caption.hosts import detect_host

WARMUP = 100
Report = Callable[[str, int, int, float], None]
"""Stage, step, steps, loss."""


def reduced_precision() -> torch.autocast:
    """bfloat16, where this CPU multiplies it itself.

    Elsewhere it is emulated: 20 to 30 times as slow as float32 on a CPU with AVX2 (PyTorch 2.13).
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=_multiplies_bfloat16())


@cache
def _multiplies_bfloat16() -> bool:
    return detect_host().bf16


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
