"""What tokens see: a row that decodes its own keys up to its length, a part of a prompt what came
before it and itself.

Rows have two ways. `Masked` is PyTorch's own: one span of positions for all rows, with the ends
masked. `Flash` is a kernel that is told each row's length and reads nothing behind it; NVIDIA cards
since Ampere have it, for 16 bits. Where it is there it is tried once, and taken if it says the same
and takes less time.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from shared import telemetry
from workers.caption.engine.batch import Batch, Part
from workers.caption.engine.kv import KV

BLOCK = 64
"""Decoding looks at whole blocks of positions: sums over a length that is not a multiple of what a
vector register holds are added up in another order."""
LINE = 16
"""A GPU's kernels copy a mask whose lines do not begin at a multiple of it."""
TRIES = 20

log = telemetry.get_logger("jamak.engine")

# cuDNN plans each shape anew, for half a second, and decoding has many.
torch.backends.cuda.enable_cudnn_sdp(False)


class Rows(Protocol):
    """Attention of rows 0 .. that decode, in one pass.

    Args:
        lengths: (rows,) positions before the token that looks.
        longest: the greatest of them.
    """

    def __init__(self, kv: KV, lengths: torch.Tensor, longest: int) -> None: ...

    def __call__(self, layer: int, q: torch.Tensor, scale: float) -> torch.Tensor:
        """(rows, heads, size) -> (rows, heads * size)."""


class Masked:
    def __init__(self, kv: KV, lengths: torch.Tensor, longest: int) -> None:
        self._kv = kv
        self._reach = min(-(-(longest + 1) // BLOCK) * BLOCK, kv.positions)
        places = torch.arange(self._reach, device=lengths.device)
        hidden = places > lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=kv.keys[0].dtype, device=lengths.device)
        self._mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]

    def __call__(self, layer: int, q: torch.Tensor, scale: float) -> torch.Tensor:
        rows, heads, size = q.shape
        keys = self._kv.keys[layer][:rows, :, : self._reach]
        values = self._kv.values[layer][:rows, :, : self._reach]
        # Heads that share a key stand in the query's length: no key is read twice.
        q = q.view(rows, keys.shape[1], -1, size)
        seen = F.scaled_dot_product_attention(q, keys, values, attn_mask=self._mask, scale=scale)
        return seen.reshape(rows, heads * size)


def flash(*given: Any, **named: Any) -> torch.Tensor:
    """Of sequences that lie one behind the other: where each begins, and how much of it counts."""
    seen: torch.Tensor = torch.ops.aten._flash_attention_forward(*given, **named)[0]
    return seen


class Flash:
    """Each of a row's key heads is a sequence of its own: so they lie in the cache."""

    def __init__(self, kv: KV, lengths: torch.Tensor, longest: int) -> None:
        self._kv, self._most = kv, kv.positions + 1
        count = len(lengths) * kv.keys[0].shape[1]
        self._begins = torch.arange(count + 1, dtype=torch.int32, device=lengths.device)
        # Who writes nowhere needs to see nothing.
        used = torch.where(lengths < kv.nowhere, lengths + 1, 1).to(torch.int32)
        self._used = used[:, None].expand(-1, kv.keys[0].shape[1]).reshape(-1)

    def __call__(self, layer: int, q: torch.Tensor, scale: float) -> torch.Tensor:
        rows, heads, size = q.shape
        keys, values = (
            one[:rows].view(-1, 1, size) for one in (self._kv.keys[layer], self._kv.values[layer])
        )
        seen = flash(
            q.reshape(len(self._used), -1, size),
            keys,
            values,
            self._begins,
            self._begins * self._most,
            1,
            self._most,
            0.0,
            False,
            False,
            scale=scale,
            seqused_k=self._used,
        )
        return seen.reshape(rows, heads * size)


def fastest(kv: KV, heads: int) -> type[Rows]:
    """Of what this device has. The cache is empty, and is so again."""
    keys, values = kv.keys[0], kv.values[0]
    rows, size = kv.rows, keys.shape[-1]
    if keys.device.type != "cuda" or keys.dtype == torch.float32:
        return Masked
    generator = torch.Generator(keys.device).manual_seed(0)
    for memory in (keys, values):
        memory.normal_(generator=generator)
    q = torch.empty(rows, heads, size, dtype=keys.dtype, device=keys.device)
    q.normal_(std=4, generator=generator)  # so that each looks at few: what is missed is seen
    lengths = torch.linspace(kv.positions - 1, kv.positions // 2, rows, device=keys.device).long()

    def look(way: type[Rows]) -> torch.Tensor:
        return way(kv, lengths, kv.positions - 1)(0, q, size**-0.5)

    try:
        right, also = look(Masked), look(Flash)
        torch.testing.assert_close(also, right, rtol=0.02, atol=0.02)
        took = {way: _ms(partial(look, way)) for way in (Masked, Flash)}
    except (RuntimeError, NotImplementedError, TypeError, AssertionError) as error:
        log.info("attention", kernel="masked", message=f"{type(error).__name__}: {error}")
        return Masked
    finally:
        for memory in (keys, values):
            memory.zero_()
    way = min(took, key=lambda one: took[one])
    told = {f"{one.__name__.lower()}_ms": round(ms, 4) for one, ms in took.items()}
    log.info("attention", kernel=way.__name__.lower(), **told)
    return way


def _ms(what: Callable[[], Any]) -> float:
    """On the device."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    what()
    begun.record()
    for _ in range(TRIES):
        what()
    ended.record()
    ended.synchronize()
    return float(begun.elapsed_time(ended)) / TRIES


class Seeing:
    """Where the tokens of a batch write their keys and values, and what they see."""

    def __init__(self, kv: KV, batch: Batch, rows_see: type[Rows]) -> None:
        self._kv, self._parts, self._rows = kv, batch.parts, batch.rows
        self._lengths = batch.lengths
        self._numbers = torch.arange(batch.rows, device=batch.lengths.device)
        self._look = rows_see(kv, batch.lengths, batch.longest) if batch.rows else None
        self._masks = [_causal(part) for part in batch.parts]

    def write(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> None:
        """(tokens, kv heads, size) each."""
        for memory, new in ((self._kv.keys[layer], k), (self._kv.values[layer], v)):
            if self._rows:
                memory[self._numbers, :, self._lengths] = new[: self._rows]
            at = self._rows
            for part in self._parts:
                count = len(part.inputs)
                memory[part.row, :, part.start : part.end] = new[at : at + count].transpose(0, 1)
                at += count

    def look(self, layer: int, q: torch.Tensor, scale: float) -> torch.Tensor:
        """(tokens, heads, size) -> (tokens, heads * size)."""
        out = self._of_rows(layer, q, scale)
        at = self._rows
        for part, mask in zip(self._parts, self._masks, strict=True):
            count = len(part.inputs)
            out.append(self._prompt(layer, q[at : at + count], part, mask, scale))
            at += count
        return torch.cat(out) if len(out) != 1 else out[0]

    def last(self, layer: int, q: torch.Tensor, scale: float) -> torch.Tensor:
        """As `look`, of the decoding rows and of one token for each part with `last`."""
        out = self._of_rows(layer, q, scale)
        at = self._rows
        for part in self._parts:
            if part.last:
                out.append(self._prompt(layer, q[at : at + 1], part, None, scale))
                at += 1
        return torch.cat(out) if len(out) != 1 else out[0]

    def _of_rows(self, layer: int, q: torch.Tensor, scale: float) -> list[torch.Tensor]:
        return [] if self._look is None else [self._look(layer, q[: self._rows], scale)]

    def _prompt(
        self, layer: int, q: torch.Tensor, part: Part, mask: torch.Tensor | None, scale: float
    ) -> torch.Tensor:
        keys = self._kv.keys[layer][part.row : part.row + 1, :, : part.end]
        values = self._kv.values[layer][part.row : part.row + 1, :, : part.end]
        shared = q.shape[1] // keys.shape[1]
        if mask is not None and shared > 1:
            # Of a GPU's kernels none takes a mask and shared keys, but the one that is slow.
            keys, values = (one.repeat_interleave(shared, dim=1) for one in (keys, values))
        seen = F.scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and len(q) > 1,
            scale=scale,
            enable_gqa=q.shape[1] != keys.shape[1],
        )
        return seen[0].transpose(0, 1).flatten(1)


def _causal(part: Part) -> torch.Tensor | None:
    """To be added. None: it begins at 0, which needs no mask of its own."""
    if part.start == 0 or len(part.inputs) == 1:
        return None
    wide = -(-part.end // LINE) * LINE
    mask = part.inputs.new_full((len(part.inputs), wide), float("-inf")).triu(part.start + 1)
    return mask[:, : part.end]
