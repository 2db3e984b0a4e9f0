"""How many frames a caption gets: the least of what is asked, what the card allows, what fits."""

from dataclasses import dataclass

from shared.cards import CardClass
from shared.errors import DoesNotFit


@dataclass(frozen=True)
class Plan:
    frames: int
    visual_tokens: int
    """At most: a short video has fewer frames."""
    reason: str


def plan_frames(
    card: CardClass,
    *,
    requested: int | None,
    tokens_per_frame: int,
    prompt_tokens: int,
    new_tokens: int,
    context: int,
) -> Plan:
    """Frames and tokens are two limits of the card, and the model's context is a third.

    Args:
        requested: the same number of frames on every card, or None for the card's own.
        prompt_tokens: without the visual ones.
        context: positions of the language model.

    Raises:
        DoesNotFit: not what was requested (or, without a request, not one frame) fits.
    """
    limits = {
        f"{card.name} allows {card.frames} frames": card.frames,
        f"{card.name} allows {card.visual_tokens} visual tokens": card.visual_tokens
        // tokens_per_frame,
        f"the model has {context} positions": (context - prompt_tokens - new_tokens)
        // tokens_per_frame,
    }
    reason, fitting = min(limits.items(), key=lambda limit: limit[1])
    frames = requested or fitting
    if frames > fitting or fitting < 1:
        raise DoesNotFit(
            f"{frames} frames of {tokens_per_frame} tokens, {prompt_tokens} prompt and "
            f"{new_tokens} new tokens: {reason}",
            frames=frames,
            fitting=max(fitting, 0),
        )
    if requested:
        reason = f"{requested} frames were asked for"
    return Plan(frames, frames * tokens_per_frame, reason)
