"""`jamak data validate`: all that is wrong with a training set, before anything is trained."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import DoesNotFit, Unfinished
from shared.language import spoken
from shared.rows import Stage
from shared.settings import load_settings

SHOWN = 10
"""Rows of each finding; `--json` has all."""

Manifest = Annotated[
    str, typer.Argument(help="s3://bucket/manifest.jsonl, or a file here (docs/training.md).")
]
OfStage = Annotated[
    Stage | None, typer.Option("--stage", help="Without it, told by the columns of the first row.")
]
Frames = Annotated[int, typer.Option(min=1, help="Of each video, as the job will have it.")]
WithMedia = Annotated[
    bool, typer.Option("--media/--no-media", help="Open each video and image, and decode it.")
]


def validate(
    manifest: Manifest,
    stage: OfStage = None,
    frames: Frames = 4,
    media: WithMedia = True,
    as_json: AsJson = False,
) -> None:
    """What would stop a training, and what would make it worse; nothing is changed.

    Ends with 1 if there are errors, each of which would stop a training or make its scores
    worthless. Warnings alone end with 0.
    """
    from workers.data.examine import Examination

    with err.status(spoken("looking into it …")) as line:
        examination = Examination(
            load_settings(), frames, media, lambda told: line.update(spoken(told))
        )
        found = examination.of(manifest, stage)
    told = _told(found)
    if not as_json:
        _show(found)
    if found.errors:
        raise Unfinished(
            f"{found.manifest}: {found.errors} errors; a training of it would stop, or prove "
            "nothing",
            cure="Mend what is listed, and validate again.",
            told=told,
        )
    if as_json:
        print_json(told)


def _told(found: Any) -> dict[str, Any]:
    return {
        "manifest": found.manifest,
        "stage": found.stage,
        "rows": len(found.rows),
        "media": len({row.media.key for row in found.rows}),
        "errors": found.errors,
        "warnings": len(found.findings) - found.errors,
        "findings": [one.dump() for one in found.findings],
        "longest_caption": found.most,
        "classes": [one.dump() for one in found.classes],
    }


def _show(found: Any) -> None:
    media = len({row.media.key for row in found.rows})
    out.print(
        escape(found.manifest),
        spoken(f"{len(found.rows)} rows for {found.stage}, {media} videos, parts and images"),
        highlight=False,
    )
    for one in found.findings:
        colour = "red" if one.level == "error" else "yellow"
        level = spoken("error") if one.level == "error" else spoken("warning")
        out.print(f"[{colour}]{level}[/{colour}]", escape(spoken(one.message)), highlight=False)
        if one.cure:
            out.print(f"  {escape(spoken(one.cure))}", highlight=False)
        if len(one.told) > 1 or (one.told and one.told[0].what != one.message):
            _show_rows(one.told)
    if found.classes:
        _show_classes(found.classes)


def _show_rows(told: Any) -> None:
    table = Grid()
    for one in told[:SHOWN]:
        table.add_row(f"  {escape(one.place)}", escape(spoken(one.what)))
    out.print(table)
    if len(told) > SHOWN:
        out.print(spoken(f"  and {len(told) - SHOWN} more: --json lists them all"))


def _show_classes(classes: Any) -> None:
    table = Grid("class", "frames", "visual tokens", "longest row", "positions", "rows beyond")
    for one in classes:
        if isinstance(one.plan, DoesNotFit):
            table.add_row(one.card, *["-"] * 5)
            continue
        table.add_row(
            one.card,
            str(one.plan.frames.value),
            f"{one.plan.visual_tokens.value:,}",
            f"{one.needs:,}",
            f"{one.plan.positions.value:,}",
            str(len(one.beyond)),
        )
    out.print(table)
