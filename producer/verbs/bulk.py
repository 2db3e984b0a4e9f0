"""The operator's verbs for many videos: enqueue, feed, reconcile, export."""

import threading
import time
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from producer.backlog.budgets import Budgets
from producer.backlog.enqueue import Enqueued, Enqueuer
from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.backlog.manifest import Backlog, backlog_names
from producer.backlog.scan import NoVideos, scan_new
from producer.backlog.sources import open_source
from producer.bucket.export import Format, backlog_parts, prefix_parts, target_of
from producer.bucket.export import export as export_parts
from producer.bucket.reconcile import Reconciler
from producer.jobs.fleet import fleet_reading
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.older_workers import pool_unread
from producer.jobs.send import queue_of
from producer.jobs.served import SourcesAway
from producer.results.sender import Sender
from producer.results.sinks import teller_of
from producer.verbs import completion
from producer.verbs.asked import reconcile_asked, show_reconciled
from producer.verbs.console import (
    AsJson,
    bars,
    err,
    out,
    print_json,
    warn,
    warn_of,
)
from producer.verbs.options import (
    Asked,
    asks,
    opened,
    opened_to_send,
    scan_with_bar,
    warn_of_unserved,
)
from producer.verbs.process import running
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues, reaching_redis, train_prefix
from shared.broker.backlog_progress import fed_of
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_broker, prove_producer, prove_results
from shared.broker.told_results import Results
from shared.bucket import proofs
from shared.bucket.keys import parse_uri, place_of
from shared.bucket.storage import ObjectStore, naming
from shared.errors import Conflict, JamakError, NoSuchBucket, Reject, Unfinished, UsageError
from shared.language import spoken
from shared.settings import Settings
from shared.signals import GRACE_S, end_on_signal
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from shared.waiting import wait_for
from shared.watchdog import watch

What = Annotated[
    str,
    typer.Argument(
        help="The name of a backlog, or s3://bucket/prefix", autocompletion=completion.backlogs
    ),
]


def feed() -> None:
    """Enqueue backlogs, bit by bit, until stopped. Several at once do no harm."""
    with running("feeder") as (settings, store):
        _feed(settings, store, leased_queues(settings, caption_prefix(settings)))


def _feed(settings: Settings, store: ObjectStore, queues: LeasedQueues) -> None:
    stopping = threading.Event()
    teller = teller_of(settings) if settings.results else None
    log = telemetry.get_logger("jamak.feeder")

    def unread(error: JamakError) -> None:
        log.error("cannot read", message=str(error), cure=error.cure)

    def find() -> list[str]:
        with reaching_redis():
            queues.redis.ping()  # also when there is nothing to feed: it says so at `/readyz`
        return list(backlog_names(store, settings))

    budgets = Budgets(store, settings, unread)
    feeder = Feeder(
        find,
        lambda names: fed_of(queues, names),
        lambda name: Feed(Backlog(store, settings, name), queues),
        HighWaterMarks(queues).room,
        stopping.wait,
        SourcesAway(queues).of,
        budgets.allow,
        budgets.settle,
        partial(pool_unread, queues),
    )

    def stop() -> float:
        feeder.health.ending()
        stopping.set()
        return GRACE_S  # a cursor that is not saved any more is moved by the next feeder

    interrupted = end_on_signal(stop)
    training = leased_queues(settings, train_prefix(settings))
    fleet = fleet_reading(queues, training, feeder.lines)
    registry = registry_of("feeder", fleet)
    serve(feeder.health, registry, settings.metrics_host, settings.metrics_port)
    watch(feeder.health.live)
    wait_for("Redis", partial(prove_broker, queues))
    with naming("JAMAK_OUTPUT"):
        wait_for("S3", find)
        # Cursors move by compare-and-swap.
        wait_for("S3", partial(store.prove, settings.all_outputs[0], proofs.conditions))
    if teller is not None:
        wait_for("Redis", partial(prove_results, queues))
        Sender(Results(queues), teller, stopping.wait).start()
    log.info("feeding", output=settings.output)
    feeder.run()
    if interrupted():
        raise KeyboardInterrupt


def feed_here(settings: Settings, store: ObjectStore, queues: LeasedQueues, name: str) -> None:
    """One backlog to its end, as `jamak feed` would; with a bar.

    Raises:
        Conflict: somebody cancelled or deleted it meanwhile.
    """
    one = Feed(Backlog(store, settings, name), queues)
    room, away = HighWaterMarks(queues).room, SourcesAway(queues).of
    allow = Budgets(store, settings, lambda error: warn_of(str(error), error.cure)).allow
    with bars() as shown:
        bar = shown.add_task(spoken(f"feeding {name}"), total=one.manifest.lines)
        try:
            while one.running and one.waits:
                if not feed_round([one], room, away, allow):
                    time.sleep(Feeder.IDLE_S)
                    one.look()
                shown.update(bar, completed=one.fed)
        except KeyboardInterrupt:
            err.print(spoken(f"stopped after {one.fed:,} videos; `jamak feed` goes on with {name}"))
            raise
        finally:
            one.save()
    if one.broken:
        raise one.broken
    if one.cursor.state == "paused" and one.cursor.why:
        warn(f"{name} is paused after {one.fed:,} videos: its budget is used up")
    if one.gone:
        raise Conflict(
            f"the backlog {name} was cancelled or deleted after {one.fed:,} videos",
            cure="`jamak backlog list` shows what there is.",
        )


@asks
def enqueue(
    uris: Annotated[
        list[str],
        typer.Argument(help="s3://bucket/key, s3://bucket/prefix or https://host/video.mp4"),
    ],
    asked: Asked,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, enqueue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Caption videos that are in a bucket already; a prefix becomes a backlog.

    What has its caption is left alone.
    """
    for uri in uris:
        place_of(uri, "URIS")  # all or none: with a word that is no address, nothing is enqueued
    settings, store, queues = opened() if dry_run else opened_to_send()
    recipe = asked.recipe(settings)
    enqueuer = Enqueuer(settings, store, queues, recipe, asked.least, dry_run)
    told = Enqueued()
    for uri in uris:
        try:
            made = enqueuer.take(uri)
            if isinstance(made, Backlog):
                scan_with_bar(settings, store, queues, made, scan_new)
                made = enqueuer.scanned(made)
                feed_here(settings, store, queues, made.backlogs[0])
            told += made
        except (Reject, UsageError, NoSuchBucket, Conflict, NoVideos) as error:
            if isinstance(error, NoSuchBucket) and error.bucket != uri[5:].split("/", 1)[0]:
                raise  # not this one is the matter, but where its captions go
            told.refused[uri] = str(error)
            message, cure = escape(spoken(str(error))), escape(spoken(error.cure))
            err.print(f"[red]{escape(uri)}: {message}[/red]\n  {cure}")
    sent = told.queues if told.enqueued else []
    unserved = warn_of_unserved(queues, ((queue, recipe) for queue in sent))
    rest = {"unserved": unserved, "recipe": recipe.id, "dry_run": dry_run}
    done = {**asdict(told), **rest}
    if as_json and not told.refused:
        print_json(done)
    elif not as_json:
        verb = "would be enqueued" if dry_run else "enqueued"
        where = f" on {', '.join(told.queues)}" if told.queues else ""
        out.print(spoken(f"{told.enqueued} {verb}{where}, {told.already} captioned already"))
        if told.failed:
            out.print(spoken(f"{told.failed} failed before: `jamak failures list`, `… redrive`"))
        if told.skipped:
            out.print(
                spoken(f"{told.skipped} keys are no videos by their ending (JAMAK_VIDEO_SUFFIXES)")
            )
        for name in told.backlogs:
            out.print(spoken(f"how it goes: jamak backlog status {name}"))
    if told.refused:
        raise Unfinished(f"{len(told.refused)} of {len(uris)} were refused", told=done)


@asks
def reconcile(
    asked: Asked,
    what: Annotated[
        str | None,
        typer.Argument(
            help="The name of a backlog, or s3://bucket/prefix; none = what was asked one by one",
            autocompletion=completion.backlogs,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find in the bucket what is missing, and enqueue it again; render missing views.

    Of a backlog it also feeds the rest: after a loss of Redis this alone completes it. (The
    options are for an address; a backlog has its own.) Without a name: videos at addresses, and
    training jobs.
    """
    settings, store, queues = opened()
    if what is None:
        reconcile_asked(settings, store, queues, dry_run, as_json)
        return
    with bars() as shown:
        bar = shown.add_task(spoken(f"reconciling {what}"), total=None)
        one = Reconciler(
            settings,
            store,
            queues,
            HighWaterMarks(queues).room,
            partial(shown.advance, bar),
            dry_run=dry_run,
        )
        if what.startswith("s3://"):
            recipe = asked.recipe(settings)
            least = asked.least
            source = open_source(what, store, settings)
            if not dry_run:
                prove_producer(queues)
            entries = source.entries()
            videos = (entry.video for entry in entries if entry.video)
            queue = queue_of(least, bulk=True)
            told = one.videos(videos, recipe, least, queue)
            wanted = told.videos
        else:
            ours = Feed(Backlog(store, settings, what), queues)
            queue, recipe = ours.queue, ours.manifest.recipe
            told = one.backlog(ours)
            wanted = ours.manifest.lines if ours.cursor.state == "running" else 0
    if not what.startswith("s3://") and not dry_run:
        scan_with_bar(settings, store, queues, Backlog(store, settings, what))
        feed_here(settings, store, queues, what)
    waiting = wanted > told.done + sum(told.failed.values())
    unserved = warn_of_unserved(queues, [(queue, recipe)] if waiting else [])
    done = {**asdict(told), "unserved": unserved, "dry_run": dry_run}
    if as_json and not told.unread:
        print_json(done)
    elif not as_json:
        show_reconciled(told)
    if told.unread:
        raise Unfinished(f"{len(told.unread)} could not be read", told=done)


def export(
    what: What,
    to: Annotated[str, typer.Option(help="A folder, or s3://bucket/prefix/")],
    form: Annotated[Format, typer.Option("--format", help="jsonl or parquet")] = "jsonl",
    as_json: AsJson = False,
) -> None:
    """Captions as a data set: a file for each 10,000 videos. Goes on where it was cut."""
    settings, store, _ = opened()
    if what.startswith("s3://"):
        parts = prefix_parts(store, settings, *parse_uri(what, "WHAT"))
    else:
        parts = backlog_parts(store, settings, what)
    with bars() as shown:
        bar = shown.add_task(spoken(f"exporting {what}"), total=None)
        told = export_parts(
            parts,
            target_of(to, store),
            form,
            lambda so_far: shown.update(bar, completed=so_far.videos),
        )
    if as_json and not told.unread:
        print_json(asdict(told))
    elif not as_json:
        for line in told.unread:
            err.print(f"[red]{escape(spoken(line))}[/red]")
        out.print(
            spoken(
                f"{told.captions:,} captions of {told.videos:,} videos in {escape(to)}: "
                f"{told.parts} parts written, {told.kept} were there"
            )
        )
    if told.unread:
        raise Unfinished(f"{len(told.unread)} could not be read", told=asdict(told))
