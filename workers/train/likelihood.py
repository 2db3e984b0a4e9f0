"""How likely the model finds the held-out texts: was a preference learned, and at what price?

A preference run may tell all pairs apart and have forgotten how to caption; then the chosen texts
have become unlikely too. What the model itself says is measured in evaluate.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from shared.rows import Row, Stage
from workers.train.collate import Encoder


@dataclass(frozen=True)
class Likely:
    """Of one text before its video."""

    nats: float
    """Its log-probability, with that of its end."""
    tokens: int

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens


def likelihoods(
    model: Any, encoder: Encoder, rows: Sequence[Row], on_row: Callable[[int, int], None]
) -> list[tuple[Likely, ...]]:
    """Of each row, its texts in their order: the completion, or the chosen one and the rejected.

    Args:
        on_row: called with (rows done, rows in all).
    """
    loaded = encoder.loaded
    found = []
    model.eval()
    for number, row in enumerate(rows, start=1):
        batch = encoder.row(row)
        mask = batch.pop("completion_mask")[:, 1:].to(loaded.device)
        batch = {name: tensor.to(loaded.device) for name, tensor in batch.items()}
        # Positions whose next token is of a text; before them are the prompt and the frames alone.
        kept = int((mask.sum(0) > 0).sum()) + 1
        with (
            torch.no_grad(),
            torch.autocast(loaded.device.type, loaded.dtype, enabled=loaded.dtype != torch.float32),
        ):
            logits = model(**batch, logits_to_keep=kept).logits[:, :-1]
        chosen = batch["input_ids"][:, 1:][:, -logits.shape[1] :, None]
        # (texts, positions)
        nats = logits.float().log_softmax(-1).gather(-1, chosen)[..., 0]
        mask = mask[:, -logits.shape[1] :]
        sums, counts = (nats * mask).sum(1).tolist(), mask.sum(1).tolist()
        found.append(tuple(Likely(*pair) for pair in zip(sums, counts, strict=True)))
        on_row(number, len(rows))
    return found


def compared(
    stage: Stage,
    rows: Sequence[Row],
    before: Sequence[tuple[Likely, ...]],
    after: Sequence[tuple[Likely, ...]],
) -> dict[str, float]:
    """What of it is recorded with the adapter; docs/training.md says what each number is."""
    if stage == "dpo":
        return _of_pairs(before, after)
    pairs = [(old, new) for (old,), (new,) in zip(before, after, strict=True)]
    if stage == "kto":
        return _of_thumbs(rows, pairs)
    return _means("logp", pairs)


def _of_pairs(
    before: Sequence[tuple[Likely, ...]], after: Sequence[tuple[Likely, ...]]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for place, name in enumerate(("chosen", "rejected")):
        pairs = [(old[place], new[place]) for old, new in zip(before, after, strict=True)]
        metrics |= _means(f"logp_{name}", pairs)
    for when, rows in (("before", before), ("after", after)):
        margins = [chosen.nats - rejected.nats for chosen, rejected in rows]
        metrics[f"margin_{when}"] = fmean(margins)
        metrics[f"preferred_{when}"] = fmean(margin > 0 for margin in margins)
    return metrics


def _of_thumbs(rows: Sequence[Row], pairs: Sequence[tuple[Likely, Likely]]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, label in (("liked", True), ("disliked", False)):
        some = [pair for row, pair in zip(rows, pairs, strict=True) if row.label is label]
        metrics[f"n_{name}"] = len(some)
        if some:
            metrics |= _means(f"logp_{name}", some)
            moved = [new.nats > old.nats if label else new.nats < old.nats for old, new in some]
            metrics["liked_risen" if label else "disliked_fallen"] = fmean(moved)
    return metrics


def _means(name: str, pairs: Sequence[tuple[Likely, Likely]]) -> dict[str, float]:
    """Nats a token: each text counts once, however long it is."""
    return {
        f"{name}_before": fmean(old.per_token for old, _ in pairs),
        f"{name}_after": fmean(new.per_token for _, new in pairs),
    }
