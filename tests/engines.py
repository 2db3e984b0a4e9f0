"""What engines are asked in tests, and what `generate` says to it."""

from collections.abc import Callable
from typing import Any

import torch

from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request, Said
from workers.caption.engine.sampling import Sampling
from workers.model.loading import LoadedModel

NEW = 12
FRAME = 36
"""Patches."""
SIZE = Size(rows=3, positions=256, chunk=32, patches=2 * FRAME)
WAIT_S = 120
Make = Callable[..., Engine]


def film(loaded: LoadedModel, seed: int, frames: int, **fields: Any) -> Request:
    """A prompt of random letters, and random pixels."""
    generator = torch.Generator().manual_seed(seed)
    side = loaded.preprocessor.crop
    letters = torch.randint(97, 123, (3 + 7 * seed % 40,), generator=generator).tolist()
    text = f"USER: {'<video>' if frames else ''}{''.join(map(chr, letters))} ASSISTANT:"
    ids = list(loaded.tokenizer(text).input_ids)
    if not frames:
        return Request(tuple(ids), **{"samplings": (Sampling(NEW),), **fields})
    ids = loaded.layout.expand(ids, videos=[frames])
    pixels = torch.randn(frames, 3, side, side, generator=generator)
    return Request(tuple(ids), pixels, **{"samplings": (Sampling(NEW),), **fields})


def films(loaded: LoadedModel, **fields: Any) -> list[Request]:
    return [film(loaded, seed, seed % 5, **fields) for seed in range(7)]


def plain(loaded: LoadedModel, request: Request, **options: Any) -> tuple[int, ...]:
    """What `generate` says."""
    ids = torch.tensor([request.ids])
    pixels = {} if request.pixels is None else {"pixel_values_videos": request.pixels[None]}
    output = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **pixels,
        max_new_tokens=request.samplings[0].max_new_tokens,
        do_sample=False,
        pad_token_id=loaded.tokenizer.pad_token_id,
        **options,
    )
    return tuple(output[0, ids.shape[1] :].tolist())


def asked(engine: Engine, *requests: Request) -> list[Said]:
    """The first candidates, of requests that are sent all at once."""
    tickets = [engine.submit(one) for one in requests]
    return [one.result(WAIT_S)[0] for one in tickets]


def spoil(engine: Engine) -> None:
    """All its rows, as the worst of captions leave them."""
    kv = engine._runner.kv
    with torch.inference_mode():
        for memory in (*kv.keys, *kv.values):
            memory.fill_(float("nan"))
    for row in range(kv.rows):
        kv.writes(row, kv.positions + 1)
