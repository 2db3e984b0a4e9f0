"""The operator's verbs for backlogs: plan, start, watch, pause, cancel."""

import sys
import time
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from producer.backlog import backlogs
from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan_new
from producer.backlog.terms import shown as when
from producer.backlog.terms import terms_of, utc_now
from producer.verbs.console import (
    AsJson,
    Grid,
    bars,
    duration,
    out,
    print_json,
    size,
    usd,
    warn,
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
By = Annotated[
    str | None,
    typer.Option(
        help="Done by then: 08:00, when the clock here shows that next, or a date with a time, "
        "2026-11-30T08:00, with a zone or in the one here."
    ),
]
Budget = Annotated[
    str | None, typer.Option(help="Spend no more on it: 500usd. When it is used up, it pauses.")
]

backlog = typer.Typer(no_args_is_help=True, help="Caption what is in a bucket already.")


@backlog.command("plan")
@asks
def plan(
    source: SourceOf,
    asked: Asked,
    by: By = None,
    budget: Budget = None,
    as_json: AsJson = False,
) -> None:
    """What it would come to: how many, how large, how long, what for. Enqueues nothing."""
    settings, store, queues = opened()
    recipe, least = asked.recipe(settings), asked.least
    terms = terms_of(by, budget, utc_now())
    with bars() as shown:
        bar = shown.add_task(spoken("looking"), total=None)
        told = backlogs.plan(
            store, settings, queues, source, recipe, least, partial(shown.advance, bar), terms
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
    if told.offers:
        _show_offers(told)
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


def _show_offers(told: backlogs.Plan) -> None:
    terms, best = told.terms, told.offers[0]
    grid = Grid("class", "workers", "jobs/s each", "takes", "costs", "rate")
    for one in told.offers:
        if one.workers is None or one.takes_s is None:
            grid.add_row(one.card, "-", f"{one.jobs_per_s:.3g}", spoken("too late"), "-", "-")
            continue
        rate = spoken("measured" if one.measured else "docs/cards.md, not measured")
        cost = "-" if one.usd is None else usd(one.usd)
        each = f"{one.jobs_per_s:.3g}"
        grid.add_row(one.card, f"{one.workers:,}", each, duration(one.takes_s), cost, rate)
    out.print(grid)
    if terms.by is not None:
        by = when(terms.by)
        if best.workers is None:
            warn(f"by {by} it cannot be done: a worker takes {duration(best.start_s)} to start")
        else:
            out.print(spoken(f"by {by} it takes {best.workers:,} × {best.card}"))
    if terms.budget_usd is not None and best.usd is not None:
        cost, most = usd(best.usd), usd(terms.budget_usd)
        if best.usd <= terms.budget_usd:
            out.print(spoken(f"it costs {cost}, and {most} may be spent"), highlight=False)
        else:
            warn(f"it costs {cost}, and {most} may be spent: it would pause before its end")


@backlog.command("start")
@asks
def start(
    name: Name,
    source: SourceOf,
    asked: Asked,
    by: By = None,
    budget: Budget = None,
    as_json: AsJson = False,
) -> None:
    """List a source into a manifest. `jamak feed` enqueues it, bit by bit."""
    settings, store, queues = opened()
    recipe, card = asked.recipe(settings), asked.least
    terms = terms_of(by, budget, utc_now())
    if terms:
        least, card = card, backlogs.cheapest(settings, queues, recipe, card, terms)
        if card != least:
            warn(f"class {card} does such a job for less than {least}: it goes there")
    made = create(store, settings, name, source, recipe, card, terms)
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
def resume(name: Name, by: By = None, budget: Budget = None, as_json: AsJson = False) -> None:
    """Feed it again; also, go on listing its source where that was cut.

    With --by or --budget under new terms; `none` takes one away.
    """
    settings, store, queues = opened_to_send()
    backlogs.resume(store, settings, name, by, budget)
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
    counted = "videos", "done", "failed", "left", "per minute"
    table = Grid("backlog", "state", *counted, "terms", "source", wide=("queue", "recipe"))
    for one in told:
        if one["state"] == "unreadable":
            table.add_row(
                one["name"], spoken(one["state"]), *[""] * 6, escape(spoken(one["message"]))
            )
            continue
        failed = sum(one["failed"].values())
        counts = [f"{count:,}" for count in (one["videos"], one["done"], failed, one["left"])]
        rate = f"{one['per_minute']:g}"
        row = one["name"], spoken(one["state"]), *counts, rate, _holds(one), escape(one["source"])
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
    _add_terms(table, told)
    return table


def _add_terms(table: Grid, told: dict[str, Any]) -> None:
    if told.get("by"):
        table.add_row(
            "by", f"{when(datetime.fromisoformat(told['by']))}  {_verdict(told['in_time'])}"
        )
    if told.get("budget_usd"):
        spent, most = usd(told["spent_usd"] or 0.0), usd(told["budget_usd"])
        table.add_row("budget", f"{spent} / {most}  {_verdict(told['in_budget'])}")
    if told.get("usd") is not None:
        table.add_row("costs in all", usd(told["usd"]))
    for advice in told.get("advice", ()):
        table.add_row("what to do", escape(spoken(advice)))


def _holds(told: dict[str, Any]) -> str:
    """Of both terms together; empty: there are none."""
    asked = (("by", "in_time"), ("budget_usd", "in_budget"))
    verdicts = [told[verdict] for term, verdict in asked if told.get(term) is not None]
    if not verdicts:
        return ""
    return _verdict(False if False in verdicts else None if None in verdicts else True)


def _verdict(holds: bool | None) -> str:
    if holds is None:
        return spoken("not known yet")
    return spoken("will hold") if holds else f"[red]{spoken('will not hold')}[/red]"
