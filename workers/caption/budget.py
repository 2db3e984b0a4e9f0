"""What a caption gets, and how many run at once: frames, tokens, rows, each with its reason.

Arithmetic over a card class, a machine and the sizes of a model. Knows nothing of torch: what is
really free is measured elsewhere (workers/caption/warmup.py), and `within` counts the rows in it.

Peak rates are the makers' (dense fp16 or bf16); what of them is reached is assumed, not measured.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from shared.cards import CLASSES, GPU_CLASSES, CardClass, Dtype
from shared.errors import DoesNotFit
from shared.settings import CardName
from workers.model.geometry import UNFIXED, Geometry

GIB = 2**30
BYTES: dict[Dtype, int] = {"float16": 2, "bfloat16": 2, "float32": 4}

RESERVE = 0.06
"""Of a card's memory, for what the allocator cannot use."""
DEVICE_BYTES = int(0.6 * GIB)
"""The device's own: context, kernels, workspace."""
BANDWIDTH, PEAK = 0.85, 0.55
"""Of the makers' rates, what reading weights and multiplying matrices come to."""

MOST_ROWS = 64
"""More rows wait longer for each other, and the keys and values that they read cost more than the
weights that they share."""
CPU_ROWS, CPU_KV = 8, 2 * GIB
"""A CPU gains little beyond; and memory there is everybody's."""
STALL_S = 0.1
"""For so long at most rows that decode wait for a part of a prompt."""
CHUNKS = (128, 256, 512, 1024, 2048)
"""A prompt is worked off in parts of one of these lengths."""
VISION_FRAMES = 4
"""At once in the vision tower."""
ADAPTERS, RANK = 2, 16
"""In memory at once; what room is left for each."""
ROOM = 128
"""Positions beyond what the settings need, for a longer prompt or answer of a recipe."""
BLOCK = 64
"""Positions of a row are a multiple of it."""
TYPICAL_TOKENS = 110
"""Of a caption, for the expected seconds."""
FETCH_S = 2.0
"""About what fetching and decoding of a video takes."""
AHEAD = (4, 16)
"""Videos that are fetched and decoded at once: at least, at most."""

MOST_AT_ONCE = MOST_ROWS + AHEAD[1]
"""Jobs in hand, whatever the card and the model."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """Of one caption."""

    frames: int
    visual_tokens: int
    """At most: a short video has fewer frames."""
    reason: str
    reduced: bool = False
    """Fewer frames than planned: memory ran out."""


@dataclass(frozen=True)
class Figure(Generic[T]):
    """A number of a plan, and why it is this one."""

    value: T
    why: str


@dataclass(frozen=True)
class Machine:
    """What a class's captions are computed on."""

    memory: int | None
    """Bytes of the card; None: a CPU."""
    dtype: Dtype
    quantized: bool
    bandwidth: float = 0.0
    """Bytes a second, as the maker says; 0: nothing is known of it."""
    flops: float = 0.0

    @property
    def number_bytes(self) -> int:
        return BYTES[self.dtype]

    @property
    def usable(self) -> int:
        """Bytes for weights, keys and values, and what is computed."""
        return int((self.memory or 0) * (1 - RESERVE)) - DEVICE_BYTES


SPEEDS: dict[CardName, tuple[float, float, float]] = {
    "t4": (15.0, 320e9, 65e12),
    "l4": (22.2, 300e9, 121e12),
    "a100": (39.4, 1555e9, 312e12),
    "h100": (79.1, 3350e9, 989e12),
}
"""Card -> GiB that a driver shows, bytes and operations a second (NVIDIA's data sheets of the T4,
L4, A100-40 and H100 SXM)."""


def machine_of(
    card: CardClass,
    *,
    device: str = "cuda",
    dtype: Dtype | None = None,
    memory: int | None = None,
) -> Machine:
    """The card that a class is named after, or one of its class.

    Args:
        dtype: of the computation; without it the class's.
        memory: bytes that it really has.
    """
    if device == "cpu" or card.name == "cpu":
        return Machine(None, "float32", quantized=False)
    gib, bandwidth, flops = SPEEDS[card.name]
    return Machine(
        int(gib * GIB) if memory is None else memory,
        dtype or card.dtype,
        card.quantized,
        bandwidth,
        flops,
    )


@dataclass(frozen=True)
class CardPlan:
    """Of all captions of a worker."""

    card: CardClass
    machine: Machine
    geometry: Geometry
    pool_stride: int
    frames: Figure[int]
    visual_tokens: Figure[int]
    positions: Figure[int]
    """Of a row: visual, prompt and new tokens."""
    weight_bytes: Figure[int]
    kv_bytes: Figure[int]
    """Of one caption at its longest."""
    rows: Figure[int]
    """Captions at once."""
    chunk: Figure[int]
    """Tokens of prompts in a step."""
    ahead: Figure[int]
    """Videos that are fetched and decoded while others are captioned."""
    seconds: Figure[float | None]
    """A caption, when all rows are in use."""

    @property
    def row_bytes(self) -> int:
        """One position more is kept: a row that is over may be begun once more."""
        return (self.positions.value + 1) * self.geometry.kv_values * self.machine.number_bytes

    @property
    def adapter_bytes(self) -> int:
        return ADAPTERS * self.geometry.adapter_bytes(RANK, self.machine.number_bytes)

    @property
    def at_once(self) -> int:
        """Jobs in hand that keep all rows full."""
        return self.rows.value + self.ahead.value

    def figures(self) -> Iterator[tuple[str, Figure[Any]]]:
        """Each number with its name."""
        for what, value in vars(self).items():
            if isinstance(value, Figure):
                yield what, value

    def within(self, free: int) -> "CardPlan":
        """With the rows that fit memory that was measured, after what a step takes.

        Raises:
            DoesNotFit: not one does.
        """
        rows = (free - self.adapter_bytes) // self.row_bytes
        if rows < 1:
            raise DoesNotFit(
                f"{_gib(free)} GiB are free after a warm-up, and a caption's keys and values take "
                f"{_gib(self.row_bytes)} GiB",
                cure="Choose a smaller JAMAK_CARD, or a card with more memory.",
            )
        if rows >= self.rows.value:
            return self
        why = f"{_gib(free)} GiB are free after a warm-up with the largest prompt"
        return replace(self, rows=Figure(rows, why))


@dataclass(frozen=True)
class Asked:
    """What a plan is for."""

    prompt_tokens: int = 64
    """Without the visual ones."""
    new_tokens: int = 256
    pool_stride: int | None = None
    """None: the checkpoint's, or 3 where memory forces it."""
    frames: int | None = None
    """None: as many as the card's class allows."""


@dataclass(frozen=True)
class Nearest:
    """The plan that holds, where the one that was asked for does not."""

    text: str
    card: CardClass | None = None
    """None: there is no such plan."""
    machine: Machine | None = None
    asked: Asked = field(default_factory=Asked)


def plan_frames(
    card: CardClass,
    *,
    requested: int | None,
    tokens_per_frame: int,
    prompt_tokens: int,
    new_tokens: int,
    context: int,
    positions: int | None = None,
) -> Plan:
    """Frames and tokens are two limits of the card, and the model's context is a third.

    Args:
        requested: the same number of frames on every card, or None for the card's own.
        prompt_tokens: without the visual ones.
        context: positions of the language model.
        positions: those that this worker has room for, where they are fewer.

    Raises:
        DoesNotFit: not what was requested (or, without a request, not one frame) fits.
    """
    room = min(context, positions or context)
    whose = "the model" if room == context else "a caption here"
    limits = {
        f"{card.name} allows {card.frames} frames": card.frames,
        f"{card.name} allows {card.visual_tokens} visual tokens": card.visual_tokens
        // tokens_per_frame,
        f"{whose} has {room} positions": (room - prompt_tokens - new_tokens) // tokens_per_frame,
    }
    reason, fitting = min(limits.items(), key=lambda limit: limit[1])
    frames = requested or fitting
    if frames > fitting or fitting < 1:
        raise DoesNotFit(
            f"{frames} frames of {tokens_per_frame} tokens, {prompt_tokens} prompt and "
            f"{new_tokens} new tokens: {reason}",
            cure=_less(fitting, room - prompt_tokens - tokens_per_frame),
            frames=frames,
            fitting=max(fitting, 0),
        )
    if requested:
        reason = f"{requested} frames were asked for"
    return Plan(frames, frames * tokens_per_frame, reason)


def _less(frames: int, new_tokens: int) -> str:
    """What would fit instead."""
    if frames > 0:
        return f"Ask for {frames} frames, or name a larger card class with --card."
    if new_tokens > 0:
        return f"Ask for {new_tokens} new tokens at most, or for a shorter prompt."
    return "Ask for a shorter prompt."


def plan_card(card: CardClass, machine: Machine, geometry: Geometry, asked: Asked) -> CardPlan:
    """What a worker of this class does on this machine.

    Raises:
        DoesNotFit: it cannot hold the model, or not one caption of it; the cure is the nearest plan
            that can.
    """
    if geometry.rope in UNFIXED:
        raise DoesNotFit(
            f"rope_type is {geometry.rope!r}: "
            "a caption would depend on those before it and beside it",
            cure="Set a fixed scaling (linear, yarn, llama3) in the checkpoint's config.json.",
        )
    stride = asked.pool_stride or geometry.pool_stride
    plan = _plan(card, machine, geometry, asked, stride)
    if plan.rows.value < 1 and asked.pool_stride is None and stride < 3:
        plan = _plan(card, machine, geometry, asked, 3)
    if plan.rows.value < 1:
        raise DoesNotFit(_too_much(plan), cure=nearest(card, machine, geometry, asked).text)
    return plan


def _too_much(plan: CardPlan) -> str:
    usable, weights = plan.machine.usable, plan.weight_bytes.value
    if weights > usable:
        return (
            f"{_gib(weights)} GiB of weights do not fit {plan.card.name}, of whose memory "
            f"{_gib(usable)} GiB can be used"
        )
    return (
        f"{_gib(weights)} GiB of weights leave no room in {plan.card.name} for a caption's keys "
        f"and values, {_gib(plan.row_bytes)} GiB: {_gib(usable)} GiB can be used"
    )


def nearest(card: CardClass, machine: Machine, geometry: Geometry, asked: Asked) -> Nearest:
    """Fewer frames on this card, then a smaller class on it (for its 4-bit weights), then a card as
    its class or a larger one has it."""
    for frames in range(card.frames - 1, 0, -1):
        fewer = replace(asked, frames=frames, pool_stride=3)
        if _holds(card, machine, geometry, fewer):
            text = f"{frames} frames with 3x3 pooling fit: choose a smaller JAMAK_CARD."
            return Nearest(text, card, machine, fewer)
    own = GPU_CLASSES.index(card.name)
    for name in reversed(GPU_CLASSES[:own]):
        smaller = CLASSES[name]
        same = replace(machine, quantized=smaller.quantized)
        if _holds(smaller, same, geometry, asked):
            text = f"JAMAK_CARD={name} fits this card: {smaller.frames} frames, and 4-bit weights."
            return Nearest(text, smaller, same, asked)
    for name in GPU_CLASSES[own:]:
        other = machine_of(CLASSES[name])
        if _holds(CLASSES[name], other, geometry, asked):
            return Nearest(f"A card of class {name} holds it.", CLASSES[name], other, asked)
    return Nearest("No class holds it: choose a smaller model.")


def _holds(card: CardClass, machine: Machine, geometry: Geometry, asked: Asked) -> bool:
    strides = [asked.pool_stride] if asked.pool_stride else [geometry.pool_stride, 3]
    try:
        return any(_plan(card, machine, geometry, asked, one).rows.value > 0 for one in strides)
    except DoesNotFit:  # nor does the model's context
        return False


def _plan(
    card: CardClass, machine: Machine, geometry: Geometry, asked: Asked, stride: int
) -> CardPlan:
    """With no rows, where there is no room for one."""
    number_bytes = machine.number_bytes
    caption = plan_frames(
        card,
        requested=asked.frames,
        tokens_per_frame=geometry.tokens_per_frame(stride),
        prompt_tokens=asked.prompt_tokens,
        new_tokens=asked.new_tokens,
        context=geometry.context,
    )
    needed = caption.visual_tokens + asked.prompt_tokens + asked.new_tokens
    positions = _positions(needed, geometry.context)
    kv = geometry.kv_values * number_bytes
    weights = int(geometry.weight_bytes(number_bytes, quantized=machine.quantized))
    bare = CardPlan(
        card=card,
        machine=machine,
        geometry=geometry,
        pool_stride=stride,
        frames=Figure(caption.frames, caption.reason),
        visual_tokens=Figure(caption.visual_tokens, _why_tokens(geometry, stride, asked)),
        positions=positions,
        weight_bytes=Figure(weights, _why_weights(geometry, machine)),
        kv_bytes=Figure(
            needed * kv,
            f"{needed} positions of {kv / 1024:g} KiB: {geometry.layers} layers of "
            f"{geometry.kv_heads} heads",
        ),
        rows=Figure(0, ""),
        chunk=_chunk(geometry, machine),
        ahead=Figure(AHEAD[0], "a CPU decodes beside what it computes"),
        seconds=Figure(None, "of a CPU no rate is known"),
    )
    rows = _rows(bare)
    if machine.memory is None or rows.value < 1:
        return replace(bare, rows=rows)
    seconds = _seconds(bare, rows.value, asked)
    return replace(bare, rows=rows, seconds=seconds, ahead=_ahead(seconds.value))


def _positions(needed: int, context: int) -> Figure[int]:
    wanted = math.ceil((needed + ROOM) / BLOCK) * BLOCK
    if wanted > context:
        return Figure(context, f"all that the model has; {needed} are needed")
    return Figure(wanted, f"{needed} are needed, and recipes may ask for {wanted - needed} more")


def _why_tokens(geometry: Geometry, stride: int, asked: Asked) -> str:
    each = geometry.tokens_per_frame(stride)
    if asked.pool_stride:
        return f"{each} a frame: {stride}x{stride} pooling was asked for"
    if stride != geometry.pool_stride:
        return f"{each} a frame: memory forces {stride}x{stride} pooling"
    return f"{each} a frame: {stride}x{stride} pooling, as the checkpoint has it"


def _why_weights(geometry: Geometry, machine: Machine) -> str:
    language, others = geometry.language_weights / 1e9, geometry.other_weights / 1e9
    if machine.quantized:
        return f"{language:.2f} billion in 4 bits and {others:.2f} in {machine.dtype}"
    return f"{language + others:.2f} billion in {machine.dtype}"


def _chunk(geometry: Geometry, machine: Machine) -> Figure[int]:
    if not machine.flops:
        return Figure(512, "on a CPU longer parts gain nothing")
    most = STALL_S * PEAK * machine.flops / (2 * geometry.language_weights)
    chunk = max((one for one in CHUNKS if one <= most), default=CHUNKS[0])
    took = 2 * geometry.language_weights * chunk / (PEAK * machine.flops)
    return Figure(chunk, f"rows that decode wait {1000 * took:.0f} ms for a part of a prompt")


def _rows(plan: CardPlan) -> Figure[int]:
    if plan.machine.memory is None:
        rows = max(1, min(CPU_ROWS, CPU_KV // plan.row_bytes))
        return Figure(
            rows, f"on a CPU {CPU_ROWS} at most, and {_gib(CPU_KV)} GiB of keys and values"
        )
    taken = plan.weight_bytes.value + _working_bytes(plan) + plan.adapter_bytes
    left = plan.machine.usable - taken
    rows = max(0, left) // plan.row_bytes
    if rows > MOST_ROWS:
        return Figure(MOST_ROWS, f"{rows} fit; beyond {MOST_ROWS} little is gained")
    return Figure(
        rows,
        f"{_gib(left)} of {_gib(plan.machine.usable)} GiB are left by weights, computing and "
        f"{ADAPTERS} adapters; a row takes {_gib(plan.row_bytes)}",
    )


def _working_bytes(plan: CardPlan) -> int:
    """What a step computes with: the larger one of frames and prompts, and all rows' logits."""
    geometry, number_bytes = plan.geometry, plan.machine.number_bytes
    vision = VISION_FRAMES * geometry.frame_bytes(number_bytes)
    language = (plan.chunk.value + MOST_ROWS) * geometry.token_bytes(number_bytes)
    logits = MOST_ROWS * geometry.vocabulary * (4 + number_bytes)
    # One layer's weights at a time are written out for the products with many rows.
    written = (
        geometry.hidden * geometry.intermediate * number_bytes if plan.machine.quantized else 0
    )
    return max(vision, language) + logits + written


def _seconds(plan: CardPlan, rows: int, asked: Asked) -> Figure[float | None]:
    """A prompt by the rate of computing, each new token by the rate of reading."""
    geometry, machine = plan.geometry, plan.machine
    prompt = plan.visual_tokens.value + asked.prompt_tokens
    new = min(TYPICAL_TOKENS, asked.new_tokens)
    frames = plan.frames.value * geometry.frame_flops(plan.pool_stride)
    before = (geometry.prompt_flops(prompt) + frames) / (PEAK * machine.flops)
    weights = geometry.step_bytes(machine.number_bytes, quantized=machine.quantized)
    seen = rows * (prompt + new / 2) * geometry.kv_values * machine.number_bytes
    step = (weights + seen) / (BANDWIDTH * machine.bandwidth)
    seconds = before + new * step / rows
    return Figure(
        seconds,
        f"{1000 * before:.0f} ms for frames and prompt, and {new} tokens in steps of "
        f"{1000 * step:.0f} ms for {rows} rows",
    )


def _ahead(seconds: float | None) -> Figure[int]:
    least, most = AHEAD
    wanted = math.ceil(FETCH_S / seconds) if seconds else least
    return Figure(
        min(max(wanted, least), most),
        f"a video takes about {FETCH_S:g} s to fetch and decode; {least} to {most}",
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
