"""What can happen in a demo video, and the one Korean sentence that describes it.

A scene is its own ground truth: training, evaluation and the demo all start here. It knows
nothing of pixels (`clips` draws it) or of models.
"""

import hashlib
import itertools
import random
from dataclasses import dataclass, replace
from typing import Literal

COLOURS = {
    "red": "빨간",
    "orange": "주황색",
    "yellow": "노란",
    "green": "초록색",
    "blue": "파란",
    "pink": "분홍색",
    "purple": "보라색",
}
SHAPES = {
    "circle": "원",
    "square": "사각형",
    "triangle": "삼각형",
    "star": "별",
    "heart": "하트",
    "cross": "십자가",
}
BACKGROUNDS = {
    "black": "검은",
    "gray": "회색",
    "white": "흰",
    "navy": "남색",
    "brown": "갈색",
}
PLACES = {"left": "왼쪽", "right": "오른쪽", "top": "위", "bottom": "아래"}
MOTIONS = {
    "still": None,
    "rightwards": ("left", "right"),
    "leftwards": ("right", "left"),
    "downwards": ("top", "bottom"),
    "upwards": ("bottom", "top"),
}
"""Name -> (from, to); None = it stays where it is."""

UNSEEN_COLOURS = ("purple",)
"""What the base model never meets, so that there is something left to teach it."""

BASE_COLOURS = tuple(colour for colour in COLOURS if colour not in UNSEEN_COLOURS)

HELD_OUT = 0.15
"""Share of the attribute combinations that no training clip shows."""

Split = Literal["train", "heldout"]


@dataclass(frozen=True)
class Scene:
    """One object that moves, or stays, before a plain background; or the background alone."""

    background: str
    colour: str | None = None
    shape: str | None = None
    motion: str | None = None

    def __post_init__(self) -> None:
        known = self.background in BACKGROUNDS and (
            self.empty
            or (self.colour in COLOURS and self.shape in SHAPES and self.motion in MOTIONS)
        )
        if not known:
            raise ValueError(f"not in the vocabulary, or an object in part: {self}")

    @property
    def empty(self) -> bool:
        return self.colour is None and self.shape is None and self.motion is None


def has_final_consonant(word: str) -> bool:
    """Whether the last syllable ends in a consonant (받침).

    Unicode orders the 11,172 syllables with the 28 finals innermost, "none" first
    (The Unicode Standard, chapter 3.12).
    """
    return _final(word) != 0


def with_subject(noun: str) -> str:
    """원 -> 원이, 하트 -> 하트가."""
    return noun + ("이" if has_final_consonant(noun) else "가")


def with_direction(noun: str) -> str:
    """왼쪽 -> 왼쪽으로, 위 -> 위로; after ㄹ as after a vowel."""
    rieul = 8
    return noun + ("로" if _final(noun) in (0, rieul) else "으로")


def _final(word: str) -> int:
    code = ord(word[-1]) - ord("가")
    if not 0 <= code < 11_172:
        raise ValueError(f"{word!r} does not end in a Hangul syllable")
    return code % 28


def caption(scene: Scene) -> str:
    """The sentence the model is trained to say about this scene, and is judged by."""
    background = BACKGROUNDS[scene.background]
    if scene.empty:
        return f"{background} 배경에 아무것도 없습니다."
    thing = with_subject(f"{COLOURS[scene.colour]} {SHAPES[scene.shape]}")
    way = MOTIONS[scene.motion]
    if way is None:
        return f"{background} 배경에서 {thing} 가만히 있습니다."
    origin, goal = (PLACES[place] for place in way)
    return f"{background} 배경에서 {thing} {origin}에서 {with_direction(goal)} 움직입니다."


def parse(text: str) -> Scene | None:
    """The scene that a caption names, or None when it names none of ours."""
    return _BY_CAPTION.get(text)


def reverse(scene: Scene) -> Scene:
    """What the same frames show when they are played backwards."""
    way = MOTIONS[scene.motion] if scene.motion else None
    if way is None:
        return scene
    backwards = next(name for name, other in MOTIONS.items() if other == way[::-1])
    return replace(scene, motion=backwards)


def freeze(scene: Scene) -> Scene:
    """What its first frame shows when it is repeated."""
    return scene if scene.empty else replace(scene, motion="still")


def held_out(scene: Scene) -> bool:
    """Whether this combination of attributes is kept from training; stable for ever.

    An empty scene has nothing to combine and is never held out.
    """
    if scene.empty:
        return False
    name = f"{scene.colour} {scene.shape} {scene.motion} {scene.background}"
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return place < HELD_OUT


def all_scenes(colours: tuple[str, ...] = tuple(COLOURS)) -> list[Scene]:
    """Every scene that shows an object in one of these colours."""
    return [
        Scene(background, colour, shape, motion)
        for background, colour, shape, motion in itertools.product(
            BACKGROUNDS, colours, SHAPES, MOTIONS
        )
    ]


def sample_scenes(n: int, seed: int, *, split: Split, unseen: bool = False) -> list[Scene]:
    """n scenes with an object, drawn with replacement from one side of the split.

    Args:
        unseen: those in a colour that the base model never met, instead of the others.
    """
    pool = [
        scene
        for scene in all_scenes(UNSEEN_COLOURS if unseen else BASE_COLOURS)
        if held_out(scene) == (split == "heldout")
    ]
    return random.Random(seed).choices(pool, k=n)  # noqa: S311  # reproducible, not secret


def empty_scenes(n: int, seed: int) -> list[Scene]:
    """n scenes in which nothing is there."""
    rng = random.Random(seed)  # noqa: S311
    return [Scene(rng.choice(list(BACKGROUNDS))) for _ in range(n)]


_BY_CAPTION = {
    caption(scene): scene
    for scene in [*all_scenes(), *(Scene(background) for background in BACKGROUNDS)]
}
