"""What a benchmark wants of its figures, and whether it found that."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Goals = Mapping[str, tuple[str, str, float]]
"""What people call it -> where its figure is ("sft.old_lost.max"), "<=" or ">=", and how much."""


def judged(found: Mapping[str, Any], goals: Goals) -> list[dict[str, Any]]:
    """Of the figures that there are."""
    told = []
    for name, (path, sign, wanted) in goals.items():
        value = _at(found, path)
        if value is not None:
            reached = value <= wanted if sign == "<=" else value >= wanted
            told.append(
                {"goal": name, "found": value, "wanted": f"{sign} {wanted}", "reached": reached}
            )
    return told


def goals_table(goals: Sequence[Mapping[str, Any]], title: str = "found") -> Table:
    """Args:
    title: of the figures that are judged.
    """
    grid = Table("goal", title, "wanted", "reached")
    for one in goals:
        grid.add_row(
            one["goal"], f"{one['found']:.3f}", one["wanted"], "yes" if one["reached"] else "no"
        )
    return grid


def _at(found: Any, path: str) -> float | None:
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return float(found)
