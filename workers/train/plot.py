"""Draws the steps of a training: `python -m workers.train.plot REPORT_JSON PNG`.

A process of its own, so that nobody else has matplotlib in memory. Its words are English: no font
with Korean letters is sure to be here.
"""

import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shared.messages import decode
from shared.training_report import TrainReport, TrainStep

COLUMNS = 2
MOST_PANELS = 8
ALONE = "accuracies"
"""Shares of 1: beside rewards nobody would see them."""


def draw(report: TrainReport, picture: Path) -> None:
    panels = _panels(report.steps)
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(6 * COLUMNS, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    job = report.job
    figure.suptitle(f"{job.stage} {job.id}", parse_math=False)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for ax, (title, lines) in zip(axes, panels.items(), strict=False):
        for name, points in lines.items():
            ax.plot(*zip(*points, strict=True), marker="." if len(points) < 3 else "", label=name)
        ax.set_title(title, parse_math=False)
        ax.set_xlabel("step")
        ax.grid(alpha=0.3)
        if len(lines) > 1:
            ax.legend(fontsize="small")
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.savefig(picture, format="png", dpi=100)


def _panels(steps: tuple[TrainStep, ...]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title -> lines by name -> (step, value)."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))

    def put(title: str, name: str, step: int, value: float | None) -> None:
        if value is not None:
            found[title][name].append((step, value))

    for one in steps:
        put("loss", "loss", one.step, one.loss)
        put("learning rate", "learning rate", one.step, one.learning_rate)
        put("gradient norm", "gradient norm", one.step, one.grad_norm)
        if one.tokens and one.seconds:
            put("tokens per second", "tokens per second", one.step, one.tokens / one.seconds)
        for name, value in one.metrics.items():
            family = name.partition("/")[0]
            put(name if name.endswith(ALONE) else family, name, one.step, value)
    return dict(list(found.items())[:MOST_PANELS])


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    draw(decode(TrainReport, source.read_bytes()), target)
