"""The operator's verbs for adapters: what there is, what is in use, and which shall be."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.bucket.unused_adapters import Unused, delete, unused_adapters
from producer.verbs import completion
from producer.verbs.adapters_canary import adapters_canary, adapters_promote
from producer.verbs.adapters_diff import adapters_diff
from producer.verbs.adapters_gate import adapters_gate
from producer.verbs.adapters_show import adapters_show
from producer.verbs.adapters_told import (
    registry_of,
    scores_of,
    show_history,
    training_of,
    use_of,
)
from producer.verbs.adapters_verify import adapters_verify
from producer.verbs.adapters_watch import adapters_watch
from producer.verbs.console import AsJson, Grid, out, print_json, size, warn_of
from shared.bucket.registry import base_name
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.bucket.training import TrainingRecords
from shared.errors import JamakError, UsageError
from shared.language import spoken
from shared.settings import Settings, load_settings
from shared.shown import utc
from shared.training import AdapterManifest, Pointer, TrainOutcome

NAME = len(base_name("0" * 64))
READERS = 16
"""Objects read at once."""

Version = Annotated[
    str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
]

adapters = typer.Typer(no_args_is_help=True, help="Which adapter the workers use.")


@adapters.command("list")
def adapters_list(as_json: AsJson = False) -> None:
    """All versions with their scores, which is in use, and which were."""
    settings = load_settings()
    registry = registry_of(settings)
    unread: list[JamakError] = []
    found = sorted(registry.manifests(unread.append), key=lambda item: item.created_at)
    bases = {item.base.weights_sha256: item.base.id for item in found}
    known = {base[:NAME] for base in bases}
    unknown = {name: "?" for name in registry.base_names() if name not in known}
    bases |= unknown
    pointers: dict[str, Pointer] = {}
    for base in bases:
        try:
            told = registry.pointer(base)
        except UNREADABLE as error:
            unread.append(error)
        else:
            if base not in unknown or told.generation:
                pointers[base] = told
    reasons = _why_not_in_use(settings, found, pointers)
    if as_json:
        print_json(
            {
                "in_use": [
                    {"base": base, **pointer.model_dump(mode="json")}
                    for base, pointer in pointers.items()
                ],
                "versions": [
                    {**item.model_dump(mode="json"), "why_not_activated": reasons.get(item.version)}
                    for item in found
                ],
                "unreadable": [{"message": str(one), "cure": one.cure} for one in unread],
            }
        )
        return
    table = Grid("version", "use", "held out", "training", "data", "made", wide=("weights",))
    for item in found:
        pointer = pointers.get(item.base.weights_sha256)
        made = utc(item.created_at)
        use = use_of(item.version, pointer, reasons.get(item.version)) if pointer else "?"
        trained = training_of(item)
        row = (
            item.version,
            escape(spoken(use)),
            scores_of(item.metrics),
            trained,
            escape(item.data),
            made,
        )
        table.add_row(*row, item.base.weights_sha256)
    out.print(table)
    for base, pointer in pointers.items():
        show_history(f"{bases[base]} ({base[:12]})", pointer)
    for one in unread:
        warn_of(str(one), one.cure)


@adapters.command("activate")
def adapters_activate(version: Version, as_json: AsJson = False) -> None:
    """Use this version from the workers' next captions on."""
    registry = registry_of(load_settings())
    manifest = registry.find(version)
    _show_pointer(registry.activate(manifest.base.weights_sha256, manifest.version), as_json)


@adapters.command("rollback")
def adapters_rollback(
    version: Annotated[
        str | None,
        typer.Argument(help="What to leave: if something else is in use by now, nothing is done."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Start of the base's digest, if there are several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One step back to what was in use before; in the end that is the base model."""
    if version == "":
        raise UsageError(
            "no version is named",
            cure="An empty name is a slip. Leave it out to leave what is in use, whatever it is.",
            argument="VERSION",
        )
    registry = registry_of(load_settings())
    # Folders, and not what manifests tell: of a base whose manifests cannot be read its adapter
    # has to be left most of all.
    names = [name for name in registry.base_names() if name.startswith((base or "")[:NAME])]
    if len(names) > 1:
        names = [name for name in names if _can_leave(registry.pointer(name), version or "")]
    if len(names) != 1:
        raise UsageError(
            f"{len(names)} base models match", cure="Name one with --base: `jamak adapters list`."
        )
    _show_pointer(registry.rollback(names[0], version), as_json)


def _can_leave(pointer: Pointer, version: str) -> bool:
    """It is in use, or on trial; empty: something ever was."""
    canary = pointer.canary.version if pointer.canary else ""
    named = any(one.startswith(version) for one in (pointer.version or "", canary))
    return pointer.generation > 0 and named


@adapters.command("prune")
def adapters_prune(
    days: Annotated[int, typer.Option("--older-than", min=1, max=36_500, help="Days.")] = 30,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete versions that are not in use, were not, and that no training goes on from.

    With --json and without --yes it deletes nothing.
    """
    settings, store = load_settings(), ObjectStore()
    unused = unused_adapters(store, settings, timedelta(days=days))
    if as_json:
        kept = [one for one in unused if not (yes and delete(store, settings, one))]
        print_json(
            {
                "deleted": [_as_dict(one) for one in unused if one not in kept],
                "kept" if yes else "unused": [_as_dict(one) for one in kept],
            }
        )
        return
    if not unused:
        out.print(spoken(f"nothing to delete: no version is unused and older than {days} days"))
        return
    table = Grid("version", "base", "made", "size")
    for one in unused:
        made = utc(one.modified)
        table.add_row(escape(one.version), escape(one.base), made, size(one.size_bytes))
    out.print(table)
    if not yes:
        typer.confirm(spoken(f"Delete {len(unused)} versions?"), abort=True, err=True)
    deleted = sum(delete(store, settings, one) for one in unused)
    out.print(spoken(f"{deleted} versions deleted"))


def _as_dict(one: Unused) -> dict[str, Any]:
    return {
        "base": one.base,
        "version": one.version,
        "size_bytes": one.size_bytes,
        "modified": one.modified.isoformat(),
    }


def _show_pointer(pointer: Pointer, as_json: bool) -> None:
    if as_json:
        print_json(pointer.model_dump(mode="json"))
    else:
        out.print(
            spoken(f"in use: {pointer.version or 'the base model'}; workers follow in seconds")
        )


def _why_not_in_use(
    settings: Settings, found: Sequence[AdapterManifest], pointers: dict[str, Pointer]
) -> dict[str, str]:
    """Version -> why its training did not put it to use; of those that never were in use since."""
    records = TrainingRecords(ObjectStore(), settings.output_bucket, settings.output_prefix)
    used = {stop.version for pointer in pointers.values() for stop in pointer.history}
    used |= {pointer.version for pointer in pointers.values()}
    unused = [item for item in found if item.version not in used]

    def outcome_of(item: AdapterManifest) -> TrainOutcome | None:
        try:
            return records.outcome(item.train_job.id)
        except UNREADABLE:
            return None  # `jamak train list` says so

    with ThreadPoolExecutor(READERS) as pool:
        outcomes = pool.map(outcome_of, unused)
        return {
            item.version: outcome.why_not_activated
            for item, outcome in zip(unused, outcomes, strict=True)
            if outcome and outcome.version == item.version and outcome.why_not_activated
        }


adapters.command("gate")(adapters_gate)
adapters.command("canary")(adapters_canary)
adapters.command("promote")(adapters_promote)
adapters.command("show")(adapters_show)
adapters.command("diff")(adapters_diff)
adapters.command("verify")(adapters_verify)
adapters.command("watch")(adapters_watch)
