"""From logits to tokens, each row by its own rules and by its own random numbers.

A row's draw depends on its logits, its settings and its seed, never on its neighbours. Greedy rows
take the largest logit, as `generate` does.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workers.caption.engine.transfer import up


@dataclass(frozen=True)
class Sampling:
    """How a caption is drawn."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    """0 = greedy."""
    top_p: float = 1.0
    """Of the likeliest tokens, so many that they have this share of the probability."""
    seed: int = 0
    repetition_penalty: float = 1.0
    """Logits of tokens that are there already are divided by it, or multiplied where negative
    (Keskar et al. 2019, arXiv:1909.05858)."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these."""
    locked: bool = False
    """Letters of foreign scripts are out of the question; the engine needs a lock for that."""

    def __post_init__(self) -> None:
        if not (
            self.max_new_tokens >= 1
            and 0 <= self.temperature < float("inf")
            and 0 < self.top_p <= 1
            and 0 < self.repetition_penalty < float("inf")
        ):
            raise ValueError(f"nothing can be drawn with {self}")


class Draws:
    """A row's random numbers, in [0, 1): one a token."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret

    def next(self) -> float:
        return self._random.random()


def choose(
    logits: torch.Tensor, settings: Sequence[Sampling], draws: Sequence[float]
) -> torch.Tensor:
    """(rows, vocabulary) -> (rows,) token numbers."""
    best = logits.max(-1).indices  # as argmax, which takes three times as long on a CPU
    drawn = [number for number, one in enumerate(settings) if one.temperature > 0]
    if not drawn:
        return best
    device = logits.device

    def column(values: list[float]) -> torch.Tensor:
        return up(torch.tensor(values, dtype=torch.float32), device)[:, None]

    if len(drawn) == 1:
        drawn *= 2  # sums along one row alone are added up in another order, on a GPU
    rows = up(torch.tensor(drawn), device)
    warm = logits[rows].float() / column([settings[i].temperature for i in drawn])
    chances, order = warm.softmax(-1).sort(stable=True, dim=-1, descending=True)
    before = chances.cumsum(-1) - chances
    kept = chances.masked_fill(before >= column([settings[i].top_p for i in drawn]), 0)
    reached = kept.cumsum(-1)
    aim = column([draws[i] for i in drawn]) * reached[:, -1:]
    # Rounded, `aim` may be all of it.
    last = (kept > 0).sum(-1, keepdim=True) - 1
    place = (reached <= aim).sum(-1, keepdim=True).minimum(last).clamp(min=0)
    return best.index_put((rows,), order.gather(-1, place)[:, 0])


def penalise(
    logits: torch.Tensor, seen: torch.Tensor, settings: Sequence[Sampling]
) -> torch.Tensor:
    """`seen` (rows, vocabulary): True where a row has a token already."""
    factors = torch.tensor([one.repetition_penalty for one in settings])
    factors = up(factors.to(logits.dtype), logits.device)[:, None]
    return torch.where(seen, torch.where(logits < 0, logits * factors, logits / factors), logits)


def finite(logits: torch.Tensor) -> torch.Tensor:
    """(rows,) False where a row's numbers are of no use: its largest is NaN or infinite."""
    return logits.amax(-1).isfinite()
