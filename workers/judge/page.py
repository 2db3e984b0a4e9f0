"""A report as one HTML page, complete in itself: no script, no font and no picture from elsewhere.

All that a caption or a manifest says is escaped: it is other people's text.
"""

import base64
from collections.abc import Iterable, Mapping
from html import escape

from shared.judged import Bad, Figure, Judged, JudgedSet
from shared.shown import utc

Sheets = Mapping[tuple[str, str], bytes]
"""Name of the set, id of the caption -> a JPEG of what its video shows."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733}
body{margin:2rem auto;max-width:64rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{border-bottom:1px solid #dfe5ea;padding:.3rem .6rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.better{color:#1a7f4b}.worse{color:#b3261e}.quiet{color:#5b6b79}
img{max-width:100%;height:auto}dt{font-weight:600}dd{margin:0 0 .4rem}h2{margin-top:2.5rem}
@media (prefers-color-scheme:dark){body{background:#12181f;color:#dfe5ea}th,td{border-color:#33414e}
.better{color:#5fd39a}.worse{color:#ff8a80}.quiet{color:#93a4b3}}
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(judged: Judged, sheets: Sheets) -> str:
    heading = escape(title(judged))
    parts = "\n".join(_set(judged, one, sheets) for one in judged.sets)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{heading}</h1>"
        f'<p class="quiet">{escape(provenance(judged))}</p>{parts}</body></html>\n'
    )


def title(judged: Judged) -> str:
    if not judged.compared:
        return _named(judged.adapter)
    return f"{_named(judged.adapter)} against {_named(judged.against)}"


def provenance(judged: Judged) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in judged.libraries.items())
    return (
        f"{judged.model.id}@{judged.model.revision}, {judged.frames} frames at most, greedy; "
        f"{utc(judged.created_at)}, Jamak {judged.jamak}, {libraries}"
    )


def told(figure: Figure, value: float) -> str:
    return f"{100 * value:.1f} %" if figure.percent else f"{value:.3f}"


def apart(figure: Figure) -> str:
    """The difference, with where 90 of 100 resampled ones lie."""
    if figure.difference is None:
        return ""
    scale, unit = (100, "") if figure.percent else (1, "")
    low, high = figure.bound(5) * scale, figure.bound(95) * scale
    return f"{figure.difference * scale:+.2f}{unit} ({low:+.2f} to {high:+.2f})"


def verdict(figure: Figure) -> str:
    """`better` or `worse`, where 95 of 100 resampled sets say so; else empty."""
    if figure.difference is None or figure.better == "same":
        return ""
    up = figure.bound(5) > 0
    down = figure.bound(95) < 0
    if not up and not down:
        return ""
    return "better" if up == (figure.better == "higher") else "worse"


def _named(version: str | None) -> str:
    return f"adapter {version}" if version else "the base model"


def _set(judged: Judged, one: JudgedSet, sheets: Sheets) -> str:
    left_out = "".join(
        f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in one.left_out.items()
    )
    worst = "".join(_bad(bad, sheets.get((one.name, bad.id))) for bad in one.worst)
    return (
        f"<h2>{escape(one.name)}</h2><p>{one.captions} captions of {one.videos} videos, "
        f"<code>{escape(one.data)}</code></p>"
        + _figures(judged, one)
        + (f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else "")
        + _slices(one)
        + f"<h3>The worst captions</h3>{worst}"
    )


def _figures(judged: Judged, one: JudgedSet) -> str:
    rows = "".join(
        f"<tr><td><b>{escape(name)}</b> {escape(figure.title)}</td>"
        + _cells(told(figure, figure.value))
        + _cells(f"{told(figure, figure.low)} to {told(figure, figure.high)}")
        + (
            _cells("" if figure.against is None else told(figure, figure.against))
            + f'<td class="n {verdict(figure)}">{apart(figure)}</td>'
            if judged.compared
            else ""
        )
        + "</tr>"
        for name, figure in one.figures.items()
    )
    more = "<th>compared with<th>difference" if judged.compared else ""
    return f"<table><tr><th>measure<th>value<th>95 of 100{more}</tr>{rows}</table>"


def _cells(*texts: str) -> str:
    return "".join(f'<td class="n">{escape(text)}</td>' for text in texts)


def _slices(one: JudgedSet) -> str:
    if not one.slices:
        return ""
    names = list(one.figures)
    head = "".join(f"<th>{escape(name)}" for name in names)
    rows = "".join(
        f"<tr><td>{escape(part.column)}: {escape(part.value)}</td>"
        + _cells(str(part.captions), *(slice_cell(one, part.figures.get(n), n) for n in names))
        + "</tr>"
        for part in one.slices
    )
    return f"<h3>Slices</h3><table><tr><th>slice<th>captions{head}</tr>{rows}</table>"


def slice_cell(one: JudgedSet, pair: tuple[float, float | None] | None, name: str) -> str:
    if pair is None:
        return ""
    value, against = pair
    figure = one.figures[name]
    if against is None:
        return told(figure, value)
    return f"{told(figure, value)} / {told(figure, against)}"


def _bad(bad: Bad, sheet: bytes | None) -> str:
    picture = ""
    if sheet is not None:
        data = base64.b64encode(sheet).decode()
        picture = (
            f'<p><img alt="frames of {escape(bad.id)}" src="data:image/jpeg;base64,{data}"></p>'
        )
    lines: Iterable[tuple[str, str]] = (
        *(("reference", text) for text in bad.references),
        (f"said, {bad.score:.1f}", bad.said),
        *((("the other said", bad.against),) if bad.against is not None else ()),
    )
    words = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in lines)
    return f"<h4>{escape(bad.id)}</h4>{picture}<dl>{words}</dl>"
