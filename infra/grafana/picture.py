"""The dashboard without Grafana: its own file, the figures of a real Prometheus, drawn as SVG.

What is on it and where comes from `fleet.json`; how it is drawn is ours. Knows nothing of where the
Prometheus has its figures from.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.grafana import drawing
from infra.grafana.drawing import Box, Series
from infra.local.prometheus import Prometheus

BOARD = Path(__file__).parent / "fleet.json"
COLUMN, LINE, GAP = 50, 30, 6
"""Pixels of Grafana's grid: a column, a line, and what is left between panels."""
POINTS = 110
"""Of a line."""
RATE_INTERVAL = "1m"
"""What Grafana would put in for `$__rate_interval`, for so short a time and so frequent scrapes."""
LABEL = re.compile(r"\{\{(\w+)\}\}")


def draw(prometheus: Prometheus, begin: float, end: float, note: str) -> str:
    """Args:
    begin, end: in seconds since 1970.
    note: where the figures come from; it stands above.
    """
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels) * LINE + 50
    width = 24 * COLUMN
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
        f"width='{width}' height='{height}'>",
        f"<rect width='{width}' height='{height}' fill='#f6f6f6'/>",
        _heading(10, 22, 15, board["title"]),
        _heading(10, 40, 11, note),
    ]
    for panel in panels:
        parts += _row(panel) if panel["type"] == "row" else _panel(panel, prometheus, begin, end)
    return "\n".join([*parts, "</svg>", ""])


def _row(panel: dict[str, Any]) -> Iterator[str]:
    box = _box(panel)
    yield _heading(box.x + 4, box.y + 19, 13, panel["title"])


def _panel(
    panel: dict[str, Any], prometheus: Prometheus, begin: float, end: float
) -> Iterator[str]:
    box, defaults = _box(panel), panel["fieldConfig"]["defaults"]
    step = max(5.0, (end - begin) / POINTS)
    series = [
        one
        for query in panel["targets"]
        for one in _series(prometheus, query, begin, end, step)
        if any(value for _, value in one.points) or panel["type"] == "stat"
    ]
    yield from drawing.frame(box, panel["title"])
    if panel["type"] == "stat":
        last = series[0].points[-1][1] if series else 0.0
        steps = defaults["thresholds"]["steps"]
        color = [one["color"] for one in steps if last >= (one["value"] or 0)][-1]
        yield from drawing.figure(box, series, defaults["unit"], color)
    else:
        stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
        yield from drawing.lines(box, series, defaults["unit"], (begin, end), stacked=stacked)


def _series(
    prometheus: Prometheus, query: dict[str, str], begin: float, end: float, step: float
) -> Iterator[Series]:
    expr = query["expr"].replace("$__rate_interval", RATE_INTERVAL)
    found = prometheus.ask("query_range", query=expr, start=begin, end=end, step=step)
    for one in found["result"]:
        labels = one["metric"]
        legend = _legend(query["legendFormat"], labels)
        points = [(float(at), float(value)) for at, value in one["values"]]
        finite = [(at, value) for at, value in points if math.isfinite(value)]
        if finite:
            yield Series(legend, finite, 1.5 * step)


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return LABEL.sub(lambda name: labels.get(name[1]) or "none", form)


def _box(panel: dict[str, Any]) -> Box:
    at = panel["gridPos"]
    return Box(
        at["x"] * COLUMN + GAP / 2,
        at["y"] * LINE + 50,
        at["w"] * COLUMN - GAP,
        at["h"] * LINE - GAP,
    )


def _heading(x: float, y: float, size: int, told: str) -> str:
    return drawing.text(x, y, told, size, drawing.INK, bold=size > 11)
