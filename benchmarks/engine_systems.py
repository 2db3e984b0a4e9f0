"""Who makes the captions: our engine, and transformers' `generate` alone or in batches.

All of them get the same frames, and count what is done to them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from benchmarks.engine_work import Work
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.model.loading import LoadedModel


@dataclass(frozen=True)
class Made:
    """What became of some work."""

    tokens: list[list[int]]
    cpu_s: float
    """Of this process, all threads."""
    useful_rows: float
    """Share of the places in a decoding batch that held a caption which was not over."""


class System(Protocol):
    def make(self, work: Sequence[Work]) -> Made: ...


class Jamak:
    def __init__(self, loaded: LoadedModel, rows: int, positions: int) -> None:
        self._loaded, self._rows = loaded, rows
        self._turns: list[int] = []
        self.engine = Engine(
            loaded, Size(rows=rows, positions=positions), on_turn=lambda *turn: self._turn(*turn)
        )

    def _turn(self, rows: int, tokens: int) -> None:
        if rows:
            self._turns.append(rows)

    def make(
        self,
        work: Sequence[Work],
        others: Sequence[Sampling] = (),
        features: Sequence[torch.Tensor] | None = None,
    ) -> Made:
        """What the first candidates say, which are greedy.

        Args:
            others: candidates beside it.
            features: what the vision tower made of the frames: they are not looked at.
        """
        self._turns.clear()
        began = time.process_time()
        tickets = []
        for number, one in enumerate(work):
            samplings = (Sampling(one.new_tokens), *others)
            if features is None:
                request = Request(one.ids, self._see(one), samplings=samplings)
            else:
                request = Request(one.ids, features=features[number], samplings=samplings)
            tickets.append(self.engine.submit(request))
        tokens = [list(ticket.result()[0].tokens) for ticket in tickets]
        cpu_s = time.process_time() - began
        self.features = [ticket.features for ticket in tickets]
        mean = sum(self._turns) / max(1, len(self._turns))
        return Made(tokens, cpu_s, mean / min(self._rows, len(work) * (1 + len(others))))

    def _see(self, one: Work) -> torch.Tensor:
        return self._loaded.preprocessor(one.frames)


class Generate:
    """`generate`, so many at a time: padded on the left, all until the longest is over."""

    def __init__(self, loaded: LoadedModel, size: int) -> None:
        self._loaded, self._size = loaded, size

    def make(self, work: Sequence[Work]) -> Made:
        tokens: list[list[int]] = []
        places = 0
        began = time.process_time()
        for at in range(0, len(work), self._size):
            batch = work[at : at + self._size]
            tokens += self._batch(batch)
            places += len(batch) * max(map(len, tokens[at:]))
        cpu_s = time.process_time() - began
        return Made(tokens, cpu_s, sum(map(len, tokens)) / places)

    def _batch(self, batch: Sequence[Work]) -> list[list[int]]:
        loaded, eos = self._loaded, self._loaded.tokenizer.eos_token_id
        pad = loaded.tokenizer.pad_token_id
        longest = max(len(one.ids) for one in batch)
        ids = torch.tensor([[pad] * (longest - len(one.ids)) + list(one.ids) for one in batch])
        # One video of all frames: the model matches visual tokens and features by their order.
        pixels = torch.cat([loaded.preprocessor(one.frames) for one in batch])[None]
        with torch.inference_mode():
            output = loaded.model.generate(
                input_ids=ids,
                attention_mask=(ids != pad).long(),
                pixel_values_videos=pixels,
                max_new_tokens=max(one.new_tokens for one in batch),
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=eos,
            )
        return [
            until(row[longest:].tolist()[: one.new_tokens], eos)
            for row, one in zip(output, batch, strict=True)
        ]


def until(tokens: list[int], end: int) -> list[int]:
    """With the end token."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
