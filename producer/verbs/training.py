"""The operator's verbs for training jobs: send one, see how far it is, cancel it."""

import signal
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from producer.jobs.training import Training, TrainingJob, new_job_id
from producer.verbs import completion
from producer.verbs.console import AsJson, Grid, duration, err, out, print_json, warn_of
from shared.broker.apps import queues_of, train_app
from shared.broker.proofs import prove_producer
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import Unfinished
from shared.language import spoken
from shared.settings import Settings, load_settings
from shared.training import TrainJob, TrainOutcome, TrainProgress

JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `jamak train list` shows it.")]

train = typer.Typer(no_args_is_help=True, help="Train adapters, and see how far they are.")


def _training(settings: Settings, *, sends: bool = False) -> Training:
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
    activate: Annotated[bool, typer.Option(help="Use it if it proves to be better.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on captions of reference: LoRA on the language model, and the projector."""
    settings = load_settings()
    parse_uri(data)  # a wrong argument is told before Redis is asked for anything
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
    training = _training(settings, sends=True)
    training.submit(job)
    if not wait:
        if as_json:
            print_json({"job_id": job.id, "status": "queued"})
        else:
            out.print(spoken(f"queued: training job {job.id}"), highlight=False)
        return
    outcome = _wait_for(training, job.id, as_json)
    if outcome.status != "published":
        raise Unfinished(
            _how_it_ended(outcome), cure=outcome.cure, told=outcome.model_dump(mode="json")
        )
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        _show_outcome(outcome)


def _wait_for(training: Training, job_id: str, as_json: bool) -> TrainOutcome:
    """Ends the process on Ctrl-C, and the job goes on."""
    try:
        with err.status(spoken(f"training job {job_id} …")) as line:
            return training.wait_for(
                job_id,
                lambda progress: line.update(spoken(f"training job {job_id}: {_step(progress)}")),
            )
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


@train.command("list")
def train_list(
    limit: Annotated[int, typer.Option(min=1, help="Show so many that have ended.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What waits, what runs and how far it is, and what has ended; the newest first."""
    jobs, more = _training(load_settings()).jobs(limit)
    if as_json:
        print_json({"jobs": [job.dump() for job in jobs], "more": more})
        return
    table = Grid("job", "state", "since", "step", "loss", "worker", "last progress", "result")
    for job in jobs:
        running, progress = job.state in ("running", "cancelling"), job.progress
        table.add_row(
            job.id,
            spoken(job.state),
            _time(_since(job)),
            _step(progress) if running and progress else "",
            _loss(progress) if running and progress else "",
            escape(job.worker or ""),
            _ago(progress.updated_at) if running and progress else "",
            escape(spoken(_result(job.outcome))) if job.outcome else "",
        )
    out.print(table)
    if more:
        out.print(spoken(f"{more} more have ended: --limit shows more of them"))
    for one in (error for job in jobs for error in job.unread):
        warn_of(str(one), one.cure)
    if any(job.state == "open" for job in jobs):
        err.print(spoken("Redis does not answer: whether open jobs wait or run is not known"))
    if any(job.state == "not in Redis" for job in jobs):
        err.print(
            spoken(
                "what is not in Redis any more does not run: `jamak reconcile` sends it again, or "
                "cancel it"
            )
        )


@train.command("status")
def train_status(job_id: JobId, as_json: AsJson = False) -> None:
    """All that is known of one job."""
    job = _training(load_settings()).job(job_id)
    if as_json:
        print_json(job.dump())
        return
    table = Grid()
    table.add_row("job", job.id)
    table.add_row("state", spoken(f"{job.state}, since {_time(_since(job))}"))
    if job.worker:
        table.add_row("worker", escape(job.worker))
    if job.progress:
        told = f"{_step(job.progress)}  ({_ago(job.progress.updated_at)})"
        table.add_row("progress", told)
        if job.progress.loss is not None:
            table.add_row("loss", _loss(job.progress))
        table.add_row("try", spoken(f"{job.progress.attempt}, since {_time(job.progress.since)}"))
    if job.asked:
        table.add_row("asked for", _time(job.asked.asked_at))
        for name, value in job.asked.job.model_dump(mode="json", exclude={"v", "id"}).items():
            table.add_row(name, escape(str(value)))
    out.print(table)
    for one in job.unread:
        warn_of(str(one), one.cure)
    if job.outcome:
        _show_outcome(job.outcome)


@train.command("cancel")
def train_cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """End a job that waits or runs: nothing of it is published any more."""
    state = _training(load_settings()).cancel(job_id)
    if as_json:
        print_json({"job_id": job_id, "state": state})
    elif state == "cancelled":
        out.print(spoken(f"cancelled: training job {job_id} had not begun"), highlight=False)
    else:
        out.print(
            spoken(
                f"cancelling: whoever has training job {job_id} ends it in seconds; nothing of it "
                "is published any more"
            ),
            highlight=False,
        )


def _show_outcome(outcome: TrainOutcome) -> None:
    """What ended well on stdout, what did not on stderr."""
    if outcome.status == "published":
        after = spoken(f"after {duration(outcome.seconds)}")
        out.print(escape(spoken(_result(outcome))), after, highlight=False)
        for name, value in outcome.metrics.items():
            out.print(f"  {name} {value:.3f}", highlight=False)
        return
    err.print(spoken(_how_it_ended(outcome)), markup=False, highlight=False)
    if outcome.cure:
        err.print(f"  {spoken(outcome.cure)}", markup=False, highlight=False)


def _how_it_ended(outcome: TrainOutcome) -> str:
    verb = "was cancelled" if outcome.status == "cancelled" else "failed"
    return f"training {verb}: {outcome.message}"


def _result(outcome: TrainOutcome) -> str:
    if outcome.status != "published":
        return outcome.message or ""
    if outcome.activated:
        return f"adapter {outcome.version} was put to use"
    reason = f": {outcome.why_not_activated}" if outcome.why_not_activated else ""
    return f"adapter {outcome.version} is published, not put to use{reason}"


def _since(job: TrainingJob) -> datetime | None:
    """When its state began, as far as that is known."""
    if job.outcome:
        return job.outcome.created_at
    if job.state in ("running", "cancelling") and job.progress:
        return job.progress.since
    return job.asked.asked_at if job.asked else None


def _step(progress: TrainProgress) -> str:
    """`train 12 of 100`"""
    counted = f" {progress.step} of {progress.steps}" if progress.steps else ""
    return f"{progress.stage}{counted}"


def _loss(progress: TrainProgress) -> str:
    return "" if progress.loss is None else f"{progress.loss:.4f}"


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "?"


def _ago(moment: datetime) -> str:
    return f"{duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))} ago"
