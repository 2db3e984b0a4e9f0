"""What is measured: each a function that gives figures, or says why there are none."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.models import Work, quantise, random_model, requests_of
from benchmarks.gpu.roofline import Ceiling, prompt_flop, roofline, synchronize
from benchmarks.gpu.systems import Turns, generated, rate_of_engine, rate_of_generate
from shared.cards import CLASSES
from shared.messages import AdapterUsed
from shared.settings import CardName
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.engine.buckets import Bucketed, Mode
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request
from workers.caption.machines import GIB, machine_of
from workers.caption.warmup import Cuda, free_after_warmup
from workers.model.adapter_files import Adapter, AdapterShape
from workers.model.geometry import Geometry
from workers.model.loading import LoadedModel


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    new_tokens: tuple[int, int]
    decoded: int
    """Tokens of each row where single steps are timed."""
    rounds: int
    """Of all rows, of which captions a second are counted."""
    alone: int
    """Captions of `generate`, one at a time."""
    static: int
    """Captions in a static batch."""
    most_rows: int
    equal: int
    """Captions that are compared."""
    equal_layers: int
    swaps: int
    rank: int


FULL = Scale((20, 200), 64, 3, 2, 8, 64, 12, 4, 10, 16)
QUICK = Scale((3, 5), 8, 1, 1, 2, 3, 3, 2, 3, 4)


class Capped(Cuda):
    """Of a card that has no more than this."""

    def __init__(self, device: torch.device, all_of_it: int) -> None:
        super().__init__(device)
        self._card, self._all = device, all_of_it

    def free(self) -> tuple[int, int]:
        torch.cuda.empty_cache()
        return self._all - torch.cuda.memory_reserved(self._card), self._all


class Played:
    """On a CPU: of a card of which nothing is taken."""

    def __init__(self, all_of_it: int) -> None:
        self._all = all_of_it

    def begin(self) -> None:
        pass

    def most(self) -> int:
        return 0

    def free(self) -> tuple[int, int]:
        return self._all, self._all


@contextmanager
def engine_of(
    loaded: LoadedModel, size: Size, mode: Mode = "fast", turns: Turns | None = None
) -> Iterator[Engine]:
    engine = Engine(loaded, size, on_turn=turns or Turns(), mode=mode)
    try:
        yield engine
    finally:
        engine.close()
        del engine
        forget()


def forget() -> None:
    """What nobody holds any more."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def size_of(loaded: LoadedModel, requests: list[Request], rows: int, chunk: int = 512) -> Size:
    positions = -(-max(one.longest for one in requests) // 64) * 64
    return Size(rows, positions, chunk, 4 * loaded.layout.patches_per_side**2)


def equality(name: str, geometry: Geometry, device: torch.device, scale: Scale) -> dict[str, Any]:
    """In 32-bit floats, with true widths and fewer layers: the same tokens as `generate`."""
    shallow = replace(geometry, layers=min(geometry.layers, scale.equal_layers))
    loaded = random_model(name, shallow, device, torch.float32)
    requests = [
        one
        for frames in (1, 2, 4)
        for one in requests_of(loaded, Work(frames, scale.new_tokens), -(-scale.equal // 3))
    ]
    wanted = [generated(loaded, [one])[0] for one in requests]
    told: dict[str, Any] = {"layers": shallow.layers, "compared": len(wanted)}
    modes: tuple[Mode, ...] = ("fast", "same", "plain")
    for mode in modes:
        with engine_of(loaded, size_of(loaded, requests, 5), mode) as engine:
            tickets = [engine.submit(one) for one in requests]
            said = [one.result()[0].tokens for one in tickets]
        same = sum(a == b for a, b in zip(said, wanted, strict=True))
        told[mode] = round(same / len(wanted), 4)
    return told


def capped(
    loaded: LoadedModel, geometry: Geometry, card: CardName, quantized: bool, scale: Scale
) -> CardPlan:
    """Raises DoesNotFit."""
    machine = replace(machine_of(CLASSES[card]), quantized=quantized)
    dtype = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32"}
    machine = replace(machine, dtype=dtype[loaded.dtype])
    plan = plan_card(CLASSES[card], machine, geometry, Asked(new_tokens=scale.new_tokens[1]))
    all_of_it = machine.memory or 0
    cuda = loaded.device.type == "cuda"
    memory = Capped(loaded.device, all_of_it) if cuda else Played(all_of_it)
    plan = plan.within(free_after_warmup(loaded, plan, memory))
    rows = min(plan.rows.value, scale.most_rows)
    return replace(plan, rows=replace(plan.rows, value=rows))


def card_class(
    loaded: LoadedModel,
    geometry: Geometry,
    card: CardName,
    ceiling: Ceiling,
    scale: Scale,
    limit_s: float,
    *,
    quantized: bool = False,
    peers: bool = True,
) -> dict[str, Any]:
    """Captions a second within a class's memory and frames; the bandwidth is this card's own."""
    memory = machine_of(CLASSES[card]).memory or 0
    with memory_of(loaded.device, memory):
        plan = capped(loaded, geometry, card, quantized, scale)
        rows, frames = plan.rows.value, plan.frames.value
        work = Work(frames, scale.new_tokens)
        requests = requests_of(loaded, work, max(rows * scale.rounds, scale.static))
        told: dict[str, Any] = {
            "cap_gib": round(memory / GIB, 1),
            "weights": "NF4" if quantized else plan.machine.dtype,
            "rows": rows,
            "frames": frames,
            "prompt_tokens": len(requests[0].ids),
        }
        if peers:
            told["generate"] = _peer(loaded, requests[: scale.alone], 1)
            told[f"static_{scale.static}"] = _peer(loaded, requests[: scale.static], scale.static)
        size = size_of(loaded, requests, rows, plan.chunk.value)
        with engine_of(loaded, size) as engine:
            # From all rows down to none: every graph is caught before anything is counted.
            rate_of_engine(engine, requests_of(loaded, Work(1, (4, 12)), rows), limit_s)
            rate = rate_of_engine(engine, requests, 0.8 * limit_s)
        told["jamak"] = rate.shown()
    least = roofline(
        geometry,
        plan.machine,
        ceiling,
        rows=rows,
        frames=frames,
        prompt_tokens=len(requests[0].ids),
        new_tokens=work.mean,
    )
    told["roofline"] = {**least.shown(), "captions_per_s": round(1 / least.seconds, 4)}
    told["share_of_roofline"] = round(rate.captions_per_s * least.seconds, 4)
    for peer in ("generate", f"static_{scale.static}"):
        if other := told.get(peer, {}).get("captions_per_s"):
            told[f"times_{peer}"] = round(rate.captions_per_s / other, 2)
    return told


def _peer(loaded: LoadedModel, requests: list[Request], size: int) -> dict[str, Any]:
    try:
        return rate_of_generate(loaded, requests, size).shown()
    except torch.OutOfMemoryError:
        return {"skipped": "memory ran out"}
    finally:
        forget()


@contextmanager
def memory_of(device: torch.device, most: int) -> Iterator[None]:
    """No more than that; on a CPU nothing holds it back."""
    if device.type != "cuda":
        yield
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def prefill(
    loaded: LoadedModel, geometry: Geometry, frames: int, ceiling: Ceiling, scale: Scale
) -> dict[str, Any]:
    """Frames and prompts alone: one new token each. MFU: the FLOP of the model by the card's."""
    requests = requests_of(loaded, Work(frames, (1, 1)), max(2, scale.alone * 4))
    with engine_of(loaded, size_of(loaded, requests, len(requests), 2048)) as engine:
        rate_of_engine(engine, requests[:2], 60)
        rate = rate_of_engine(engine, requests, 60)
    tokens = len(requests[0].ids)
    flop = prompt_flop(geometry, frames, tokens)
    return {
        "frames": frames,
        "prompt_tokens": tokens,
        "prompts_per_s": round(rate.captions_per_s, 3),
        "prompt_tokens_per_s": round(rate.captions_per_s * tokens, 1),
        "mfu": round(rate.captions_per_s * flop / ceiling.flops, 4),
    }


def graphs(loaded: LoadedModel, scale: Scale) -> list[dict[str, Any]]:
    """Milliseconds of a step in which all rows decode: with CUDA graphs, and with whatever else
    `fast` does in its own way, beside `plain`."""
    told = []
    for rows in sorted({1, min(8, scale.most_rows), scale.most_rows}):
        row: dict[str, Any] = {"rows": rows}
        said: list[list[tuple[int, ...]]] = []
        requests = requests_of(loaded, Work(1, (scale.decoded, scale.decoded)), rows)
        modes: tuple[tuple[str, Mode], ...] = (("fast_ms", "fast"), ("plain_ms", "plain"))
        for name, mode in modes:
            turns = Turns()
            with engine_of(loaded, size_of(loaded, requests, rows), mode, turns) as engine:
                rate_of_engine(engine, requests, 60)
                turns.clear()
                tickets = [engine.submit(one) for one in requests]
                said.append([one.result()[0].tokens for one in tickets])
                row[name] = round(1000 * turns.step_s(rows), 3)
                if mode == "fast":
                    row |= how(engine)
        row["times"] = round(row["plain_ms"] / row["fast_ms"], 2)
        # In 16 bits two ways of rounding part in time: no promise, but worth a look.
        row["same_captions"] = sum(a == b for a, b in zip(*said, strict=True))
        told.append(row)
    return told


def how(engine: Engine) -> dict[str, Any]:
    """What of a fast card's ways was really gone."""
    passes = engine._runner._decoder
    if not isinstance(passes, Bucketed):
        return {"caught": 0, "attention": "masked"}
    caught = 0 if passes._graphs is None else len(passes._graphs._caught)
    return {"caught": caught, "attention": passes._decoder.rows_see.__name__.lower()}


def swaps(loaded: LoadedModel, scale: Scale) -> dict[str, Any]:
    """Two adapters in turn while all rows decode."""
    shape, rows, turns = AdapterShape.of(loaded.model), min(8, scale.most_rows), Turns()
    generator = torch.Generator().manual_seed(0)
    both = [
        Adapter(
            scale.rank,
            {
                name: (torch.randn(size, generator=generator) * 0.01).to(loaded.dtype)
                for name, size in shape.tensors(scale.rank).items()
            },
        )
        for _ in range(2)
    ]
    requests = requests_of(loaded, Work(1, (scale.decoded, scale.decoded)), rows)
    took: list[float] = []
    with engine_of(loaded, size_of(loaded, requests, rows), turns=turns) as engine:
        load = engine._adapters.load

        def timed(number: int, version: str, adapter: Adapter) -> None:
            synchronize(loaded.device)
            began = time.perf_counter()
            load(number, version, adapter)
            synchronize(loaded.device)
            took.append(time.perf_counter() - began)

        engine._adapters.load = timed  # type: ignore[method-assign]
        tickets = []
        for number in range(scale.swaps + 1):
            used = AdapterUsed(version=f"v{number}", generation=number)
            engine.use(used, both[number % 2])
            tickets += [engine.submit(one) for one in requests[: max(1, rows // 2)]]
            if number == 0:  # the first one makes room for all that follow
                tickets[-1].result()
                turns.clear()
        for ticket in tickets:
            ticket.result()
    gaps = turns.gaps()
    return {
        "swaps": len(took) - 1,
        "rank": scale.rank,
        "swap_ms_p50": round(1000 * median(took[1:]), 2),
        "first_ms": round(1000 * took[0], 2),
        "stall_steps_max": round(max(gaps) / median(gaps), 1) if gaps else None,
    }


def four_bits(
    loaded: LoadedModel,
    geometry: Geometry,
    ceiling: Ceiling,
    scale: Scale,
    limit_s: float,
    cards: tuple[CardName, ...],
) -> dict[str, Any]:
    """The model in NF4 from here on."""
    quantise(loaded)
    forget()
    return {
        card: card_class(
            *(loaded, geometry, card, ceiling, scale, limit_s / len(cards)),
            quantized=True,
            peers=False,
        )
        for card in cards
    }
