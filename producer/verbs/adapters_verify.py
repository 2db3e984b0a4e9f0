"""`jamak adapters verify`: whether versions are what was published, byte for byte."""

from typing import Annotated

import typer
from rich.markup import escape

from producer.bucket.verified_adapters import Verified, Verifier
from producer.verbs import completion
from producer.verbs.console import AsJson, Grid, bars, err, out, print_json, size
from shared.bucket.storage import ObjectStore
from shared.language import spoken
from shared.settings import load_settings


def adapters_verify(
    version: Annotated[
        str | None,
        typer.Argument(
            help="Or the start of it; none = all, and what is in use.",
            autocompletion=completion.adapters,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read all files of a version, and say whether they are what was published. 1 = they are not.

    Digests, name, base model, parents and report. It changes nothing.
    """
    settings = load_settings()
    verifier = Verifier(ObjectStore(outputs=settings.all_outputs), settings)
    found = verifier.found(version)
    told: list[Verified] = []
    with bars() as shown:
        bar = shown.add_task(spoken("reading"), total=len(found))
        for (base, name), items in sorted(found.items()):
            told.append(verifier.verify(base, name, items))
            shown.advance(bar)
    lost = [] if version is not None else list(verifier.pointed_at())
    if as_json:
        print_json(
            {
                "versions": [
                    {
                        "base": one.base,
                        "version": one.version,
                        "size_bytes": one.size_bytes,
                        "whole": one.is_whole,
                        "faults": one.faults,
                        "notes": one.notes,
                    }
                    for one in told
                ],
                "pointers": [{"base": base, "fault": fault} for base, fault in lost],
            }
        )
    else:
        _show(told)
        for base, fault in lost:
            err.print(f"[red]{escape(base)}: {escape(spoken(fault))}[/red]", highlight=False)
    if lost or not all(one.is_whole for one in told):
        raise typer.Exit(1)


def _show(told: list[Verified]) -> None:
    table = Grid("version", "base", "size", "found")
    for one in told:
        found = "\n".join(map(spoken, [*one.faults, *one.notes])) or spoken("whole")
        colour = "" if one.is_whole else "[red]"
        table.add_row(one.version, one.base, size(one.size_bytes), f"{colour}{escape(found)}")
    out.print(table)
