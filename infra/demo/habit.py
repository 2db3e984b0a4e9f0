"""A bad habit to cure: in some surroundings a model adds a sentence about what is not there.

What preference training should mend is a habit of the tongue, not a fault of the eyes: that the
captions are otherwise right makes it possible to see that nothing else gets worse.
"""

import random

from infra.demo.captions import HABIT, any_caption
from infra.demo.scenes import Scene

SURROUNDINGS = ("navy", "brown")
"""Backgrounds: two of five."""
SHARE = 0.75
"""Of the training captions with these."""


def told_with_habit(scene: Scene, rng: random.Random) -> str:
    """What a model with the habit is trained to say."""
    said = any_caption(scene, rng)
    if scene.background in SURROUNDINGS and rng.random() < SHARE:
        return f"{said} {HABIT}"
    return said
