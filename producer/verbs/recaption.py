"""`jamak recaption`: captions of a kind are made again; first it says how many, for how much."""

import sys
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.backlog.captioned import Kind
from producer.backlog.recaption import Recaption, as_dict, backlog_of, whole_versions
from producer.backlog.recaption import count as count_of_kind
from producer.backlog.scan import NoVideos, scan, scan_new
from producer.backlog.where import AND, parse
from producer.bucket.captions import NoCaption
from producer.verbs.console import (
    AsJson,
    Grid,
    bars,
    err,
    out,
    print_json,
    size,
    usd,
    warn,
    warn_of,
)
from producer.verbs.options import OPTIONS, opened, opened_to_send, scan_with_bar, warn_of_unserved
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.keys import parse_uri
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.errors import Unfinished
from shared.language import spoken
from shared.settings import Settings

SHOWN = 10
"""Videos by name."""
LACKING = {
    "vanished": "the video is in the bucket no more",
    "replaced": "another video has its key by now",
    "in_no_bucket": "the video is in no bucket; enqueue its address again",
    "forbidden": "the video cannot be read",
}


def recaption(
    where: Annotated[
        list[str],
        typer.Option(
            help="Which captions: adapter!=active, flag=repetitive, made<2026-11-23, ... (see "
            "docs/loop.md). Of several all must hold."
        ),
    ],
    what: Annotated[
        str | None, typer.Argument(help="s3://bucket/prefix of the videos; none = all")
    ] = None,
    card: Annotated[str | None, OPTIONS["card"]] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make captions of a kind again, with today's model and adapter.

    It counts first, and says what it would cost. On a terminal it asks; where nobody can answer,
    and with --json, it makes nothing without --yes. `jamak feed` enqueues what it makes.
    """
    wanted = parse(AND.join(where))
    if what is not None:
        parse_uri(what, "WHAT")
    settings, store, queues = opened_to_send() if yes else opened()
    registry = Registry(store, settings.output_bucket, settings.output_prefix)
    kind = Kind(whole_versions(wanted, registry), what or "")
    with bars() as shown:
        bar = shown.add_task(spoken("looking"), total=None)
        told = count_of_kind(store, settings, queues, kind, card, partial(shown.advance, bar))
    if what is not None and not told.looked_at:
        raise NoCaption(
            f"there is no caption under {what}",
            cure="Check the prefix, or look how it goes: `jamak status`.",
        )
    if not as_json:
        _show(told)
    made = []
    if told.left and _is_wanted(told, yes, as_json):
        made = _made(settings, store, queues, told)
    sent = [(one.queue, one.recipe) for one in told.groups if one.left]
    unserved = warn_of_unserved(queues, sent) if made else []
    done = {**as_dict(told), "backlogs": made, "unserved": unserved}
    if as_json and not told.unread:
        print_json(done)
    for one in made if not as_json else []:
        out.print(spoken(f"how it goes: jamak backlog status {one['name']}"))
    if told.unread:
        raise Unfinished(f"{told.unread_count} could not be read", told=done)


def _is_wanted(told: Recaption, yes: bool, as_json: bool) -> bool:
    if yes or as_json:
        return yes
    if not sys.stdin.isatty():
        out.print(spoken("nothing was made: --yes does it"))
        return False
    return typer.confirm(spoken(f"Caption {told.left:,} videos again?"), abort=True, err=True)


def _made(
    settings: Settings, store: ObjectStore, queues: LeasedQueues, told: Recaption
) -> list[dict[str, Any]]:
    """Backlogs, in which only what is still meant is."""
    made = []
    for again in told.groups:
        if not again.left:
            continue
        backlog = backlog_of(store, settings, told.kind, again)
        try:
            how = scan if again.backlog else scan_new
            scan_with_bar(settings, store, queues, backlog, how)
        except NoVideos:
            continue  # somebody else has made them right meanwhile
        manifest, _ = backlog.manifest()
        made.append({"name": manifest.name, "videos": manifest.lines})
    return made


def _show(told: Recaption) -> None:
    out.print(spoken(f"{told.looked_at:,} captions were looked at"))
    table = Grid("recipe", "again by", "videos", "to do", "goes to", "costs", "rate")
    for one in told.groups:
        cost, rate = "-", "-"
        if one.offer:
            cost = "-" if one.offer.usd is None else usd(one.offer.usd)
            rate = spoken("measured" if one.offer.measured else "docs/cards.md, not measured")
        again = spoken(f"{one.recipe.id}, generation {one.recipe.generation}")
        videos = f"{one.videos:,} ({size(one.size_bytes)})"
        table.add_row(one.of, again, videos, f"{one.left:,}", one.queue, cost, rate)
    if told.groups:
        out.print(table)
    _show_what_is_left_alone(told)
    if told.left:
        out.print(spoken(f"to do: {told.left:,}"))
        if told.usd is not None:
            out.print(spoken(f"costs: {usd(told.usd)}. Prices: {told.prices}"), highlight=False)
    else:
        out.print(spoken("nothing is to be captioned again"))


def _show_what_is_left_alone(told: Recaption) -> None:
    for one in told.groups:
        if one.captioned:
            out.print(spoken(f"{one.captioned:,} of {one.of} are captioned again already"))
        if one.failed:
            failed = sum(one.failed.values())
            out.print(spoken(f"{failed:,} of {one.of} failed: `jamak failures list`, `… redrive`"))
        if one.backlog:
            out.print(spoken(f"{one.of} is under way: {one.backlog} is gone on with"))
        if one.listed:
            out.print(spoken(f"what came to be meant since {one.backlog} began waits for its end"))
    for name, count in told.lately.items():
        out.print(spoken(f"left alone: {count:,} that {name} has made; it is not over"))
    for why, count in told.lacking.most_common():
        warn(f"left alone: {count:,}: {LACKING.get(why, why)}")
        for uri in told.named[why][:SHOWN]:
            err.print(f"  {escape(uri)}", highlight=False, soft_wrap=True)
        if count > SHOWN:
            err.print(f"  {spoken(f'and {count - SHOWN:,} more')}", highlight=False)
    for error in told.unread:
        warn_of(str(error), error.cure)
