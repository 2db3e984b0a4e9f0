"""The results as an SVG: captions a second of each class, and what a step takes."""

from pathlib import Path
from typing import Any

WIDTH, BAR, GAP, LEFT, TOP = 760, 18, 4, 190, 44
STYLE = "font-family='sans-serif' font-size='12' fill='#444'"
COLOURS = {"generate": "#b9b4ac", "static": "#8fa3b5", "jamak": "#2f6f9f", "roofline": "#e3ddd2"}


def bars_of(results: dict[str, Any]) -> list[tuple[str, list[tuple[str, float, str]]]]:
    """Group -> (label, captions a second, colour)."""
    groups = []
    for model, classes in results["classes"].items():
        for card, told in classes.items():
            if "jamak" not in told:
                continue
            bars = []
            for name, colour in COLOURS.items():
                found = next((key for key in told if key.startswith(name)), "")
                rate = told.get(found, {}).get("captions_per_s")
                if rate:
                    bars.append((found.replace("_", " "), rate, colour))
            head = f"{model}, class {card}: {told['frames']} frames, {told['rows']} rows"
            groups.append((head, bars))
    return groups


def draw(results: dict[str, Any], path: Path) -> None:
    groups = bars_of(results)
    most = max((rate for _, bars in groups for _, rate, _ in bars), default=1.0)
    scale = (WIDTH - LEFT - 70) / most
    title = f"Captions a second on {results['device']}"
    if not results["measured_on_a_gpu"]:
        title += ": tiny models, no measurement of a GPU"
    lines, y = [f"<text x='10' y='22' {STYLE} font-weight='bold'>{title}</text>"], TOP
    for head, bars in groups:
        lines.append(f"<text x='10' y='{y + 12}' {STYLE}>{head}</text>")
        y += BAR + GAP
        for label, rate, colour in bars:
            lines += [
                f"<text x='{LEFT - 8}' y='{y + 13}' text-anchor='end' {STYLE}>{label}</text>",
                f"<rect x='{LEFT}' y='{y}' width='{rate * scale:.1f}' height='{BAR}' "
                f"fill='{colour}'/>",
                f"<text x='{LEFT + rate * scale + 6:.1f}' y='{y + 13}' {STYLE}>{rate:.3g}</text>",
            ]
            y += BAR + GAP
        y += BAR
    graphs = results.get("graphs")
    for one in graphs if isinstance(graphs, list) else ():
        said = (
            f"{one['rows']} rows: a step takes {one['fast_ms']:.3g} ms with `fast`, "
            f"{one['plain_ms']:.3g} ms with `plain`"
        )
        lines.append(f"<text x='10' y='{y + 12}' {STYLE}>{said}</text>")
        y += BAR
    height = y + 14
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}'>"
    )
    back = f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>"
    path.write_text("\n".join([head, back, *lines, "</svg>", ""]))
