"""A training set as a picture: how long its texts and videos are, and how Korean they are."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workers.data.examine import Examined
from workers.data.numbers import Numbers

SHOWN = ("text tokens", "syllables", "Korean share", "seconds", "frames", "chosen longer by")
COLUMNS = 3
BINS = 40
WIDTH, HEIGHT, DPI = 4.2, 3.0, 110
"""Inches of each, and dots an inch."""


def plot(found: Examined, numbers: Numbers, path: Path) -> None:
    """One histogram for each; of the tokens with a line where a caption ends."""
    shown = [name for name in SHOWN if numbers.values.get(name)]
    rows = -(-len(shown) // COLUMNS)
    figure = Figure((WIDTH * COLUMNS, HEIGHT * rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{len(found.rows)} rows for {found.stage}")
    for at, name in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, COLUMNS, at)
        axes.hist(numbers.values[name], bins=BINS, color="#4c72b0")
        axes.set_title(name)
        axes.set_ylabel("media" if name in ("seconds", "frames") else "rows")
        if name == "text tokens":
            axes.axvline(found.most, color="#c44e52")
            axes.annotate(
                "a caption ends",
                (found.most, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-3, -10),
                textcoords="offset points",
                ha="right",
                size=8,
            )
    figure.savefig(path, format="png")
