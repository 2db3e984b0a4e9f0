"""`jamak eval`: how good an adapter is, beside another one or the base model.

Torch is loaded once the arguments are known to mean something.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape

from shared.bucket.keys import parse_uri
from shared.bucket.registry import Registry
from shared.bucket.reports import Reports
from shared.bucket.storage import ObjectStore
from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import JamakError, Unfinished, UsageError
from shared.judged import FORGETTING, HELD_OUT, Judged, JudgedSet
from shared.language import spoken
from shared.settings import load_settings
from shared.training import AdapterManifest
from workers.judge.page import apart, told, verdict

BASE, NONE = "base", "none"


def evaluate(
    adapter: Annotated[str, typer.Option(help="A version, or the start of it; or: base.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="s3://bucket/manifest.jsonl, or a file; its rows of split eval, if it has any.",
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            help="A version, base, or none; without it what is in use, and if that is the same, "
            "the base model."
        ),
    ] = None,
    forgetting: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A second set, of what it is not to forget."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of each video; without it as the card allows.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", file_okay=False, help="A folder for judged.json, .md and .html."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Beside the version in the bucket, for the gate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Caption held-out videos with an adapter, and judge what it says."""
    settings = load_settings()
    sets = {HELD_OUT: data} | ({FORGETTING: forgetting} if forgetting else {})
    for one in sets.values():
        _check_there(one)
    registry = Registry(
        ObjectStore(outputs=settings.all_outputs), settings.output_bucket, settings.output_prefix
    )
    new = version_of(adapter, registry)
    if keep and new is None:
        raise UsageError(
            "the base model has no folder to keep a report in",
            cure="Write it into a folder with --out.",
            argument="--keep",
        )
    old = None if against in (None, NONE) else version_of(str(against), registry)
    if to is not None:  # before all that takes long
        to.mkdir(parents=True, exist_ok=True)
    from workers.eval.machine import Machine

    with (
        err.status(spoken("loading the model …")) as line,
        TemporaryDirectory(prefix="jamak-eval-", dir=settings.scratch_dir) as folder,
    ):
        machine = Machine(
            settings,
            registry,
            Path(folder),
            lambda stage, done, total: line.update(spoken(f"judging, {stage}: {done} of {total}")),
        )
        if against is None:
            old = machine.in_use(than=new)
        report = machine.judge(new, old, sets, frames, compared=against != NONE)
    files = report.files()
    told = report.judged.model_dump(mode="json")
    # Whatever becomes of the files, hours of work are not lost: it is shown first, or beside the
    # error.
    if not as_json:
        for judged in report.judged.sets:
            _show(report.judged, judged)
    try:
        if to is not None:
            for name, content in files.items():
                (to / name).write_bytes(content)
            if not as_json:
                out.print(spoken(f"report: {escape(str(to / 'judged.html'))}"), highlight=False)
        if keep and new is not None:
            reports = Reports(ObjectStore(), settings.output_bucket, settings.output_prefix)
            kept = reports.write(new.base.weights_sha256, new.version, files)
            if not as_json:
                out.print(spoken(f"kept: {escape(kept)}"), highlight=False, soft_wrap=True)
    except (JamakError, OSError) as error:
        cure = error.cure if isinstance(error, JamakError) else "Look at the folder."
        raise Unfinished(
            f"what it found could not be written: {error}", cure=cure, told=told
        ) from error
    if as_json:
        print_json(told)


def _check_there(data: str) -> None:
    """Before a model is loaded for it."""
    if data.startswith("s3://"):
        parse_uri(data)
    elif not Path(data).is_file():
        raise UsageError(f"{data}: there is no such file", cure="Check it.")


def version_of(name: str, registry: Registry) -> AdapterManifest | None:
    """None: the base model."""
    return None if name == BASE else registry.find(name)


def _show(judged: Judged, one: JudgedSet) -> None:
    out.print(
        spoken(f"{escape(one.name)}: {one.captions} captions of {one.videos} videos"),
        highlight=False,
    )
    table = Grid("measure", "value", "95 of 100", "compared with", "difference", "")
    for name, figure in one.figures.items():
        against = "" if figure.against is None else told(figure, figure.against)
        between = f"{told(figure, figure.low)} … {told(figure, figure.high)}"
        sure = spoken(verdict(figure)) if judged.compared else ""
        table.add_row(name, told(figure, figure.value), between, against, apart(figure), sure)
    out.print(table)
    for name, why in one.left_out.items():
        out.print(spoken(f"{name} is left out: {why}"), highlight=False)
