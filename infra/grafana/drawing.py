"""Panels as SVG: lines over time, and single figures. Knows nothing of where they come from."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

Point = tuple[float, float]
"""Seconds since 1970, value."""

COLORS = ("#2f6f9f", "#c0632f", "#3f8f5f", "#8a5a9f", "#b08a1f", "#b23a48", "#2f8f8f", "#777777")
INK, PALE, GRID, LINE = "#222", "#666", "#e4e4e4", "#cfcfcf"
LIGHTS = {"green": "#2e7d4f", "yellow": "#b8860b", "red": "#b23a48"}
STEPS = (1, 2, 2.5, 5, 10)
WORD = 6.0
"""Pixels of a letter of the small font, at most."""


@dataclass(frozen=True)
class Series:
    legend: str
    points: Sequence[Point]
    gap_s: float
    """Points further apart than this are not joined: in between there was none."""


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float


def shown(value: float, unit: str) -> str:
    """As people read it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value / 60:.3g} min" if value >= 90 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"
    ending = {"cpm": " /min", "cps": " /s"}.get(unit, "")
    return f"{value / 1000:.3g} k{ending}" if value >= 10_000 else f"{value:.4g}{ending}"


def frame(box: Box, title: str) -> Iterator[str]:
    yield (
        f"<rect x='{box.x:.1f}' y='{box.y:.1f}' width='{box.width:.1f}' height='{box.height:.1f}' "
        f"rx='3' fill='#fff' stroke='{LINE}'/>"
    )
    yield text(box.x + 10, box.y + 17, title, 12, INK, bold=True)


def figure(box: Box, series: Sequence[Series], unit: str, color: str) -> Iterator[str]:
    """The last value, and how it came there."""
    points = series[0].points if series else ()
    ink = LIGHTS[color]
    if points:
        inner = Box(box.x + 1, box.y + box.height - 34, box.width - 2, 33)
        scale = _scale(points, inner, max((value for _, value in points), default=0) or 1)
        line = " ".join(_at(scale(one)) for one in points)
        (left, _), (right, _) = scale(points[0]), scale(points[-1])
        bottom = inner.y + inner.height
        yield (
            f"<polygon points='{left:.1f},{bottom:.1f} {line} {right:.1f},{bottom:.1f}' "
            f"fill='{ink}' opacity='0.15'/>"
        )
    told = shown(points[-1][1], unit) if points else "no data"
    yield text(box.x + 10, box.y + 52, told, 26, ink, bold=True)


def lines(
    box: Box, series: Sequence[Series], unit: str, span: tuple[float, float], *, stacked: bool
) -> Iterator[str]:
    plot = Box(box.x + 58, box.y + 28, box.width - 72, box.height - 82)
    drawn = list(_stacked(series)) if stacked else list(series)
    most = max((value for one in drawn for _, value in one.points), default=0.0)
    ticks = _ticks(most)
    scale = _scale([(span[0], 0), (span[1], 0)], plot, ticks[-1])
    for tick in ticks:
        _, y = scale((span[0], tick))
        yield f"<path d='M{plot.x:.1f} {y:.1f}h{plot.width:.1f}' stroke='{GRID}'/>"
        yield text(plot.x - 6, y + 4, shown(tick, unit), 10, PALE, anchor="end")
    for share in (0.0, 0.5, 1.0):
        moment = span[0] + share * (span[1] - span[0])
        x, y = scale((moment, 0))
        told = datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        yield text(x, y + 15, told, 10, PALE, anchor=anchor)
    for number, one in reversed(list(enumerate(drawn))):
        color = COLORS[number % len(COLORS)]
        for piece in _pieces(one):
            path = " ".join(_at(scale(point)) for point in piece)
            if stacked:
                (left, bottom), (right, _) = scale((piece[0][0], 0)), scale(piece[-1])
                yield (
                    f"<polygon points='{left:.1f},{bottom:.1f} {path} {right:.1f},{bottom:.1f}' "
                    f"fill='{color}' opacity='0.35'/>"
                )
            yield f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.5'/>"
    if not series:
        yield text(
            plot.x + plot.width / 2, plot.y + plot.height / 2, "none", 12, PALE, anchor="middle"
        )
    yield from _legend(box, [one.legend for one in series])


def _stacked(series: Sequence[Series]) -> Iterator[Series]:
    """Each on top of those before it; the last one is the whole."""
    below: dict[float, float] = {}
    for one in series:
        points = [(at, below.get(at, 0.0) + value) for at, value in one.points]
        below |= dict(points)
        yield Series(one.legend, points, one.gap_s)


def _pieces(series: Series) -> Iterator[list[Point]]:
    piece: list[Point] = []
    for point in series.points:
        if piece and point[0] - piece[-1][0] > series.gap_s:
            yield piece
            piece = []
        piece.append(point)
    if piece:
        yield piece


def _legend(box: Box, names: Iterable[str]) -> Iterator[str]:
    """Two lines of it; what does not fit is left out, and said to be."""
    x, y = box.x + 12, box.y + box.height - 24
    names = list(names)
    for number, name in enumerate(names):
        width = 22 + WORD * len(name)
        if x + width > box.x + box.width - 40:
            if y > box.y + box.height - 20:
                yield text(x, y, f"+{len(names) - number}", 10, PALE)
                return
            x, y = box.x + 12, y + 14
        color = COLORS[number % len(COLORS)]
        yield f"<rect x='{x:.1f}' y='{y - 6:.1f}' width='10' height='3' fill='{color}'/>"
        yield text(x + 14, y, name, 10, PALE)
        x += width


def _ticks(most: float) -> list[float]:
    if most <= 0:
        return [0.0, 1.0]
    rough = most / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in STEPS if power * one >= rough)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _scale(points: Sequence[Point], box: Box, top: float) -> Callable[[Point], Point]:
    first, last = points[0][0], points[-1][0]
    wide = (last - first) or 1.0

    def at(point: Point) -> Point:
        moment, value = point
        return (
            box.x + box.width * (moment - first) / wide,
            box.y + box.height * (1 - value / top),
        )

    return at


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def text(
    x: float, y: float, told: str, size: int, ink: str, *, anchor: str = "start", bold: bool = False
) -> str:
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-family='sans-serif' font-size='{size}' fill='{ink}' "
        f"text-anchor='{anchor}'{weight}>{escape(told)}</text>"
    )
