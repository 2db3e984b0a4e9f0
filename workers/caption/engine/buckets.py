"""Decoding in passes of a few sizes, so that a CUDA graph of each can be replayed.

A pass of a 7B model is some thousand small kernels, and Python takes longer to ask for them than a
fast card to compute them. A graph asks for all at once, but of fixed shapes at fixed addresses. So
rows are padded up to a bucket, all positions of a row are looked at, its last ones masked, and what
differs from step to step lies in buffers. Prompts have passes of their own, each part one.

What is computed for a row then depends on its bucket, and for a prompt on nothing but itself. With
a single bucket a caption is the same bytes in any company, on a GPU too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from shared import telemetry
from workers.caption.engine.adapters import AdapterSlots
from workers.caption.engine.attention import fastest
from workers.caption.engine.batch import Batch
from workers.caption.engine.decoder import Decoder
from workers.caption.engine.kv import KV
from workers.model.memory import lacks_memory

Mode = Literal["fast", "same", "plain"]
"""`fast`: on a GPU in buckets, with graphs. `same`: all rows at every step, so that company changes
no bit. `plain`: no graphs, rows and prompts in one pass, as on a CPU."""

EIGHTH = 8

log = telemetry.get_logger("jamak.engine")


class Passes(Protocol):
    """Logits of what is in a batch."""

    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor: ...

    def embed(self, ids: torch.Tensor) -> torch.Tensor: ...


def buckets(rows: int) -> list[int]:
    """1, 2, 4, and every eighth: few enough to keep a graph of each."""
    return sorted({min(one, rows) for one in (1, 2, 4, *range(EIGHTH, rows + EIGHTH, EIGHTH))})


def passes_of(decoder: Decoder, adapters: AdapterSlots, kv: KV, mode: Mode) -> Passes:
    cuda = decoder.device.type == "cuda"
    sizes = [kv.rows] if mode == "same" else buckets(kv.rows) if cuda and mode == "fast" else []
    if not sizes:
        return decoder
    if mode == "fast":
        decoder.rows_see = fastest(kv, decoder.query_heads)
    return Bucketed(decoder, adapters, kv, sizes, Graphs(decoder.device) if cuda else None)


class Bucketed:
    """Args:
    sizes: of the passes, upwards; the last one is all rows.
    graphs: None: each pass is computed operation by operation.
    """

    def __init__(
        self,
        decoder: Decoder,
        adapters: AdapterSlots,
        kv: KV,
        sizes: list[int],
        graphs: "Graphs | None",
    ) -> None:
        self._decoder, self._adapters, self._kv = decoder, adapters, kv
        self._sizes, self._graphs = sizes, graphs
        self.embed = decoder.embed
        device = decoder.device
        self._tokens, self._lengths, self._slots = (
            torch.zeros(kv.rows, dtype=torch.long, device=device) for _ in range(3)
        )
        self._logits = torch.empty(kv.rows, decoder.vocabulary, dtype=decoder.dtype, device=device)

    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
        """As the decoder itself."""
        told = [self._decode(batch)] if batch.rows else []
        for part in batch.parts:
            alone = Batch(0, batch.tokens[:0], batch.lengths[:0], 0, None, [part])
            told.append(self._decoder(alone, kv))
        return torch.cat(told) if len(told) > 1 else told[0]

    def _decode(self, batch: Batch) -> torch.Tensor:
        rows, kv = batch.rows, self._kv
        size = next(one for one in self._sizes if one >= rows)
        self._tokens[:rows] = batch.tokens
        self._lengths[:rows] = batch.lengths
        # Padding writes where nobody looks, whatever it computes from what stands in those rows.
        self._lengths[rows:size] = kv.nowhere
        if batch.slots is not None:
            self._slots[:rows] = batch.slots
        padded = Batch(
            rows=size,
            tokens=self._tokens[:size],
            lengths=self._lengths[:size],
            longest=kv.positions - 1,
            slots=None if batch.slots is None else self._slots[:size],
            parts=(),
        )
        logits = self._logits[:size]

        def compute() -> None:
            logits.copy_(self._decoder(padded, kv))

        if self._graphs is None:
            compute()
        else:
            rank = 0 if batch.slots is None else self._adapters.rank
            self._graphs.run(Key(size, rank), compute)
        return logits[:rows]


@dataclass(frozen=True)
class Key:
    """What a graph depends on, besides addresses that stay."""

    rows: int
    rank: int
    """For which there is room, if there are adapters in the pass: with it their addresses change.
    0: the base model alone."""


class Graphs:
    """Each is caught when it is needed first. Where that fails all goes on without.

    What a graph computed is there until the next one runs: they share their memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._caught: dict[Key, torch.cuda.CUDAGraph] = {}
        self._fails = False

    def run(self, key: Key, compute: Callable[[], None]) -> None:
        """Does what `compute` does, which may be done several times over."""
        graph = self._caught.get(key) or self._try_to_catch(key, compute)
        if graph is None:
            compute()
        else:
            graph.replay()

    def _try_to_catch(self, key: Key, compute: Callable[[], None]) -> "torch.cuda.CUDAGraph | None":
        if self._fails:
            return None
        # Those of a lower rank look at memory that is gone.
        self._caught = {k: graph for k, graph in self._caught.items() if k.rank in (0, key.rank)}
        try:
            graph = self._catch(compute)
        except RuntimeError as error:
            if lacks_memory(error):
                raise  # with less at once, or without what others take, it may be caught
            self._fails, self._caught = True, {}
            log.warning("no CUDA graphs from here on", message=f"{type(error).__name__}: {error}")
            return None
        self._caught[key] = graph
        return graph

    def _catch(self, compute: Callable[[], None]) -> torch.cuda.CUDAGraph:
        before, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        # Around all: a capture that fails leaves its own stream the current one.
        with torch.cuda.stream(before):
            self._stream.wait_stream(before)
            with torch.cuda.stream(self._stream):
                compute()  # libraries set themselves up at their first call, on each stream
            before.wait_stream(self._stream)
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                # Other threads may examine the device meanwhile.
                capture_error_mode="thread_local",
            ):
                compute()
        return graph
