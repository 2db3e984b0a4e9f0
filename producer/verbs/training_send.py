"""`jamak train sft` and its siblings: one verb for each stage, with the same options and defaults
of its own; and one for a job that is in a file."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from producer.jobs.job_file import read_job
from producer.jobs.training import Training, new_job_id
from producer.verbs import completion
from producer.verbs.console import AsJson, err, out, print_json, warn
from producer.verbs.training_shown import how_it_ended, show_outcome, training_bar
from shared.broker.apps import queues_of, train_app
from shared.broker.proofs import prove_producer
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import BadData, Unfinished, UsageError
from shared.language import spoken
from shared.rows import Stage
from shared.settings import Settings, load_settings
from shared.stages import check_job
from shared.training import TrainJob, TrainOutcome
from shared.training_defaults import STAGES

SUMMARIES: dict[Stage, str] = {
    "align": "Stage 1: the projector alone, on Korean captions of images and videos.",
    "sft": "Train on captions of reference: LoRA on the language model, and the projector.",
    "dpo": "Train on pairs of captions, a better and a worse one, from an adapter of `sft`.",
    "kto": "Train on captions with a thumb up or down, from an adapter of `sft`.",
}
"""Of the stages, as their verbs say it."""
OPTIONS = {"losses": "loss", "loss_weights": "loss_weight", "start_from": "from"}
"""Fields of a job whose option has another name."""


def opened(settings: Settings, *, sends: bool = False) -> Training:
    """Args:
    sends: it may, or this does nothing.

    Raises:
        BrokerRefuses: this user may not.
        BrokerUnavailable: Redis does not answer, or takes nothing for now.
    """
    app = train_app(settings)
    if sends:
        prove_producer(queues_of(app))
    return Training(settings, ObjectStore(outputs=settings.all_outputs), app)


def verb_of(stage: Stage) -> Callable[..., None]:
    """What `jamak train <stage>` does."""
    usual = STAGES[stage]

    def send(
        data: Annotated[str, typer.Option(help="s3://bucket/manifest.jsonl (docs/training.md)")],
        start_from: Annotated[
            str | None,
            typer.Option(
                "--from", help="Adapter version to go on from.", autocompletion=completion.adapters
            ),
        ] = None,
        steps: Annotated[int, typer.Option(min=1)] = usual.steps,
        batch_size: Annotated[
            int, typer.Option(min=1, help="Rows that are computed at once.")
        ] = usual.batch_size,
        accumulate: Annotated[
            int, typer.Option(min=1, help="Batches in a step: as a larger batch, in less memory.")
        ] = 1,
        learning_rate: Annotated[float, typer.Option(min=0.0)] = usual.learning_rate,
        rank: Annotated[int, typer.Option(min=1, help="Of the LoRA matrices.")] = usual.rank,
        frames: Annotated[int, typer.Option(min=1, help="Of each video.")] = usual.frames,
        quantized: Annotated[
            bool | None,
            typer.Option(
                help="QLoRA: language model in 4-bit. Without either: on a GPU, but for align.",
                show_default=False,
            ),
        ] = None,
        gradient_checkpointing: Annotated[
            bool | None,
            typer.Option(
                help="Less memory, more time. Without either: on a GPU.", show_default=False
            ),
        ] = None,
        group_by_length: Annotated[
            bool, typer.Option("--group-by-length", help="Rows of like length in one batch.")
        ] = False,
        loss: Annotated[
            list[str] | None,
            typer.Option(help="A loss by TRL's name; again for a sum. Without: the stage's."),
        ] = None,
        loss_weight: Annotated[
            list[float] | None, typer.Option(help="Of each --loss, in the same order.")
        ] = None,
        beta: Annotated[
            float, typer.Option(help="dpo, kto: what it costs to leave the reference.")
        ] = 0.1,
        label_smoothing: Annotated[
            float, typer.Option(min=0.0, help="dpo: the share of pairs that are wrong.")
        ] = 0.0,
        replay: Annotated[
            str | None,
            typer.Option(help="Earlier data. Without: all that the adapter of --from has learned."),
        ] = None,
        replay_share: Annotated[
            float | None,
            typer.Option(
                min=0.0,
                help="Of what is trained on, that it is earlier data; "
                f"{usual.replay_share} where there is some.",
                show_default=False,
            ),
        ] = None,
        processes: Annotated[
            int, typer.Option(min=1, help="At once, each with a GPU of its own.")
        ] = 1,
        skip_unfit: Annotated[
            bool,
            typer.Option("--skip-unfit", help="Leave out rows that cannot be learned, and say so."),
        ] = False,
        save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 50,
        activate: Annotated[bool, typer.Option(help="Use it if it proves to be better.")] = True,
        seed: Annotated[int, typer.Option(min=0)] = 0,
        wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
        as_json: AsJson = False,
    ) -> None:
        if start_from == "":
            raise UsageError(
                "no version is named",
                cure="An empty name is a slip. Leave the option out to begin at the base model.",
                argument="--from",
            )
        settings = load_settings()
        parse_uri(data)  # a wrong argument is told before Redis is asked for anything
        if replay is not None:
            parse_uri(replay)
        if replay_share is None:
            replay_share = usual.replay_share if start_from or replay else 0.0
        job = _job(
            id=new_job_id(),
            stage=stage,
            data=data,
            model=settings.model,
            revision=settings.model_revision,
            prompt=settings.prompt,
            start_from=start_from,
            quantized=quantized,
            frames=frames,
            steps=steps,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=learning_rate,
            rank=rank,
            gradient_checkpointing=gradient_checkpointing,
            group_by_length=group_by_length,
            losses=tuple(loss or ()),
            loss_weights=tuple(loss_weight or ()),
            beta=beta,
            label_smoothing=label_smoothing,
            replay=replay,
            replay_share=replay_share,
            processes=processes,
            skip_unfit=skip_unfit,
            save_every=save_every,
            seed=seed,
            activate=activate,
        )
        _sent(job, settings, wait=wait, as_json=as_json)

    send.__doc__ = SUMMARIES[stage]
    return send


def submit(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, allow_dash=True, help="YAML or JSON (docs/training.md)"
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a training job that is written in a file, or that was recorded with an adapter."""
    settings = load_settings()
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    job = read_job(body, str(file), settings, new_job_id())
    _sent(job, settings, wait=wait, as_json=as_json)


def _sent(job: TrainJob, settings: Settings, *, wait: bool, as_json: bool) -> None:
    training = opened(settings, sends=True)
    training.submit(job)
    if unserved := training.why_unserved():
        warn(unserved)
    if wait:
        _tell_how_it_ends(training, job.id, as_json)
    elif as_json:
        print_json({"job_id": job.id, "status": "queued"})
    else:
        out.print(spoken(f"queued: training job {job.id}"), highlight=False)


def _job(**fields: Any) -> TrainJob:
    """Raises UsageError: what is asked for cannot be, or not together."""
    try:
        job = TrainJob(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        field = str(fault["loc"][0])
        option = OPTIONS.get(field, field).replace("_", "-")
        raise UsageError(
            fault["msg"], cure="See `jamak train --help`.", argument=f"--{option}"
        ) from error
    try:
        check_job(job)
    except BadData as error:
        raise UsageError(str(error), cure=error.cure) from error
    return job


def _tell_how_it_ends(training: Training, job_id: str, as_json: bool) -> None:
    outcome = _wait_for(training, job_id, as_json)
    if outcome.status != "published":
        raise Unfinished(
            how_it_ended(outcome), cure=outcome.cure, told=outcome.model_dump(mode="json")
        )
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        show_outcome(outcome)


def _wait_for(training: Training, job_id: str, as_json: bool) -> TrainOutcome:
    """Ends the process on Ctrl-C, and the job goes on."""
    try:
        with training_bar(job_id) as show:
            return training.wait_for(job_id, show, warn)
    except KeyboardInterrupt:
        if as_json:
            print_json({"job_id": job_id, "status": "goes on"})
        err.print(
            spoken(
                f"training job {job_id} goes on without you.\n"
                f"  jamak train status {job_id}   shows how far it is\n"
                f"  jamak train cancel {job_id}   ends it"
            ),
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(128 + signal.SIGINT)
