"""The numbers of a plan: arithmetic over a card class, a machine and the sizes of a model."""

import math
from dataclasses import replace

from shared.cards import CardClass
from workers.caption.card_plan import (
    ADAPTERS,
    AHEAD,
    BLOCK,
    CHUNKS,
    CPU_KV,
    CPU_ROWS,
    FETCH_S,
    MOST_ROWS,
    ROOM,
    STALL_S,
    TYPICAL_TOKENS,
    VISION_FRAMES,
    Asked,
    CardPlan,
    Figure,
)
from workers.caption.frames import plan_frames
from workers.caption.machines import BANDWIDTH, PEAK, Machine, gib
from workers.model.geometry import Geometry


def planned(
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
    if machine.native:
        return f"{language + others:.2f} billion in bfloat16, which this CPU computes in itself"
    if machine.host is not None and machine.dtype != "float32":
        exact = replace(machine, dtype="float32").weights_held(geometry)
        return (
            f"{language + others:.2f} billion in bfloat16: in float32 they would take {gib(exact)} "
            f"of {gib(machine.host)} GiB"
        )
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
        why = f"on a CPU {CPU_ROWS} at most, and {gib(CPU_KV)} GiB of keys and values"
        if plan.machine.host is not None:
            left = plan.machine.host - plan.machine.weights_held(plan.geometry)
            rows = min(rows, max(0, left - _working_bytes(plan)) // plan.row_bytes)
        return Figure(rows, why)
    taken = plan.weight_bytes.value + _working_bytes(plan) + plan.adapter_bytes
    left = plan.machine.usable - taken
    rows = max(0, left) // plan.row_bytes
    if rows > MOST_ROWS:
        return Figure(MOST_ROWS, f"{rows} fit; beyond {MOST_ROWS} little is gained")
    return Figure(
        rows,
        f"{gib(left)} of {gib(plan.machine.usable)} GiB are left by weights, computing and "
        f"{ADAPTERS} adapters; a row takes {gib(plan.row_bytes)}",
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


def seconds_with(plan: CardPlan, frames: int, asked: Asked) -> float:
    """Of a caption of so many frames, on a worker with this plan whose rows are all in use.

    Args:
        asked: what the plan was made for.
    """
    tokens = frames * plan.geometry.tokens_per_frame(plan.pool_stride)
    fewer = replace(plan, frames=Figure(frames, ""), visual_tokens=Figure(tokens, ""))
    seconds = _seconds(fewer, plan.rows.value, asked).value
    assert seconds is not None
    return seconds


def _ahead(seconds: float | None) -> Figure[int]:
    least, most = AHEAD
    wanted = math.ceil(FETCH_S / seconds) if seconds else least
    return Figure(
        min(max(wanted, least), most),
        f"a video takes about {FETCH_S:g} s to fetch and decode; {least} to {most}",
    )
