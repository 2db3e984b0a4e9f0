"""How training jobs are shown to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from producer.jobs.training_job import TrainingJob
from producer.verbs.console import duration, err, out, usd, warn
from shared.language import spoken
from shared.shown import utc
from shared.training import TrainOutcome, TrainProgress


@contextmanager
def training_bar(job_id: str) -> Iterator[Callable[[TrainProgress], None]]:
    """On stderr; nothing where that is no terminal. Called with how far the job is."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}", markup=False),
        console=err,
        disable=not err.is_terminal,
    ) as shown:
        bar = shown.add_task(spoken(f"training job {job_id} …"), total=None, figures="")

        def show(progress: TrainProgress) -> None:
            shown.update(
                bar,
                description=spoken(f"training job {job_id}: {step(progress)}"),
                completed=progress.step,
                total=progress.steps or None,
                figures=figures(progress),
            )

        yield show


def show_outcome(outcome: TrainOutcome) -> None:
    """What ended well on stdout, what did not on stderr."""
    if outcome.status == "published":
        after = spoken(f"after {duration(outcome.seconds)}")
        out.print(escape(spoken(result(outcome))), after, highlight=False)
        for name, value in outcome.metrics.items():
            out.print(f"  {name} {value:.3f}", highlight=False)
        for note in outcome.notes:
            warn(note)
        return
    err.print(spoken(how_it_ended(outcome)), markup=False, highlight=False)
    if outcome.cure:
        err.print(f"  {spoken(outcome.cure)}", markup=False, highlight=False)


def how_it_ended(outcome: TrainOutcome) -> str:
    verb = "was cancelled" if outcome.status == "cancelled" else "failed"
    return f"training {verb}: {outcome.message}"


def result(outcome: TrainOutcome) -> str:
    if outcome.status != "published":
        return outcome.message or ""
    if outcome.activated:
        return f"adapter {outcome.version} was put to use"
    reason = f": {outcome.why_not_activated}" if outcome.why_not_activated else ""
    return f"adapter {outcome.version} is published, not put to use{reason}"


def since(job: TrainingJob) -> datetime | None:
    """When its state began, as far as that is known."""
    if job.outcome:
        return job.outcome.created_at
    if job.state == "paused" and job.decision:
        return job.decision.at
    if job.runs and job.progress:
        return job.progress.since
    return job.asked.asked_at if job.asked else None


def step(progress: TrainProgress) -> str:
    """`train 12 of 100`"""
    counted = f" {progress.step} of {progress.steps}" if progress.steps else ""
    return f"{progress.stage}{counted}"


def loss(progress: TrainProgress) -> str:
    return "" if progress.loss is None else f"{progress.loss:.4f}"


def figures(progress: TrainProgress) -> str:
    """`loss 0.5123, 812 tokens/s, 12 min 3 s left`"""
    found = [spoken(f"loss {loss(progress)}")] if progress.loss is not None else []
    return ", ".join(found + pace(progress))


def tokens(progress: TrainProgress) -> str:
    """A second."""
    return "" if progress.tokens_per_s is None else f"{progress.tokens_per_s:,.0f}"


def pace(progress: TrainProgress) -> list[str]:
    found = []
    if progress.tokens_per_s is not None:
        found.append(spoken(f"{progress.tokens_per_s:,.0f} tokens/s"))
    if progress.seconds_left is not None:
        found.append(spoken(f"{duration(progress.seconds_left)} left"))
    return found


def left(progress: TrainProgress) -> str:
    return "" if progress.seconds_left is None else duration(progress.seconds_left)


def spent(progress: TrainProgress) -> str:
    """`2 h 5 min, $1.20`"""
    cost = f", {usd(progress.usd)}" if progress.usd is not None else ""
    return f"{duration(progress.spent_s)}{cost}"


def time(moment: datetime | None) -> str:
    return utc(moment, seconds=True) if moment else "?"


def ago(moment: datetime) -> str:
    return f"{duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))} ago"
