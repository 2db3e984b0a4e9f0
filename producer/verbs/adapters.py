"""The operator's verbs for training and adapters."""

from typing import Annotated, Any

import typer

from producer.jobs.training import new_job_id, submit, wait_for
from producer.verbs import completion
from producer.verbs.console import AsJson, Grid, err, out, print_json
from producer.verbs.status import adapters_in_use
from shared.broker.apps import train_app
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.errors import Unfinished, UsageError
from shared.messages import TrainJob
from shared.settings import Settings, load_settings

Version = Annotated[
    str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
]

train = typer.Typer(no_args_is_help=True, help="Train an adapter on the train queue.")


@train.callback()
def _train() -> None:
    """Keeps `sft` a word of its own while it is the only stage."""


@train.command("sft")
def train_sft(
    data: Annotated[str, typer.Option(help="s3://bucket/manifest.jsonl (docs/training.md)")],
    steps: Annotated[int, typer.Option(min=1)] = 100,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 2e-4,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA matrices.")] = 16,
    frames: Annotated[int, typer.Option(min=1, help="Of each video.")] = 4,
    quantized: Annotated[bool, typer.Option(help="QLoRA: language model in 4-bit.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option(help="Adapter version to go on from.", autocompletion=completion.adapters),
    ] = None,
    activate: Annotated[bool, typer.Option(help="Use it, unless it scores worse.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on captions of reference: LoRA on the language model, and the projector."""
    settings, store = load_settings(), ObjectStore()
    job = TrainJob(
        id=new_job_id(),
        data=data,
        model=settings.model,
        revision=settings.model_revision,
        prompt=settings.prompt,
        start_from=start_from,
        quantized=quantized,
        frames=frames,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rank=rank,
        seed=seed,
        activate=activate,
    )
    submit(train_app(settings), store, job)
    if not wait:
        if as_json:
            print_json({"job_id": job.id, "status": "queued"})
        else:
            out.print(f"queued: training job {job.id}")
        return
    with err.status(f"training job {job.id} …"):
        outcome = wait_for(store, settings, job.id)
    if outcome.status != "failed" and as_json:
        print_json(outcome.model_dump(mode="json"))
    elif outcome.status == "published":
        used = "now in use" if outcome.activated else "published, not in use"
        out.print(f"adapter {outcome.version} {used}, after {outcome.seconds:.0f} s")
        for name, value in outcome.metrics.items():
            out.print(f"  {name} {value:.3f}")
    if outcome.status == "failed":
        raise Unfinished(
            f"training failed: {outcome.message}",
            cure=outcome.cure,
            told=outcome.model_dump(mode="json"),
        )


adapters = typer.Typer(no_args_is_help=True, help="Which adapter the workers use.")


def _registry(settings: Settings) -> Registry:
    return Registry(ObjectStore(), settings.output_bucket, settings.output_prefix)


@adapters.command("list")
def adapters_list(as_json: AsJson = False) -> None:
    """All versions, and which is in use."""
    settings = load_settings()
    pointers = adapters_in_use(settings)
    found = sorted(_registry(settings).manifests(), key=lambda item: item.created_at)
    if as_json:
        print_json(
            {
                "in_use": pointers,
                "versions": [item.model_dump(mode="json") for item in found],
            }
        )
        return
    in_use = {pointer["version"] for pointer in pointers}
    table = Grid("version", "stage", "base", "made", "metrics", "", wide=("weights",))
    for item in found:
        metrics = " ".join(f"{name}={value:.3f}" for name, value in item.metrics.items())
        made = f"{item.created_at:%Y-%m-%d %H:%M}"
        used = "← in use" if item.version in in_use else ""
        row = item.version, item.stage, item.base.id, made, metrics, used
        table.add_row(*row, item.base.weights_sha256)
    out.print(table)


@adapters.command("activate")
def adapters_activate(version: Version, as_json: AsJson = False) -> None:
    """Use this version from the workers' next captions on."""
    registry = _registry(load_settings())
    manifest = registry.find(version)
    pointer = registry.activate(manifest.base.weights_sha256, manifest.version)
    _show_pointer(pointer.model_dump(mode="json"), as_json)


@adapters.command("rollback")
def adapters_rollback(
    base: Annotated[
        str | None, typer.Option(help="Start of the base's digest, if there are several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back to what was in use before."""
    registry = _registry(load_settings())
    bases = [name for name in registry.bases() if name.startswith(base or "")]
    if len(bases) != 1:
        raise UsageError(
            f"{len(bases)} base models match", cure="Name one with --base: `jamak adapters list`."
        )
    _show_pointer(registry.rollback(bases[0]).model_dump(mode="json"), as_json)


def _show_pointer(pointer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(pointer)
    else:
        out.print(f"in use: {pointer['version'] or 'the base model'}; workers follow in seconds")
