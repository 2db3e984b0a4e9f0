"""The held-out videos, before and after: what the model says of them, and what it finds likely."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import Diverged
from shared.rows import Row, Stage
from workers.train.collate import Encoder
from workers.train.evaluate import caption_rows, changed, score
from workers.train.likelihood import Likely, compared, likelihoods


@dataclass(frozen=True)
class Examined:
    captions: list[str]
    """Of the rows that have a reference, in their order."""
    likely: list[tuple[Likely, ...]]
    """Of all rows."""


def examine(
    model: Any,
    encoder: Encoder,
    rows: Sequence[Row],
    on_row: Callable[[int, int], None],
    at_once: int,
) -> Examined:
    """Args:
    rows: held out.
    on_row: called with (rows done, rows in all); each row counts twice.
    at_once: captions in one batch, at most.
    """
    said = with_reference(rows)
    total = len(said) + len(rows)
    captions = caption_rows(model, encoder, said, lambda done, _: on_row(done, total), at_once)
    likely = likelihoods(model, encoder, rows, lambda done, _: on_row(len(said) + done, total))
    return Examined(captions, likely)


def metrics_of(
    stage: Stage, rows: Sequence[Row], before: Examined, after: Examined
) -> dict[str, float]:
    """What the gate decides by, and what is recorded with the adapter.

    Raises:
        Diverged: one of them is no number.
    """
    said = with_reference(rows)
    old, new = score(before.captions, said), score(after.captions, said)
    better, worse = changed(old, new)
    metrics = {
        "exact_before": old.exact,
        "exact_after": new.exact,
        "chrf_before": old.chrf,
        "chrf_after": new.chrf,
        "n_eval": len(rows),
        "n_eval_videos": len(new.by_video),
        "n_better": better,
        "n_worse": worse,
        **compared(stage, rows, before.likely, after.likely),
    }
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{name} is {value}: the model that was trained finds no text likely any more"
            )
    return metrics


def with_reference(rows: Sequence[Row]) -> list[Row]:
    """Without the captions that were disliked: nothing says what would be right instead."""
    return [row for row in rows if row.label is not False]
