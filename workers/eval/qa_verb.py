"""`jamak qa`: how many questions about videos adapters answer rightly, by set."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import BadData, UsageError
from shared.language import spoken
from shared.settings import load_settings
from workers.eval.verb import version_of
from workers.judge.suites import Suite, read_suite


def qa(
    suites: Annotated[
        list[str],
        typer.Option(
            "--suite",
            metavar="NAME=FOLDER",
            help="activitynet-qa, msvd-qa, msrvtt-qa or tgif-qa, and where its files lie.",
        ),
    ],
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="A version, or the start of it; several. The base model comes first."),
    ] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Questions of each set, the first ones.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of each video; without it as the card allows.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer the questions of video QA sets, and count the right answers: a row for each model."""
    settings = load_settings()
    found = _suites(suites)
    registry = Registry(
        ObjectStore(outputs=settings.all_outputs), settings.output_bucket, settings.output_prefix
    )
    manifests = [version_of(name, registry) for name in ("base", *(adapter or ()))]
    from workers.eval.machine import Machine

    with (
        err.status(spoken("loading the model …")) as line,
        TemporaryDirectory(prefix="jamak-qa-", dir=settings.scratch_dir) as folder,
    ):
        machine = Machine(
            settings,
            registry,
            Path(folder),
            lambda stage, done, total: line.update(
                spoken(f"answering, {stage}: {done} of {total}")
            ),
        )
        table = machine.answer(manifests, found, most, frames)
    unreadable = dict(table[0].left_out)
    for row in table:
        for suite in found:
            lacking = len(suite.asked) - len(suite.there)
            row.left_out[suite.name] = row.left_out.get(suite.name, 0) + lacking
    if as_json:
        print_json({"models": [one.told() for one in table]})
        return
    grid = Grid("model", *(suite.name for suite in found))
    for row in table:
        cells = (f"{100 * row.accuracy(suite.name):.1f} %" for suite in found)
        grid.add_row(row.version or spoken("the base model"), *cells)
    out.print(grid)
    for suite in found:
        lacking = len(suite.asked) - len(suite.there)
        if lacking:
            err.print(
                spoken(f"{suite.name}: the videos of {lacking} questions are not there: left out")
            )
        if bad := unreadable.get(suite.name):
            err.print(
                spoken(f"{suite.name}: the videos of {bad} questions cannot be read: left out")
            )


def _suites(given: list[str]) -> list[Suite]:
    """Known by their names: in the table, and in what is answered."""
    found: dict[str, Suite] = {}
    for one in given:
        suite = _suite(one)
        if suite.name in found:
            raise UsageError(
                f"{suite.name} is there twice",
                cure="Name each set once; for another folder run it again.",
                argument="--suite",
            )
        found[suite.name] = suite
    return list(found.values())


def _suite(given: str) -> Suite:
    name, equals, folder = given.partition("=")
    if not equals:
        raise UsageError(
            f"{given!r} names no folder",
            cure="Write msvd-qa=FOLDER.",
            argument="--suite",
        )
    try:
        suite = read_suite(name, Path(folder))
    except BadData as error:
        raise UsageError(str(error), cure=error.cure, argument="--suite") from error
    if not suite.there:
        raise UsageError(
            f"{folder}/videos holds none of the videos of {name}",
            cure="Put them there, under the names that the set has for them.",
            argument="--suite",
        )
    return suite
