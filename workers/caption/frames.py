"""How many frames of a video a caption gets: the least of what card, model and worker allow."""

from dataclasses import dataclass

from shared.cards import CardClass
from shared.errors import DoesNotFit


@dataclass(frozen=True)
class Plan:
    """Of one caption."""

    frames: int
    visual_tokens: int
    """At most: a short video has fewer frames."""
    reason: str
    reduced: bool = False
    """Fewer frames than planned: memory ran out."""


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
