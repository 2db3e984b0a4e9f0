"""The operator's verbs for backlogs: plan, start, watch, pause, cancel."""

import sys
import time
from functools import partial
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from producer.backlog import backlogs
from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan_new
from producer.verbs.console import (
    AsJson,
    Grid,
    bars,
    duration,
    out,
    print_json,
    size,
)
from producer.verbs.options import (
    Asked,
    Name,
    SourceOf,
    asks,
    opened,
    opened_to_remove,
    opened_to_send,
    scan_with_bar,
)
from shared.errors import UsageError
from shared.language import spoken

WATCH_S = 1.0

backlog = typer.Typer(no_args_is_help=True, help="Caption what is in a bucket already.")


@backlog.command("plan")
@asks
def plan(
    source: SourceOf,
    asked: Asked,
    as_json: AsJson = False,
) -> None:
    """What it would come to: how many, how large, how long, what for. Enqueues nothing."""
    settings, store, queues = opened()
    recipe = asked.recipe(settings)
    with bars() as shown:
        bar = shown.add_task(spoken("looking"), total=None)
        least = asked.least
        told = backlogs.plan(
            store, settings, queues, source, recipe, least, partial(shown.advance, bar)
        )
    if as_json:
        print_json(backlogs.as_dict(told))
    else:
        show_plan(told)


def show_plan(told: backlogs.Plan) -> None:
    table = Grid()
    table.add_row("videos", f"{told.videos:,} ({size(told.size_bytes)})")
    table.add_row("captioned by this recipe", f"{told.captioned:,}")
    for reason, count in sorted(told.failed.items()):
        table.add_row(f"failed: {reason}", f"{count:,}")
    for reason, count in sorted(told.skipped.items()):
        table.add_row(f"skipped: {reason}", f"{count:,}")
    table.add_row("to do", f"[bold]{told.left:,}[/bold] on {told.queue}")
    out.print(table)
    if told.unserved:
        why = escape(spoken(told.unserved.message))
        out.print(spoken("rate not measured") + f": {why}", highlight=False)
        return
    classes = Grid("class", "workers", "jobs/s each", "takes", "costs on it alone")
    for one in told.classes:
        if one.jobs_per_s is None or one.eta_s is None:
            classes.add_row(one.card, str(one.workers), spoken("rate not measured"), "-", "-")
            continue
        usd = "-" if one.usd is None else f"${one.usd:,.2f}"
        classes.add_row(one.card, str(one.workers), f"{one.jobs_per_s:g}", duration(one.eta_s), usd)
    out.print(classes)
    out.print(spoken(f"Prices: {told.prices}"))


@backlog.command("start")
@asks
def start(
    name: Name,
    source: SourceOf,
    asked: Asked,
    as_json: AsJson = False,
) -> None:
    """List a source into a manifest. `jamak feed` enqueues it, bit by bit."""
    settings, store, queues = opened()
    recipe = asked.recipe(settings)
    made = create(store, settings, name, source, recipe, asked.least)
    scan_with_bar(settings, store, queues, made, scan_new)
    _tell(backlogs.read_backlog(store, settings, queues, name), as_json)


@backlog.command("pause")
def pause(name: Name, as_json: AsJson = False) -> None:
    """Feed no more of it. What is in flight goes on."""
    settings, store, _ = opened()
    backlogs.turn(store, settings, name, "paused")
    if as_json:
        print_json({"name": name, "state": "paused"})
    else:
        out.print(spoken(f"{name} is paused; what is in flight goes on"))


@backlog.command("resume")
def resume(name: Name, as_json: AsJson = False) -> None:
    """Feed it again; also, go on listing its source where that was cut."""
    settings, store, queues = opened_to_send()
    backlogs.turn(store, settings, name, "running")
    scan_with_bar(settings, store, queues, Backlog(store, settings, name))
    if as_json:
        print_json({"name": name, "state": "running"})
    else:
        out.print(spoken(f"{name} is running"))


@backlog.command("cancel")
def cancel(name: Name, as_json: AsJson = False) -> None:
    """Remove what waits of it from the queues, for good. What runs is finished."""
    settings, store, queues = opened_to_remove()
    withdrawn = backlogs.cancel(store, settings, queues, name)
    if as_json:
        print_json({"name": name, "withdrawn": withdrawn})
    else:
        out.print(spoken(f"{name} is cancelled; {withdrawn} jobs were removed from the queues"))


@backlog.command("delete")
def delete(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Cancel it first, if it is not over.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a backlog that is over: its list of videos and its counts. Captions stay.

    On a terminal it asks first. Where nobody can answer, say --yes.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"nobody can be asked whether to delete {name}", cure="Say --yes.")
        question = spoken(f"Delete the backlog {name}? Its captions stay.")
        typer.confirm(question, abort=True, err=True)
    settings, store, queues = opened_to_remove()
    backlogs.delete(store, settings, queues, name, force=force)
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        out.print(spoken(f"{name} is deleted; its captions stay"))


@backlog.command("list")
def list_backlogs(as_json: AsJson = False) -> None:
    """All of them, and how they go."""
    settings, store, queues = opened()
    told = backlogs.read_all(store, settings, queues)
    if as_json:
        print_json({"backlogs": told})
        return
    headers = "backlog", "state", "videos", "done", "failed", "left", "per minute", "source"
    table = Grid(*headers, wide=("queue", "recipe"))
    for one in told:
        if one["state"] == "unreadable":
            table.add_row(
                one["name"], spoken(one["state"]), *[""] * 5, escape(spoken(one["message"]))
            )
            continue
        failed = sum(one["failed"].values())
        counts = [f"{count:,}" for count in (one["videos"], one["done"], failed, one["left"])]
        rate = f"{one['per_minute']:g}"
        row = one["name"], spoken(one["state"]), *counts, rate, escape(one["source"])
        table.add_row(*row, one["queue"], one["recipe"])
    out.print(table)


@backlog.command("status")
def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", help="Until it is done, or Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """How it goes: counted, not listed."""
    settings, store, queues = opened()
    read = partial(backlogs.read_backlog, store, settings, queues, name)
    told = read()
    if watch and not as_json:
        with Live(_table(told), console=out) as live:
            while told["state"] not in backlogs.OVER:
                time.sleep(WATCH_S)
                told = read()
                live.update(_table(told))
        return
    while watch and told["state"] not in backlogs.OVER:
        time.sleep(WATCH_S)
        told = read()
    _tell(told, as_json)


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        out.print(_table(told))


def _table(told: dict[str, Any]) -> Grid:
    ended = told["videos"] - told["left"]
    share = ended / told["videos"] if told["videos"] else 0.0
    filled = round(30 * share)
    table = Grid()
    table.add_row(Text(told["name"]), f"{spoken(told['state'])}  {escape(told['source'])}")
    table.add_row("", f"{'█' * filled}{'░' * (30 - filled)} {share:.0%}")
    table.add_row("videos", f"{told['videos']:,} ({size(told['size_bytes'])})")
    table.add_row("enqueued so far", f"{told['fed']:,}")
    table.add_row("done", f"{told['done']:,}")
    for reason, count in told["failed"].items():
        table.add_row(f"failed: {reason}", f"{count:,}")
    for reason, count in told["skipped"].items():
        table.add_row(f"skipped: {reason}", f"{count:,}")
    eta = "rate not measured" if told["eta_s"] is None else f"{duration(told['eta_s'])} left"
    table.add_row("rate", spoken(f"{told['per_minute']:g} a minute, {eta}"))
    for wait in told["why"]:
        table.add_row("waiting", f"{wait['jobs']:,}: {escape(spoken(wait['message']))}")
    return table
