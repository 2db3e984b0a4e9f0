"""`jamak data stats`: a training set in numbers, and as a picture."""

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import UsageError
from shared.language import spoken
from shared.settings import load_settings
from workers.data.validate import Frames, Manifest, OfStage, WithMedia


def stats(
    manifest: Manifest,
    picture: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="Histograms: stats.png")
    ] = None,
    stage: OfStage = None,
    frames: Frames = 4,
    media: WithMedia = True,
    as_json: AsJson = False,
) -> None:
    """How much there is of what, and how long texts and videos are."""
    if picture is not None and not picture.parent.is_dir():
        raise UsageError(
            f"{picture.parent} is no folder", cure="Create it first.", argument="--out"
        )
    from workers.data.examine import Examination
    from workers.data.numbers import numbers_of

    with err.status(spoken("looking into it …")) as line:
        examination = Examination(
            load_settings(), frames, media, lambda told: line.update(spoken(told))
        )
        found = examination.of(manifest, stage)
    numbers = numbers_of(found)
    if as_json:
        print_json({"manifest": found.manifest, "stage": found.stage, **numbers.dump()})
    else:
        _show(found, numbers)
    if picture is not None and any(numbers.values.values()):
        from workers.data.plot import plot

        plot(found, numbers, picture)
        if not as_json:
            out.print(spoken(f"histograms: {escape(str(picture))}"), highlight=False)
    elif picture is not None:
        err.print(spoken("there is nothing to draw"))
    # After the numbers: of what is not read they tell nothing.
    if found.errors:
        err.print(
            spoken(f"there are errors in it: {found.errors}; `jamak data validate` lists them"),
            highlight=False,
        )


def _show(found: Any, numbers: Any) -> None:
    out.print(escape(found.manifest), highlight=False)
    table = Grid("column", "value", "rows in all", "media", "hours")
    for one in _most(numbers.groups):
        hours = "" if one.seconds is None else f"{one.seconds / 3600:.2f}"
        table.add_row(one.column, escape(one.value or "-"), str(one.rows), str(one.media), hours)
    out.print(table)
    table = Grid("of each row or medium", "least", "median", "95 %", "most")
    for name, spread in numbers.spreads.items():
        table.add_row(spoken(name), *spread.cells(2 if name in FRACTIONS else 0))
    out.print(table)


def _most(groups: list[Any]) -> Iterator[Any]:
    """Of each column those with the most rows: `--json` has all of them."""
    for _, some in groupby(groups, lambda one: one.column):
        yield from islice(some, MOST_GROUPS)


FRACTIONS = ("Korean share", "seconds")
MOST_GROUPS = 30
