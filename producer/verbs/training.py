"""The operator's verbs for training jobs: send one, see how far it is, let it rest, cancel it."""

from typing import Annotated

import typer
from rich.markup import escape

from producer.verbs.console import AsJson, Grid, err, out, print_json, warn_of
from producer.verbs.training_send import SUMMARIES, opened, submit, verb_of
from producer.verbs.training_shown import (
    ago,
    left,
    loss,
    pace,
    result,
    show_outcome,
    since,
    spent,
    step,
    time,
    tokens,
)
from shared.language import spoken
from shared.settings import load_settings

JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `jamak train list` shows it.")]

train = typer.Typer(no_args_is_help=True, help="Train adapters, and see how far they are.")
for _stage in SUMMARIES:
    train.command(_stage)(verb_of(_stage))
train.command("submit")(submit)


@train.command("list")
def train_list(
    limit: Annotated[int, typer.Option(min=1, help="Show so many that have ended.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What waits, what runs and how far it is, and what has ended; the newest first."""
    jobs, more = opened(load_settings()).jobs(limit)
    if as_json:
        print_json({"jobs": [job.dump() for job in jobs], "more": more})
        return
    table = Grid(
        *("job", "state", "since", "step", "loss", "tokens/s", "left", "spent"),
        *("last progress", "result"),
        wide=("worker",),
    )
    for job in jobs:
        progress = job.progress if job.runs else None
        table.add_row(
            job.id,
            spoken(job.state),
            time(since(job)),
            step(progress) if progress else "",
            loss(progress) if progress else "",
            tokens(progress) if progress else "",
            left(progress) if progress else "",
            spent(job.progress) if job.progress else "",
            ago(progress.updated_at) if progress else "",
            escape(spoken(result(job.outcome))) if job.outcome else "",
            escape(job.worker or ""),
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
    job = opened(load_settings()).job(job_id)
    if as_json:
        print_json(job.dump())
        return
    table = Grid()
    table.add_row("job", job.id)
    table.add_row("state", spoken(f"{job.state}, since {time(since(job))}"))
    if job.worker:
        table.add_row("worker", escape(job.worker))
    if job.progress:
        table.add_row("progress", f"{step(job.progress)}  ({ago(job.progress.updated_at)})")
        if job.progress.loss is not None:
            table.add_row("loss", loss(job.progress))
        if job.runs and (told := pace(job.progress)):
            table.add_row("pace", ", ".join(told))
        table.add_row("spent", spent(job.progress))
        table.add_row("try", spoken(f"{job.progress.attempt}, since {time(job.progress.since)}"))
    if job.asked:
        table.add_row("asked for", time(job.asked.asked_at))
        for name, value in job.asked.job.model_dump(mode="json", exclude={"v", "id"}).items():
            table.add_row(name, escape(str(value)))
    for name, uri in job.files.items():
        table.add_row(name, escape(uri))
    out.print(table)
    for one in job.unread:
        warn_of(str(one), one.cure)
    if job.outcome:
        show_outcome(job.outcome)


@train.command("logs")
def train_logs(
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="And what comes, until the job has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What a job's trainers said, of all its tries; also of one that failed."""
    lines = opened(load_settings()).log(job_id, follow=follow)
    if as_json:
        print_json({"job_id": job_id, "lines": list(lines)})
        return
    said = False
    for line in lines:
        said = True
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not said:
        err.print(spoken(f"no trainer has said anything of training job {job_id}"))


@train.command("pause")
def train_pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Let a job that waits or runs rest, until `jamak train resume`."""
    state = opened(load_settings()).pause(job_id)
    if as_json:
        print_json({"job_id": job_id, "state": state})
    elif state == "paused":
        out.print(spoken(f"paused: training job {job_id}"), highlight=False)
    else:
        out.print(
            spoken(f"pausing: whoever has training job {job_id} leaves it in seconds"),
            highlight=False,
        )


@train.command("resume")
def train_resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Send a paused job again: it goes on from where it was."""
    opened(load_settings(), sends=True).resume(job_id)
    if as_json:
        print_json({"job_id": job_id, "state": "queued"})
    else:
        out.print(spoken(f"queued: training job {job_id}"), highlight=False)


@train.command("cancel")
def train_cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """End a job that waits, rests or runs: nothing of it is published any more."""
    state = opened(load_settings()).cancel(job_id)
    if as_json:
        print_json({"job_id": job_id, "state": state})
    elif state == "cancelled":
        out.print(spoken(f"cancelled: nobody had training job {job_id}"), highlight=False)
    else:
        out.print(
            spoken(
                f"cancelling: whoever has training job {job_id} ends it in seconds; nothing of it "
                "is published any more"
            ),
            highlight=False,
        )
