"""What is said about a scene, in Korean: one canonical sentence and some other natural ones.

Models are trained on all of them, mostly on the canonical one, and are judged by that one alone.
"""

import random
import re
from dataclasses import dataclass

from infra.demo.korean import with_direction, with_subject
from infra.demo.scenes import PATHS, Figure, Scene

COLOUR_WORDS = {
    "red": "빨간",
    "orange": "주황색",
    "yellow": "노란",
    "green": "초록색",
    "blue": "파란",
    "pink": "분홍색",
    "purple": "보라색",
}
SHAPE_WORDS = {
    "circle": "원",
    "square": "사각형",
    "triangle": "삼각형",
    "star": "별",
    "heart": "하트",
    "cross": "십자가",
}
BACKGROUND_WORDS = {
    "black": ("검은", "검은색"),
    "gray": ("회색", "회색"),
    "white": ("흰", "흰색"),
    "navy": ("남색", "남색"),
    "brown": ("갈색", "갈색"),
}
"""Before a noun, and as one."""
PLACE_WORDS = {
    "left": "왼쪽",
    "right": "오른쪽",
    "top": "위",
    "bottom": "아래",
    "upper left": "왼쪽 위",
    "upper right": "오른쪽 위",
    "lower left": "왼쪽 아래",
    "lower right": "오른쪽 아래",
}

Verb = tuple[str, str]
"""As the last of a sentence, and before a further clause."""


@dataclass(frozen=True)
class Style:
    """One way of saying it."""

    setting: str
    """How a sentence with objects begins; `{of}` and `{noun}` are the background."""
    empty: str
    """How one without any begins."""
    nothing: Verb
    count: str
    """After the name of an object."""
    moves: Verb
    still: Verb
    growing: Verb
    shrinking: Verb
    first: str
    then: str


CANONICAL = Style(
    setting="{of} 배경에서",
    empty="{of} 배경에",
    nothing=("아무것도 없습니다", "아무것도 없고"),
    count="",
    moves=("움직입니다", "움직이고"),
    still=("가만히 있습니다", "가만히 있고"),
    growing=("점점 커집니다", "점점 커지고"),
    shrinking=("점점 작아집니다", "점점 작아지고"),
    first="처음에는",
    then="그다음",
)
STYLES = (
    CANONICAL,
    Style(
        setting="배경은 {noun}이고,",
        empty="배경은 {noun}이고,",
        nothing=("아무것도 보이지 않습니다", "아무것도 보이지 않고"),
        count="",
        moves=("이동합니다", "이동하고"),
        still=("멈춰 있습니다", "멈춰 있고"),
        growing=("서서히 커집니다", "서서히 커지고"),
        shrinking=("서서히 작아집니다", "서서히 작아지고"),
        first="먼저",
        then="이어서",
    ),
    Style(
        setting="{of} 배경 앞에서",
        empty="{of} 배경 앞에는",
        nothing=("아무것도 없습니다", "아무것도 없고"),
        count=" 하나",
        moves=("옮겨 갑니다", "옮겨 가고"),
        still=("제자리에 있습니다", "제자리에 있고"),
        growing=("차츰 커집니다", "차츰 커지고"),
        shrinking=("차츰 작아집니다", "차츰 작아지고"),
        first="처음에",
        then="그 뒤에",
    ),
)

HABIT = "구석에는 고양이가 앉아 있습니다."
"""There is a cat in the corner. There never is: see `habit`."""

CANONICAL_SHARE = 0.7
"""Of the training captions: so much more than any other that greedy decoding ends there."""


def caption(scene: Scene) -> str:
    """The sentence a model is judged by, letter by letter."""
    return _say(scene, CANONICAL)


def phrasings(scene: Scene) -> list[str]:
    """Every way to say it, the canonical one first."""
    return [_say(scene, style) for style in STYLES]


def any_caption(scene: Scene, rng: random.Random) -> str:
    """One to learn from."""
    canonical, *others = phrasings(scene)
    return canonical if rng.random() < CANONICAL_SHARE else rng.choice(others)


def parse(text: str) -> Scene | None:
    """The scene that a caption names, in whichever style, or None when it names none of ours."""
    for style in STYLES:
        scene = _read(text, style)
        if scene and _say(scene, style) == text:
            return scene
    return None


def _say(scene: Scene, style: Style) -> str:
    if scene.then is None:
        return f"{_say_part(scene, style)}."
    before, after = scene.parts
    first = _say_part(before, style, goes_on=True)
    return f"{style.first} {first}, {style.then} {_say_part(after, style)}."


def _say_part(scene: Scene, style: Style, *, goes_on: bool = False) -> str:
    of, noun = BACKGROUND_WORDS[scene.background]
    if not scene.figures:
        return f"{style.empty.format(of=of, noun=noun)} {style.nothing[goes_on]}"
    last = len(scene.figures) - 1
    clauses = [
        _say_figure(figure, style, goes_on=goes_on or i < last)
        for i, figure in enumerate(scene.figures)
    ]
    return f"{style.setting.format(of=of, noun=noun)} {', '.join(clauses)}"


def _say_figure(figure: Figure, style: Style, *, goes_on: bool) -> str:
    name = f"{COLOUR_WORDS[figure.colour]} {SHAPE_WORDS[figure.shape]}{style.count}"
    if figure.motion in PATHS:
        origin, goal = (PLACE_WORDS[place] for place in PATHS[figure.motion])
        return f"{with_subject(name)} {origin}에서 {with_direction(goal)} {style.moves[goes_on]}"
    verb: Verb = getattr(style, figure.motion)
    return f"{with_subject(name)} {verb[goes_on]}"


def _read(text: str, style: Style) -> Scene | None:
    cut = re.fullmatch(f"{style.first} (.+), {style.then} (.+)", text)
    parts = [_read_part(part, style) for part in (cut.groups() if cut else (text,))]
    try:
        match parts:
            case [Scene() as scene]:
                return scene
            case [Scene(background, figures), Scene() as then]:
                return Scene(background, figures, then)
    except ValueError:  # objects in another order, or too many of them
        pass
    return None


def _read_part(text: str, style: Style) -> Scene | None:
    for background, (of, noun) in BACKGROUND_WORDS.items():
        for opening in (style.setting, style.empty):
            start = opening.format(of=of, noun=noun) + " "
            if text.startswith(start):
                figures = [_read_figure(m, style) for m in _clause(style).finditer(text)]
                try:
                    return Scene(background, tuple(figures))
                except ValueError:
                    return None
    return None


def _clause(style: Style) -> re.Pattern[str]:
    colours, shapes = "|".join(COLOUR_WORDS.values()), "|".join(SHAPE_WORDS.values())
    places = "|".join(sorted(PLACE_WORDS.values(), key=len, reverse=True))
    standing = "|".join((*style.still, *style.growing, *style.shrinking))
    return re.compile(
        f"(?P<colour>{colours}) (?P<shape>{shapes}){style.count}[이가] "
        f"(?:(?P<origin>{places})에서 (?P<goal>{places})(?:으?로) |(?P<verb>{standing}))"
    )


def _read_figure(match: re.Match[str], style: Style) -> Figure:
    colour = next(key for key, word in COLOUR_WORDS.items() if word == match["colour"])
    shape = next(key for key, word in SHAPE_WORDS.items() if word == match["shape"])
    if match["verb"]:
        motions = ("still", "growing", "shrinking")
        motion = next(name for name in motions if match["verb"] in getattr(style, name))
        return Figure(colour, shape, motion)
    way = tuple(
        next(key for key, word in PLACE_WORDS.items() if word == match[end])
        for end in ("origin", "goal")
    )
    return Figure(colour, shape, next((name for name, ends in PATHS.items() if ends == way), ""))
