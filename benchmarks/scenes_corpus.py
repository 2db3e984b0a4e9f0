"""The videos of benchmarks.scenes: drawn, with scene changes at known frames.

Shots are textures with the spectrum of natural pictures under film grain, panned, shaken, and with
something moving in front. What leads from one to the next, and what only looks as if it did, is
the case's kind. Another seed gives other shots, lengths and speeds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
"""(height * 3 / 2, width), planar YUV 4:2:0."""
Kind = Literal["hard", "fade", "dissolve", "flash", "motion", "gap"]
FPS = 30
GRAIN = 2
WHITE, BLACK, GREY = 235, 16, 128
CUT_TOLERANCE, GRADUAL_TOLERANCE = 2, 8
"""Frames."""


@dataclass(frozen=True)
class Case:
    name: str
    kind: Kind
    codec: str
    """As the reports call it."""
    encoder: str
    options: dict[str, str]
    ending: str = ".mp4"
    size: tuple[int, int] = (640, 360)
    frames: int = 900
    seed: int = 0


@dataclass(frozen=True)
class Truth:
    """A change, and how many frames off it may be found."""

    frame: int
    tolerance: int


X264 = {"preset": "veryfast", "crf": "21"}
CODINGS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("h264", "libx264", X264),
    "h264-fixed": ("h264", "libx264", {**X264, "g": "60", "x264-params": "scenecut=0"}),
    "hevc": ("hevc", "libx265", {"preset": "ultrafast", "x265-params": "log-level=0"}),
}
KINDS: tuple[Kind, ...] = ("hard", "fade", "dissolve", "flash", "motion")
HOLDS = (15, 61)
"""Frames for which a gap is black: half a second to two."""
VP9 = {"deadline": "realtime", "cpu-used": "8", "b:v": "2M"}
QUICK = Case("hard-small", "hard", "h264", "libx264", X264, size=(320, 180), frames=240)


def corpus(seed: int) -> list[Case]:
    cases = [
        Case(f"{kind}-{name}", kind, codec, encoder, options, seed=seed + 10 * number + place)
        for number, (name, (codec, encoder, options)) in enumerate(CODINGS.items())
        for place, kind in enumerate(KINDS)
    ]
    return [
        *cases,
        Case("hard-vp9", "hard", "vp9", "libvpx-vp9", VP9, ".webm", seed=seed + 40),
        Case("dissolve-vp9", "dissolve", "vp9", "libvpx-vp9", VP9, ".webm", seed=seed + 41),
        *(
            Case(f"gap-{name}", "gap", codec, encoder, options, seed=seed + 42 + number)
            for number, (name, (codec, encoder, options)) in enumerate(CODINGS.items())
        ),
    ]


@dataclass(frozen=True)
class Shot:
    planes: tuple[NDArray[np.uint8], ...]
    """Y, U, V: twice the picture's size, and endless in both directions."""
    speed: tuple[float, float]
    """Pixels a frame, of the Y plane."""
    shake: NDArray[np.int64]
    """(64, 2) pixels, again and again."""
    thing: int
    """The luma of what moves in front; its speed is twice the shot's and a little."""


@dataclass(frozen=True)
class Script:
    shots: list[Shot]
    starts: list[int]
    """The middle of each shot's transition from the one before; the first begins at 0."""
    lengths: list[int]
    """Of these transitions; 0 = a cut."""
    through: list[int | None]
    """The luma that a fade or a gap goes through."""
    holds: list[int] = field(default_factory=lambda: [0])
    """For so long nothing else is shown, in the middle."""
    flashes: dict[int, float] = field(default_factory=dict)
    """How much of a frame is white."""

    def truths(self) -> list[Truth]:
        return [
            Truth(start, max(GRADUAL_TOLERANCE, length // 2) if length else CUT_TOLERANCE)
            for start, length in list(
                zip(self.starts, map(sum, zip(self.lengths, self.holds, strict=True)), strict=True)
            )[1:]
        ]


def script(case: Case) -> Script:
    dice = np.random.default_rng(case.seed)
    low, high = {"flash": (70, 110), "fade": (70, 110), "gap": (160, 220)}.get(case.kind, (45, 90))
    told = Script([], [0], [0], [None])
    while told.starts[-1] < case.frames - 2 * high:
        told.shots.append(shot(case, dice))
        told.starts.append(told.starts[-1] + int(dice.integers(low, high)))
        told.lengths.append(
            int(dice.integers(8, 33) if case.kind == "dissolve" else dice.integers(12, 49))
            if case.kind in ("dissolve", "fade") or (case.kind == "gap" and dice.random() < 0.5)
            else 0
        )
        told.through.append(
            BLACK
            if case.kind == "gap"
            else int(dice.choice([BLACK, WHITE]))
            if case.kind == "fade"
            else None
        )
        told.holds.append(int(dice.integers(*HOLDS)) if case.kind == "gap" else 0)
    told.shots.append(shot(case, dice))
    if case.kind == "flash":
        for start in told.starts:
            for _ in range(2):
                first = start + int(dice.integers(8, low - 8))
                for frame in range(first, first + int(dice.integers(1, 4))):
                    told.flashes[frame] = float(dice.uniform(0.5, 0.95))
    return told


def shot(case: Case, dice: np.random.Generator) -> Shot:
    width, height = case.size
    motion = case.kind == "motion"
    style = dice.choice(["pan", "shake"]) if motion else "still"
    angle = dice.uniform(0, 2 * np.pi)
    pace = dice.uniform(6, 20) if style == "pan" else dice.uniform(0, 3)
    shake = dice.normal(0, dice.uniform(4, 10) if style == "shake" else 0.4, (64, 2))
    level, contrast = dice.uniform(80, 170), dice.uniform(0.6, 1)
    planes = [texture(dice, (2 * height, 2 * width), dice.uniform(0.9, 1.4), level, contrast)]
    for _ in range(2):
        tint, colour = dice.uniform(108, 148), dice.uniform(0.1, 0.4)
        planes.append(texture(dice, (height, width), 1.2, tint, colour))
    speed = (pace * float(np.cos(angle)), pace * float(np.sin(angle)))
    return Shot(tuple(planes), speed, shake.round().astype(np.int64), int(dice.integers(30, 225)))


def texture(
    dice: np.random.Generator, shape: tuple[int, int], power: float, level: float, contrast: float
) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with the frequency, as in pictures of the world: twice each way.

    Args:
        power: by which power of the frequency.
        contrast: 1 = 98 % of the samples fill 219 levels.
    """
    down, across = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = 1.0
    noise = np.fft.irfft2(np.fft.rfft2(dice.standard_normal(shape)) / frequency**power, shape)
    low, high = np.percentile(noise, [1, 99])
    levels = (noise / (high - low)) * 219 * contrast + level
    return np.tile(levels.clip(BLACK, WHITE).astype(np.uint8), (2, 2))


def pictures(case: Case, told: Script) -> Iterator[NDArray[np.uint8]]:
    width, height = case.size
    dice = np.random.default_rng(case.seed + 1)
    grain = dice.normal(0, GRAIN, (8, height * 3 // 2, width)).astype(np.float32)
    grain[:, height:] /= 2
    for number in range(case.frames):
        picture = _blend(case, told, number)
        if number in told.flashes:
            share = told.flashes[number]
            picture += share * (_flat(case, WHITE) - picture)
        yield (picture + grain[number % 8]).clip(BLACK, WHITE + 5).astype(np.uint8)


def _blend(case: Case, told: Script, number: int) -> Picture:
    at = int(np.searchsorted(told.starts, number, side="right")) - 1
    for turn in (at, at + 1):
        if 0 < turn < len(told.starts) and (told.lengths[turn] or told.holds[turn]):
            level, off = told.through[turn], number - told.starts[turn]
            # Without what is held, what leads to it and away from it is one fade.
            beside = max(0.0, abs(off) - told.holds[turn] / 2) * (1 if off > 0 else -1)
            if level is not None and not beside:
                return _flat(case, level)
            share = 0.5 + beside / told.lengths[turn] if told.lengths[turn] else float(off > 0)
            if not 0 < share < 1:
                continue
            before, after = (_draw(case, told.shots[one], number) for one in (turn - 1, turn))
            if level is None:
                return before + np.float32(share) * (after - before)
            shown, dark = (before, 2 * share) if share < 0.5 else (after, 2 - 2 * share)
            return shown + np.float32(min(1.0, 1.15 * dark)) * (_flat(case, level) - shown)
    return _draw(case, told.shots[at], number)


def _draw(case: Case, shot: Shot, number: int) -> Picture:
    width, height = case.size
    down, across = shot.shake[number % 64]
    x = round(shot.speed[0] * number + across)
    y = round(shot.speed[1] * number + down)
    picture = np.empty((height * 3 // 2, width), np.float32)
    picture[:height] = _crop(shot.planes[0], x, y, width, height)
    side = height // 4
    left, top = (2 * x + 5 * number) % (width - side), (2 * y + number) % (height - side)
    picture[top : top + side, left : left + side] = shot.thing
    halves = [_crop(one, x // 2, y // 2, width // 2, height // 2) for one in shot.planes[1:]]
    picture[height:] = np.concatenate([half.ravel() for half in halves]).reshape(-1, width)
    return picture


def _crop(plane: NDArray[np.uint8], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    left, top = x % (plane.shape[1] // 2), y % (plane.shape[0] // 2)
    return plane[top : top + height, left : left + width]


def _flat(case: Case, level: int) -> Picture:
    width, height = case.size
    picture = np.full((height * 3 // 2, width), GREY, np.float32)
    picture[:height] = level
    return picture


def make(case: Case, folder: Path, on_frame: Callable[[], None] = lambda: None) -> list[Truth]:
    """Write it, unless it is there."""
    told = script(case)
    path = path_of(case, folder)
    if path.exists():
        return told.truths()
    part = folder / f".{path.name}"
    with av.open(str(part), "w") as container:
        stream: Any = container.add_stream(case.encoder, rate=FPS)
        stream.width, stream.height = case.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = case.options
        for number, picture in enumerate(pictures(case, told)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            on_frame()
        container.mux(stream.encode())
    part.rename(path)
    return told.truths()


def path_of(case: Case, folder: Path) -> Path:
    return folder / f"{case.name}-{case.seed}{case.ending}"
