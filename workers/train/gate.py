"""Is an adapter good enough to be used without anybody looking? Decided by its scores alone.

The same held-out videos are captioned before and after, so the comparison is paired: a video got
better, worse, or stayed as it was. Chance alone moves a few of them; the sign test says how often
it would move so many to the better side (one-sided, without the ties: Dixon and Mood 1946,
doi.org/10.1080/01621459.1946.10501898).

Knows neither torch nor S3.
"""

from collections.abc import Mapping
from math import comb

from shared.training import Pointer

ENOUGH_VIDEOS = 8
"""Held out. Of eight, one may get worse and the other seven still prove something; of seven not."""
MOST_LOST = 0.2
"""Nats a token, on average, that the better captions of a preference set may lose. A model that has
lost more tells the worse ones apart, and is on its way to say nothing sensible."""
LIKELIHOOD = 0.05
"""Of such a result, or a better one, if the adapter changed nothing for the better."""


def why_not(metrics: Mapping[str, float]) -> str | None:
    """Why an adapter with these scores is not activated by itself; None = it is.

    Args:
        metrics: as `workers/train/run.py` writes them.
    """
    videos = round(metrics["n_eval_videos"])
    if videos < ENOUGH_VIDEOS:
        held_out = "1 video is" if videos == 1 else f"{videos} videos are"
        return f"{held_out} held out: fewer than {ENOUGH_VIDEOS} do not prove that it got better"
    for name, meaning in (("exact", "exact captions"), ("chrf", "chrF++")):
        before, after = metrics[f"{name}_before"], metrics[f"{name}_after"]
        if after < before:
            return f"the held-out captions got worse: {meaning} {before:.3f} → {after:.3f}"
    for name in ("chosen", "liked"):
        before, after = metrics.get(f"logp_{name}_before", 0), metrics.get(f"logp_{name}_after", 0)
        if before - after > MOST_LOST:
            return (
                f"the {name} captions lost {before - after:.2f} nats a token; they may lose "
                f"{MOST_LOST}"
            )
    better, worse = round(metrics["n_better"]), round(metrics["n_worse"])
    if better == worse == 0:
        return f"the captions of all {videos} held-out videos are as good as before"
    likelihood = by_chance(better, worse)
    if likelihood > LIKELIHOOD:
        return (
            f"of {videos} held-out videos {better} got better and {worse} worse: "
            f"that may be chance (p = {likelihood:.2g}, wanted {LIKELIHOOD})"
        )
    return None


def why_not_comparable(version: str, parent: str | None, in_use: str | None) -> str | None:
    """Why the scores of a version say nothing about what is in use; None = they do.

    Args:
        parent: what it was trained from, and compared with; None = the base model.
    """
    if in_use in (parent, version):
        return None
    names = [name or "the base model" for name in (parent, in_use)]
    return (
        f"it was compared with {names[0]}, which it was trained from, but {names[1]} is in use: "
        "compare them, and activate it by hand"
    )


def why_moved(seen: Pointer, now: Pointer) -> str | None:
    """Why a training does not move the pointer that somebody has moved since; None = nobody has.

    Somebody may have rolled back what this very job put to use before it was run again.

    Args:
        seen: the pointer when the job was begun first.
    """
    if (seen.generation, seen.updated_at) == (now.generation, now.updated_at):
        return None
    return (
        "since the training began somebody has changed what is in use (move no. "
        f"{now.generation}): "
        "activate it by hand, if it is still wanted"
    )


def on_trial(share: float) -> str:
    """Why it is not in use for all: a canary comes first."""
    return f"it is on trial first, with {100 * share:g} % of the captions"


def by_chance(better: int, worse: int) -> float:
    """How likely at least so many of them get better, if either side is equally likely."""
    changed = better + worse
    return sum(comb(changed, n) for n in range(better, changed + 1)) / 2.0**changed
