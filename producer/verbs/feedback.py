"""The operator's verbs for feedback: what people say of captions, one by one and by the file."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape

from producer.feedback.judged import Captions
from producer.feedback.store import FeedbackStore
from producer.verbs.console import AsJson, Grid, out, print_json, warn_of
from producer.verbs.failures import moment, told_of
from producer.verbs.feedback_files import feedback_export, feedback_import, is_under
from shared.bucket.keys import place_of
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError, UsageError
from shared.feedback import KINDS, Feedback, Kind
from shared.language import spoken
from shared.settings import load_settings
from shared.shown import utc

feedback = typer.Typer(no_args_is_help=True, help="What people say of captions.")
feedback.command("import")(feedback_import)
feedback.command("export")(feedback_export)


@feedback.command("add")
def feedback_add(
    what: Annotated[
        str, typer.Argument(help="s3://bucket/key of the video, or the address of a record.")
    ],
    reviewer: Annotated[str, typer.Option(help="Who says so: a name or an id.")],
    up: Annotated[bool, typer.Option("--up", help="The caption is as it should be.")] = False,
    down: Annotated[bool, typer.Option("--down", help="It is not.")] = False,
    correction: Annotated[
        str | None, typer.Option(help="What the caption should have said.")
    ] = None,
    chosen: Annotated[
        str | None, typer.Option(help="The better one of two texts, one of them the caption.")
    ] = None,
    rejected: Annotated[
        str | None, typer.Option(help="The other one. Without: the caption, as of --chosen.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say something of one caption: a thumb, a correction, or which of two texts is better.

    Who says something again says it later, and the later counts.
    """
    ways = up, down, correction is not None, (chosen, rejected) != (None, None)
    if sum(ways) != 1:
        raise UsageError(
            "say one thing of a caption at a time",
            cure="Give one of --up, --down, --correction, and --chosen or --rejected.",
        )
    settings, store = load_settings(), ObjectStore()
    found = Captions(store, settings).at(what)
    who = {
        "about": found.about,
        "reviewer": reviewer,
        "at": datetime.now(UTC),
        "source": "jamak",
    }
    if up or down:
        item = _item("thumb", up=up, **who)
    elif correction is not None:
        item = _item("correction", text=correction, **who)
    else:
        texts = {
            "chosen": found.text if chosen is None else chosen,
            "rejected": found.text if rejected is None else rejected,
        }
        item = _item("preference", **texts, **who)
    FeedbackStore(store, settings).add(item)
    if as_json:
        print_json(item.model_dump(mode="json", exclude_none=True))
    else:
        done = f"kept: {item.kind} on {escape(found.about.record)}"
        out.print(spoken(done), highlight=False, soft_wrap=True)


def _item(kind: Kind, **fields: Any) -> Feedback:
    try:
        return KINDS[kind](**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        # Of the text as a whole it names no field.
        where = str(fault["loc"][0]) if fault["loc"] else "text" if kind == "correction" else ""
        option = "--correction" if where == "text" else f"--{where}"
        raise UsageError(
            fault["msg"],
            cure="Say it otherwise; `jamak show` tells what the caption says."
            if where != "reviewer"
            else "Name who says so, in one line.",
            argument=option if where else "",
        ) from error


@feedback.command("list")
def feedback_list(
    where: Annotated[
        str | None, typer.Argument(help="s3://bucket/prefix of the videos; none = all")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Not older: 2026-11-23, 2026-11-23T10:00, 90m, 24h or 7d.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How much was said of captions, of which kind, since when and by whom."""
    begin = moment("--since", since)
    under = None if where is None else place_of(where, "WHERE")
    unread: list[JamakError] = []
    kept = FeedbackStore(ObjectStore(), load_settings()).all(unread.append)
    items = [
        one.said
        for one in kept
        if (begin is None or one.said.at >= begin) and is_under(one.said, under)
    ]
    rows = _rows(items)
    captions = len({item.about.record for item in items})
    if as_json:
        print_json(
            {
                "count": len(items),
                "captions": captions,
                "by": [
                    {**row, **{end: row[end].isoformat() for end in ("first", "last")}}
                    for row in rows
                ],
                "unreadable": told_of(unread),
            }
        )
        return
    if rows:
        table = Grid("kind", "reviewer", "said", "first", "last", "captions found good")
        for row in rows:
            first, last = (utc(row[end]) for end in ("first", "last"))
            liked = f"{row['liked']:,}"
            kind, reviewer = spoken(row["kind"]), escape(row["reviewer"])
            table.add_row(kind, reviewer, f"{row['count']:,}", first, last, liked)
        out.print(table)
        out.print(spoken(f"{len(items):,} said of {captions:,} captions"))
    else:
        out.print(spoken("no feedback"))
    for error in unread:
        warn_of(str(error), error.cure)


def _rows(items: list[Feedback]) -> list[dict[str, Any]]:
    """By kind and reviewer, who says most first."""
    grouped: defaultdict[tuple[Kind, str], list[Feedback]] = defaultdict(list)
    for item in items:
        grouped[item.kind, item.reviewer].append(item)
    rows = [
        {
            "kind": kind,
            "reviewer": reviewer,
            "count": len(said),
            "liked": sum(item.liked for item in said),
            "first": min(item.at for item in said),
            "last": max(item.at for item in said),
        }
        for (kind, reviewer), said in grouped.items()
    ]
    return sorted(rows, key=lambda row: (row["kind"], -row["count"], row["reviewer"]))
