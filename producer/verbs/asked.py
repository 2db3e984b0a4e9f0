"""`jamak reconcile` without a name: what was asked one by one. And what each reconcile tells."""

from dataclasses import asdict

from rich.markup import escape

from producer.bucket.reconcile import Reconciled, Reconciler
from producer.jobs.asked import AskedJobs
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.training import Training
from producer.verbs.console import Grid, err, out, print_json
from shared.broker.apps import train_app
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.storage import ObjectStore
from shared.errors import BrokerRefuses, Unfinished
from shared.language import spoken
from shared.settings import Settings


def reconcile_asked(
    settings: Settings, store: ObjectStore, queues: LeasedQueues, dry_run: bool, as_json: bool
) -> None:
    """Videos at addresses, and training jobs: no listing of videos and no backlog names them.

    Raises:
        Unfinished: something of them cannot be read, or this user may not send training jobs.
    """
    room = HighWaterMarks(queues).room
    told = Reconciler(settings, store, queues, room, dry_run=dry_run).asked(
        AskedJobs(store, settings)
    )
    training: list[str] = []
    try:
        training, unread = Training(settings, store, train_app(settings)).send_lost(dry_run=dry_run)
        told.unread += map(str, unread)
    except BrokerRefuses as error:
        told.unread.append(f"training jobs: {error}")
    done = {**asdict(told), "training": training, "dry_run": dry_run}
    if as_json and not told.unread:
        print_json(done)
    elif not as_json:
        show_reconciled(told, training)
    if told.unread:
        raise Unfinished(f"{len(told.unread)} could not be read", told=done)


def show_reconciled(told: Reconciled, training: list[str] | None = None) -> None:
    table = Grid()
    table.add_row("videos", f"{told.videos:,}")
    table.add_row("done", f"{told.done:,}")
    for reason, count in sorted(told.failed.items()):
        table.add_row(spoken(f"failed: {reason}"), f"{count:,}")
    table.add_row("in flight", f"{told.in_flight:,}")
    table.add_row("missing", f"[bold]{told.missing:,}[/bold]")
    table.add_row("of them enqueued", f"[bold]{told.enqueued:,}[/bold]")
    table.add_row("views rendered", f"{told.rendered:,}")
    if training is not None:
        table.add_row("training jobs that Redis lost", f"{len(training):,}")
    out.print(table)
    for line in told.unread:
        err.print(f"[red]{escape(line)}[/red]")
