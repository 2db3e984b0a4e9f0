"""`jamak adapters show`: all that is known of a version."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.verbs import completion
from producer.verbs.adapters_gate import decided, said_of
from producer.verbs.adapters_told import registry_of, scores_of, show_history, training_of, use_of
from producer.verbs.console import AsJson, Grid, out, print_json
from shared.bucket.registry import Registry
from shared.bucket.reports import Reports
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import Missing
from shared.judged import Judged
from shared.language import spoken
from shared.settings import load_settings
from shared.shown import utc
from shared.training import AdapterManifest, Pointer, Stop

MOST_PARENTS = 100


def adapters_show(
    version: Annotated[
        str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
    ],
    as_json: AsJson = False,
) -> None:
    """A version: what it was made of, how it was judged, what the policy says, its history."""
    settings = load_settings()
    registry = registry_of(settings)
    store = ObjectStore(outputs=settings.all_outputs)
    reports = Reports(store, settings.output_bucket, settings.output_prefix)
    manifest = registry.find(version)
    base = manifest.base.weights_sha256
    pointer, judged = registry.pointer(base), reports.find(base, manifest.version)
    policy = reports.policy()
    gate = None
    if policy is not None and judged is not None:
        gate = decided(policy, judged, manifest.version, pointer)
    parents = _parents(registry, manifest)
    moves = _moves(pointer, manifest.version)
    if as_json:
        print_json(
            {
                **manifest.model_dump(mode="json"),
                "use": use_of(manifest.version, pointer, None) or None,
                "parents": parents,
                "judged": judged and _in_short(judged),
                "gate": gate and {"would": gate[0], "reasons": gate[1]},
                "history": [stop.model_dump(mode="json") for stop in moves],
            }
        )
        return
    _show(manifest, pointer, parents)
    if judged is None:
        out.print(spoken("it was not judged"))
    else:
        _show_judged(judged)
    if gate is not None and policy is not None:
        out.print(spoken(said_of(gate[0], policy, manifest.version)), highlight=False)
        for reason in gate[1]:
            out.print(f"  {escape(spoken(reason))}", highlight=False)
    show_history(f"{manifest.base.id} ({base[:12]})", pointer.model_copy(update={"history": moves}))


def _parents(registry: Registry, manifest: AdapterManifest) -> list[str]:
    """From the nearest on; the last one may be there no more."""
    found: list[str] = []
    parent = manifest.parent
    while parent is not None and len(found) < MOST_PARENTS:
        found.append(parent)
        try:
            parent = registry.manifest(manifest.base.weights_sha256, parent).parent
        except (Missing, *UNREADABLE):
            break
    return found


def _moves(pointer: Pointer, version: str) -> tuple[Stop, ...]:
    """Those by which it came into use or on trial, or left."""
    before: str | None = None
    found = []
    for stop in pointer.history:
        if version in (stop.version, stop.canary, before):
            found.append(stop)
        before = stop.version
    return tuple(found)


def _in_short(judged: Judged) -> dict[str, Any]:
    return {
        "against": judged.against,
        "compared": judged.compared,
        "created_at": judged.created_at.isoformat(),
        "sets": [
            {
                "name": one.name,
                "data": one.data,
                "captions": one.captions,
                "videos": one.videos,
                "figures": {
                    name: figure.model_dump(mode="json", include={"value", "against", "difference"})
                    for name, figure in one.figures.items()
                },
            }
            for one in judged.sets
        ],
    }


def _show(manifest: AdapterManifest, pointer: Pointer, parents: list[str]) -> None:
    table = Grid()
    base = manifest.base
    table.add_row("version", f"[bold]{manifest.version}[/bold]")
    table.add_row("use", escape(spoken(use_of(manifest.version, pointer, None))))
    table.add_row("base", escape(f"{base.id}@{base.revision} (weights {base.weights_sha256})"))
    table.add_row("training", training_of(manifest))
    table.add_row("training job", escape(manifest.train_job.id))
    if parents:
        table.add_row("parents", " ← ".join(parents))
    table.add_row("data", escape(f"{manifest.data} (sha256 {manifest.data_sha256})"))
    for one in manifest.replayed:
        table.add_row("earlier data", escape(f"{one.data} ({one.rows:,}, {one.data_sha256})"))
    table.add_row("held out", scores_of(manifest.metrics))
    for note in manifest.notes:
        table.add_row("note", escape(spoken(note)))
    for name, sha256 in sorted(manifest.files.items()):
        table.add_row(name, sha256)
    table.add_row("made", utc(manifest.created_at, seconds=True))
    out.print(table)


def _show_judged(judged: Judged) -> None:
    against = judged.against or "the base model"
    beside = spoken(f"beside {against}") if judged.compared else "-"
    table = Grid("set", "measure", "value", beside, "difference")
    for one in judged.sets:
        for figure in one.figures.values():
            shown = [
                _number(number, figure.percent)
                for number in (figure.value, figure.against, figure.difference)
            ]
            table.add_row(escape(one.name), escape(spoken(figure.title)), *shown)
    out.print(table)


def _number(value: float | None, percent: bool) -> str:
    return "-" if value is None else f"{100 * value:.2f} %" if percent else f"{value:.3g}"
