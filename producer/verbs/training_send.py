"""`jamak train sft` and its siblings: one verb for each stage, with the same options and defaults
of its own."""

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from producer.jobs.training import Training, new_job_id
from producer.verbs import completion
from producer.verbs.console import AsJson, err, out, print_json
from producer.verbs.training_shown import how_it_ended, show_outcome, training_bar
from shared.broker.apps import queues_of, train_app
from shared.broker.proofs import prove_producer
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import Unfinished
from shared.language import spoken
from shared.settings import Settings, load_settings
from shared.training import TrainJob, TrainOutcome
from shared.training_defaults import STAGES

SUMMARIES = {
    "sft": "Train on captions of reference: LoRA on the language model, and the projector.",
    "dpo": "Train on pairs of captions, a better and a worse one, from an adapter of `sft`.",
}
"""Of the stages, as their verbs say it."""


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


def verb_of(stage: str) -> Callable[..., None]:
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
        batch_size: Annotated[int, typer.Option(min=1)] = usual.batch_size,
        learning_rate: Annotated[float, typer.Option(min=0.0)] = usual.learning_rate,
        rank: Annotated[int, typer.Option(min=1, help="Of the LoRA matrices.")] = usual.rank,
        frames: Annotated[int, typer.Option(min=1, help="Of each video.")] = usual.frames,
        quantized: Annotated[bool, typer.Option(help="QLoRA: language model in 4-bit.")] = False,
        group_by_length: Annotated[
            bool, typer.Option("--group-by-length", help="Rows of like length in one batch.")
        ] = False,
        save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 50,
        activate: Annotated[bool, typer.Option(help="Use it if it proves to be better.")] = True,
        seed: Annotated[int, typer.Option()] = 0,
        wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
        as_json: AsJson = False,
    ) -> None:
        settings = load_settings()
        parse_uri(data)  # a wrong argument is told before Redis is asked for anything
        job = TrainJob(
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
            learning_rate=learning_rate,
            rank=rank,
            group_by_length=group_by_length,
            save_every=save_every,
            seed=seed,
            activate=activate,
        )
        training = opened(settings, sends=True)
        training.submit(job)
        if wait:
            _tell_how_it_ends(training, job.id, as_json)
        elif as_json:
            print_json({"job_id": job.id, "status": "queued"})
        else:
            out.print(spoken(f"queued: training job {job.id}"), highlight=False)

    send.__doc__ = SUMMARIES[stage]
    return send


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
            return training.wait_for(job_id, show)
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
