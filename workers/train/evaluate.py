"""What the model says about the held-out videos, and how near that is to what it should say."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import torch
from sacrebleu.metrics import CHRF

from shared.rows import Row
from workers.model.ends import before_end
from workers.model.prompt import text_of
from workers.train.collate import Encoder

BATCH = 16
ROOM = 16
"""Tokens beyond the longest reference: a caption that does not end is seen as wrong."""


@dataclass(frozen=True)
class Scores:
    exact: float
    """Share of captions equal to their reference."""
    chrf: float
    """chrF++, 0 to 100 (Popović 2017, aclanthology.org/W17-4770)."""
    by_video: dict[str, float]
    """The video's identity -> the mean chrF++ of its captions, each scored alone."""


def score(captions: Sequence[str], rows: Sequence[Row]) -> Scores:
    if not rows:
        return Scores(exact=0.0, chrf=0.0, by_video={})
    references = [row.reference for row in rows]
    equal = sum(said == meant for said, meant in zip(captions, references, strict=True))
    chrf = CHRF(word_order=2)
    # Several captions of one video stand or fall together: they are one observation.
    by_video: dict[str, list[float]] = {}
    for said, row in zip(captions, rows, strict=True):
        alone = chrf.sentence_score(said, [row.reference]).score
        by_video.setdefault(row.media.identity, []).append(alone)
    return Scores(
        exact=equal / len(rows),
        chrf=chrf.corpus_score(list(captions), [references]).score,
        by_video={video: fmean(scores) for video, scores in by_video.items()},
    )


def changed(before: Scores, after: Scores) -> tuple[int, int]:
    """How many videos got better, and how many worse; the rest is as it was."""
    pairs = [(score, after.by_video[video]) for video, score in before.by_video.items()]
    return sum(new > old for old, new in pairs), sum(new < old for old, new in pairs)


def caption_rows(
    model: Any, encoder: Encoder, rows: Sequence[Row], on_batch: Callable[[int, int], None]
) -> list[str]:
    """Greedy captions, in the order of the rows.

    Args:
        on_batch: called with (rows done, rows in all).
    """
    if not rows:
        return []
    loaded = encoder.loaded
    prompts = [encoder.prompt(str(row.prompt), row.media.key) for row in rows]
    room = ROOM + max(len(encoder.completion(row.reference)) for row in rows)
    captions = [""] * len(rows)
    done = 0
    model.eval()
    for batch in _equally_long(prompts):
        input_ids = torch.tensor([prompts[i] for i in batch], device=loaded.device)
        # The trained parts are fp32, the rest need not be.
        with torch.autocast(
            loaded.device.type, loaded.dtype, enabled=loaded.dtype != torch.float32
        ):
            output = model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                pixel_values_videos=encoder.features([rows[i].media.key for i in batch]).to(
                    loaded.device
                ),
                max_new_tokens=min(room, loaded.context - input_ids.shape[1]),
                do_sample=False,
                use_cache=True,
                pad_token_id=encoder.pad_id,
            )
        for i, ids in zip(batch, output[:, input_ids.shape[1] :].tolist(), strict=True):
            said = before_end(ids, loaded.ends)
            captions[i] = text_of(loaded.tokenizer, said, finished=len(said) < len(ids))
        done += len(batch)
        on_batch(done, len(rows))
    return captions


def _equally_long(prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices in batches whose prompts need no padding."""

    def length(index: int) -> int:
        return len(prompts[index])

    for _, group in groupby(sorted(range(len(prompts)), key=length), key=length):
        indices = list(group)
        for start in range(0, len(indices), BATCH):
            yield indices[start : start + BATCH]
