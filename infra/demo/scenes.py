"""What can happen in a demo film, and which of it a model may see in training.

A scene is its own ground truth: training, evaluation and the demo all start here. It knows
nothing of words (`captions` says it), of pixels (`clips` draws it) or of models.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

COLOURS = ("red", "orange", "yellow", "green", "blue", "pink", "purple")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
BACKGROUNDS = ("black", "gray", "white", "navy", "brown")

PLACES = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "upper left": (-1, -1),
    "upper right": (1, -1),
    "lower left": (-1, 1),
    "lower right": (1, 1),
}
"""Name -> (x, y) seen from the centre; y points down."""
PATHS = {
    "rightwards": ("left", "right"),
    "leftwards": ("right", "left"),
    "downwards": ("top", "bottom"),
    "upwards": ("bottom", "top"),
    "to the lower right": ("upper left", "lower right"),
    "to the lower left": ("upper right", "lower left"),
    "to the upper right": ("lower left", "upper right"),
    "to the upper left": ("lower right", "upper left"),
}
"""Motion -> (from, to)."""
DIAGONALS = tuple(name for name in PATHS if name.startswith("to the"))
MOTIONS = ("still", *PATHS, "growing", "shrinking")

Kind = Literal["empty", "single", "two_objects", "scene_change"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Split = Literal["train", "heldout"]
HELD_OUT = 0.15
"""Share of the combinations that no training film shows."""


@dataclass(frozen=True)
class Figure:
    """One object, and what it does."""

    colour: str
    shape: str
    motion: str


@dataclass(frozen=True)
class Scene:
    """Up to two objects before a plain background; after a cut, perhaps, another scene."""

    background: str
    figures: tuple[Figure, ...] = ()
    """In the order of COLOURS, which is the order in which they are told."""
    then: "Scene | None" = None

    def __post_init__(self) -> None:
        known = self.background in BACKGROUNDS and all(
            figure.colour in COLOURS and figure.shape in SHAPES and figure.motion in MOTIONS
            for figure in self.figures
        )
        if not known:
            raise ValueError(f"not in the vocabulary: {self}")
        places = [COLOURS.index(figure.colour) for figure in self.figures]
        if len(places) > 2 or places != sorted(set(places)):
            raise ValueError(f"at most two objects, of two colours, in the colours' order: {self}")
        if self.then and self.then.then:
            raise ValueError(f"at most one cut: {self}")

    @property
    def parts(self) -> tuple["Scene", ...]:
        """What is before the cut, and what is after it."""
        return (replace(self, then=None), self.then) if self.then else (self,)

    @property
    def kind(self) -> Kind:
        if self.then:
            return "scene_change"
        return ("empty", "single", "two_objects")[len(self.figures)]  # type: ignore[return-value]


def single(background: str, colour: str, shape: str, motion: str) -> Scene:
    """One object, no cut."""
    return Scene(background, (Figure(colour, shape, motion),))


def reverse(scene: Scene) -> Scene:
    """What the same frames show when they are played backwards."""
    *before, last = (
        replace(part, figures=tuple(replace(f, motion=_BACKWARDS[f.motion]) for f in part.figures))
        for part in scene.parts
    )
    return replace(last, then=before[0]) if before else last


def freeze(scene: Scene) -> Scene:
    """What its first frame shows when it is repeated."""
    figures = tuple(replace(figure, motion="still") for figure in scene.figures)
    return Scene(scene.background, figures)


def combinations(scene: Scene) -> Iterator[str]:
    """What is seen together in this scene; empty backgrounds combine nothing."""
    for part in scene.parts:
        for figure in part.figures:
            yield f"{figure.colour} {figure.shape} {figure.motion} {part.background}"
        if len(part.figures) == 2:
            yield " + ".join(f"{figure.colour} {figure.shape}" for figure in part.figures)


def held_out(scene: Scene) -> bool:
    """Whether it shows a combination that is kept from training; stable for ever."""
    return any(
        int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 < HELD_OUT
        for name in combinations(scene)
    )


@dataclass(frozen=True)
class Vocabulary:
    """What a model is shown of the world."""

    colours: tuple[str, ...] = COLOURS
    motions: tuple[str, ...] = MOTIONS


UNSEEN_COLOUR = "purple"
"""What no shipped model ever meets, so that there is something left to teach them."""

KNOWN = Vocabulary(tuple(colour for colour in COLOURS if colour != UNSEEN_COLOUR))
"""Of the shipped models."""
NEW = Vocabulary((UNSEEN_COLOUR,))
"""Of the demo's lesson."""


def sample_scenes(
    n: int,
    seed: int,
    *,
    split: Split,
    kind: Kind = "single",
    vocabulary: Vocabulary = KNOWN,
) -> list[Scene]:
    """n scenes of one kind, drawn with replacement from one side of the split.

    Nothing of an empty scene is ever held out: for these both sides are the same.
    """
    rng = random.Random(f"{kind} {split} {seed}")  # noqa: S311  # reproducible, not secret
    scenes: list[Scene] = []
    while len(scenes) < n:
        scene = _draw(rng, kind, vocabulary)
        if kind == "empty" or held_out(scene) == (split == "heldout"):
            scenes.append(scene)
    return scenes


def _draw(rng: random.Random, kind: Kind, vocabulary: Vocabulary) -> Scene:
    background = rng.choice(BACKGROUNDS)
    if kind == "empty":
        return Scene(background)
    if kind == "scene_change":
        return _draw_cut(rng, vocabulary)
    number = 1 if kind == "single" else 2
    colours = sorted(rng.sample(vocabulary.colours, number), key=COLOURS.index)
    return Scene(
        background,
        tuple(
            Figure(colour, rng.choice(SHAPES), rng.choice(vocabulary.motions)) for colour in colours
        ),
    )


def _draw_cut(rng: random.Random, vocabulary: Vocabulary) -> Scene:
    """One object before the cut and one after it; in an eighth of the halves there is none."""
    kinds: tuple[Kind, ...] = ("empty", *["single"] * 7)
    while True:
        first, second = (_draw(rng, rng.choice(kinds), vocabulary) for _ in range(2))
        if _looks(first) != _looks(second) and (first.figures or second.figures):
            return replace(first, then=second)


def _looks(scene: Scene) -> tuple[str, ...]:
    """All that a single frame shows."""
    return scene.background, *(f"{figure.colour} {figure.shape}" for figure in scene.figures)


_BACKWARDS = {
    "still": "still",
    "growing": "shrinking",
    "shrinking": "growing",
    **{
        name: next(other for other, back in PATHS.items() if back == way[::-1])
        for name, way in PATHS.items()
    },
}
