"""Captions a second: of `generate`, one at a time and in static batches, and of the engine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch

from benchmarks.gpu.models import EOS, PAD
from benchmarks.gpu.roofline import synchronize
from workers.caption.engine.engine import Engine
from workers.caption.engine.requests import Request
from workers.model.loading import LoadedModel


def generated(loaded: LoadedModel, requests: Sequence[Request]) -> list[tuple[int, ...]]:
    """What `generate` says to prompts of one length, all until the longest is over."""
    ids = torch.tensor([one.ids for one in requests], device=loaded.device)
    pixels = torch.cat([one.pixels for one in requests if one.pixels is not None])
    longest = max(one.samplings[0].max_new_tokens for one in requests)
    with torch.inference_mode():
        output = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            # One video of all frames: the model matches them by their order.
            pixel_values_videos=pixels.to(loaded.device, loaded.dtype)[None],
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=PAD,
            eos_token_id=EOS,
        )
    return [
        tuple(row[ids.shape[1] :].tolist()[: one.samplings[0].max_new_tokens])
        for row, one in zip(output, requests, strict=True)
    ]


@dataclass(frozen=True)
class Rate:
    captions_per_s: float
    tokens_per_s: float
    captions: int
    cut: bool = False
    """By the time limit: those that were under way do not count."""

    def shown(self) -> dict[str, float]:
        told: dict[str, float] = {
            "captions_per_s": round(self.captions_per_s, 4),
            "tokens_per_s": round(self.tokens_per_s, 1),
            "captions": self.captions,
        }
        return {**told, "cut": True} if self.cut else told


def rate_of_generate(loaded: LoadedModel, requests: Sequence[Request], size: int) -> Rate:
    generated(loaded, requests[:1])  # what is done once only is not counted
    synchronize(loaded.device)
    began = time.perf_counter()
    said = [
        one
        for at in range(0, len(requests), size)
        for one in generated(loaded, requests[at : at + size])
    ]
    seconds = time.perf_counter() - began
    return Rate(len(said) / seconds, sum(map(len, said)) / seconds, len(said))


def rate_of_engine(engine: Engine, requests: Sequence[Request], limit_s: float) -> Rate:
    """All requests at once."""
    began = time.perf_counter()
    tickets = [engine.submit(one) for one in requests]
    ended = tokens = 0
    cut, seconds = False, 0.0
    for ticket in tickets:
        if cut:
            ticket.cancel()
            continue
        try:
            tokens += len(ticket.result(max(0.01, began + limit_s - time.perf_counter()))[0].tokens)
            ended += 1
        except TimeoutError:
            cut = True
            ticket.cancel()
        seconds = time.perf_counter() - began
    engine.audit()  # waits for those that were cancelled
    return Rate(ended / seconds, tokens / seconds, ended, cut)


class Turns:
    """When the engine began its steps."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, int]] = []

    def __call__(self, rows: int, tokens: int) -> None:
        self._seen.append((time.perf_counter(), rows, tokens))

    def clear(self) -> None:
        self._seen.clear()

    def gaps(self, rows: int | None = None) -> list[float]:
        """Seconds between two steps of nothing but (so many) decoding rows."""
        plain = [
            (at, count == rows or rows is None) if count and not tokens else (at, False)
            for at, count, tokens in self._seen
        ]
        return [b - a for (a, fine), (b, also) in pairwise(plain) if fine and also]

    def step_s(self, rows: int) -> float:
        gaps = self.gaps(rows)
        return median(gaps) if gaps else float("nan")
