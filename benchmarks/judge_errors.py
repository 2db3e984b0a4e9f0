"""Captions with a counted number of errors: attributes of a demo scene, told as other ones.

Each caption with one error more keeps those that it had. And captions with faults of another kind,
each of which one measure looks for.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from infra.demo.captions import STYLES, phrasings
from infra.demo.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Scene
from workers.judge.items import Item

MOST = 3


def with_errors(scene: Scene, rng: random.Random, most: int = MOST) -> list[str]:
    """The right caption and those with 1, 2, … wrong attributes, in one style. Scenes that have
    fewer attributes give fewer."""
    style = rng.randrange(len(STYLES))
    told = [phrasings(scene)[style]]
    places = list(_places(scene))
    rng.shuffle(places)
    for place in places:
        if len(told) > most:
            break
        wrong = _other(scene, place, rng)
        if wrong is not None:
            scene = wrong
            told.append(phrasings(scene)[style])
    return told


FAULTS: Mapping[str, Callable[[Item], Item]] = {
    "hangul": lambda item: replace(item, said="A red circle moves to the right."),
    "repetitive": lambda item: replace(item, said=" ".join([item.said] * 5)),
    "empty": lambda item: replace(item, said=""),
    "cut": lambda item: replace(item, said=item.said[: len(item.said) // 2], finished=False),
}
"""Measure -> a caption with its own kind of fault."""


Place = tuple[int, int | None, str]
"""Part of the scene, figure of it or None, attribute."""


def _places(scene: Scene) -> Iterator[Place]:
    for part, one in enumerate(scene.parts):
        yield part, None, "background"
        for number in range(len(one.figures)):
            for name in ("colour", "shape", "motion"):
                yield part, number, name


VALUES = {"background": BACKGROUNDS, "colour": COLOURS, "shape": SHAPES, "motion": MOTIONS}


def _other(scene: Scene, place: Place, rng: random.Random) -> Scene | None:
    """With another value there; None: no other one makes a scene, for colours have an order."""
    part, number, name = place
    parts = list(scene.parts)
    values = list(VALUES[name])
    rng.shuffle(values)
    for value in values:
        now = parts[part]
        if number is None:
            if now.background == value:
                continue
            changed = replace(now, background=value)
        else:
            if getattr(now.figures[number], name) == value:
                continue
            figures = list(now.figures)
            figures[number] = replace(figures[number], **{name: value})
            try:
                changed = replace(now, figures=tuple(figures))
            except ValueError:
                continue
        parts[part] = changed
        return replace(parts[0], then=parts[1]) if len(parts) > 1 else parts[0]
    return None
