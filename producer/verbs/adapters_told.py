"""What the verbs for adapters have in common: where they are, and how a version is told of."""

from datetime import datetime

from rich.markup import escape

from producer.verbs.console import Grid, out
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.language import spoken
from shared.settings import Settings
from shared.shown import utc
from shared.training import AdapterManifest, Pointer


def registry_of(settings: Settings) -> Registry:
    return Registry(
        ObjectStore(outputs=settings.all_outputs), settings.output_bucket, settings.output_prefix
    )


def use_of(version: str, pointer: Pointer, why_not: str | None) -> str:
    if pointer.version == version:
        return f"← in use since {utc(in_use_since(pointer))}"
    if pointer.canary is not None and pointer.canary.version == version:
        since, percent = pointer.canary.since, 100 * pointer.canary.share
        return f"← on trial since {utc(since)}, with {percent:g} %"
    for stop, next_stop in reversed(list(zip(pointer.history, pointer.history[1:], strict=False))):
        until = utc(next_stop.at)
        if next_stop.canary == version and next_stop.how not in ("canary begun", "canary promoted"):
            return f"on trial until {until}{f': {next_stop.why}' if next_stop.why else ''}"
        if stop.version == version and next_stop.version != version:
            return f"in use until {until}"
    return f"not put to use: {why_not}" if why_not else ""


def in_use_since(pointer: Pointer) -> datetime:
    """A trial beside it moves the pointer as well."""
    since = pointer.updated_at
    for stop in reversed(pointer.history):
        if stop.version != pointer.version:
            break
        since = stop.at
    return since


def scores_of(metrics: dict[str, float]) -> str:
    """Each held-out score, before → after, and of how many rows."""
    lines = [
        f"{name.removesuffix('_before')} {before:.3f} → {metrics[after]:.3f}"
        for name, before in metrics.items()
        if (after := f"{name.removesuffix('_before')}_after") in metrics and name != after
    ]
    if "n_eval" in metrics:
        videos = f", {metrics['n_eval_videos']:.0f} videos" if "n_eval_videos" in metrics else ""
        lines.append(f"{metrics['n_eval']:.0f} rows{videos}")
    if "n_better" in metrics:
        lines.append(f"{metrics['n_better']:.0f} better, {metrics['n_worse']:.0f} worse")
    return "\n".join(map(spoken, lines))


def training_of(item: AdapterManifest) -> str:
    job, metrics = item.train_job, item.metrics
    # What goes on from a parent has its rank, whatever the job says.
    rank = f"from {item.parent}" if item.parent else f"rank {job.rank}"
    lines = [f"{item.stage}, {rank}, {job.steps} steps"]
    if "n_train" in metrics:
        lines.append(f"{metrics['n_train']:.0f} rows")
    if "loss_first" in metrics:
        lines.append(f"loss {metrics['loss_first']:.3f} → {metrics['loss_last']:.3f}")
    return "\n".join(map(spoken, lines))


def show_history(base: str, pointer: Pointer) -> None:
    if not pointer.history:
        return
    columns = ("no.", "since", "in use", "how", "canary", "moved by", "why")
    table = Grid(*columns, title=f"what was in use, of {escape(base)}")
    for stop in pointer.history:
        since = utc(stop.at, seconds=True)
        share = f" {100 * stop.share:g} %" if stop.share is not None else ""
        table.add_row(
            str(stop.generation),
            since,
            stop.version or spoken("the base model"),
            spoken(stop.how),
            f"{stop.canary}{share}" if stop.canary else "",
            escape(stop.by or ""),
            escape(stop.why or ""),
        )
    out.print(table)
