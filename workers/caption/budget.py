"""What a worker of a card class does on a machine; or that it cannot, and the nearest that can.

Cards are in machines.py, what one caption gets in frames.py, a plan's numbers in card_plan.py, and
how they come about in sums.py.
"""

from dataclasses import dataclass, field, replace

from shared.cards import CLASSES, GPU_CLASSES, CardClass
from shared.errors import DoesNotFit
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.machines import Machine, gib, machine_of
from workers.caption.sums import planned
from workers.model.geometry import UNFIXED, Geometry


@dataclass(frozen=True)
class Nearest:
    """The plan that holds, where the one that was asked for does not."""

    text: str
    card: CardClass | None = None
    """None: there is no such plan."""
    machine: Machine | None = None
    asked: Asked = field(default_factory=Asked)


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
    plan = planned(card, machine, geometry, asked, stride)
    if plan.rows.value < 1 and asked.pool_stride is None and stride < 3:
        plan = planned(card, machine, geometry, asked, 3)
    if plan.rows.value < 1 and machine.host is not None:
        raise DoesNotFit(
            f"{gib(machine.weights_held(geometry))} GiB of weights in {machine.dtype} and one "
            f"caption do not fit this machine, of whose memory {gib(machine.host)} GiB can be used",
            cure="Use a machine with more memory or with a GPU, or choose a smaller model.",
        )
    if plan.rows.value < 1:
        raise DoesNotFit(_too_much(plan), cure=nearest(card, machine, geometry, asked).text)
    return plan


def _too_much(plan: CardPlan) -> str:
    usable, weights = plan.machine.usable, plan.weight_bytes.value
    if weights > usable:
        return (
            f"{gib(weights)} GiB of weights do not fit {plan.card.name}, of whose memory "
            f"{gib(usable)} GiB can be used"
        )
    return (
        f"{gib(weights)} GiB of weights leave no room in {plan.card.name} for a caption's keys "
        f"and values, {gib(plan.row_bytes)} GiB: {gib(usable)} GiB can be used"
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
        return any(planned(card, machine, geometry, asked, one).rows.value > 0 for one in strides)
    except DoesNotFit:  # nor does the model's context
        return False
