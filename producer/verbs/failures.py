"""The operator's verbs for failures."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape

from producer.bucket.failures import Wanted, find_failures, redrive
from producer.bucket.reasons import check_reason
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.send import queue_of
from producer.verbs import completion
from producer.verbs.console import AsJson, Grid, bars, out, print_json, warn_of
from producer.verbs.options import opened, opened_to_send, warn_of_unserved
from shared.bucket.keys import parse_uri, place_of
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError, UsageError
from shared.language import spoken
from shared.messages import Failure, Recipe
from shared.settings import load_settings
from shared.shown import utc

Where = Annotated[str | None, typer.Argument(help="s3://bucket/prefix of the videos; none = all")]
Reason = Annotated[
    str | None,
    typer.Option(help="Only this one, for example truncated.", autocompletion=completion.reasons),
]
Since = Annotated[
    str | None, typer.Option(help="Not older: 2026-11-23, 2026-11-23T10:00, 90m, 24h or 7d.")
]
Until = Annotated[str | None, typer.Option(help="Older than that.")]
RecipeId = Annotated[str | None, typer.Option("--recipe", help="Only of this recipe.")]

REDRIVEN_AT_ONCE = 500

failures = typer.Typer(no_args_is_help=True, help="Jobs that could not succeed, and why.")


@failures.command("list")
def list_failures(
    where: Where = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    recipe: RecipeId = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """By reason, and the first ones of them."""
    settings = load_settings()
    counted: Counter[str] = Counter()
    shown: list[Failure] = []
    unread: list[JamakError] = []
    for failure in find_failures(
        ObjectStore(), settings, wanted(where, reason, since, until, recipe), unread.append
    ):
        counted[failure.reason] += 1
        if len(shown) < limit:
            shown.append(failure)
    if as_json:
        rows = [one.model_dump(mode="json") for one in shown]
        print_json(
            {
                "count": counted.total(),
                "by_reason": counted,
                "failures": rows,
                "unreadable": told_of(unread),
            }
        )
        return
    headers = "reason", "video", "message", "tries", "when"
    table = Grid(*headers, wide=("recipe", "etag"))
    for one in shown:
        when = utc(one.created_at)
        uri, message = escape(one.video.uri), escape(spoken(one.message))
        row = one.reason, uri, message, str(one.attempts), when
        table.add_row(*row, one.recipe_id, one.video.etag)
    out.print(table)
    rest = counted.total() - len(shown)
    by_reason = ", ".join(f"{name} {count}" for name, count in counted.most_common())
    if not by_reason:
        out.print(spoken("no failures"))
    elif rest > 0:
        out.print(spoken(f"{by_reason}; {rest} more are not shown"))
    else:
        out.print(by_reason)
    for error in unread:
        warn_of(str(error), error.cure)


def told_of(unread: list[JamakError]) -> list[dict[str, str]]:
    return [{"message": str(error), "cure": error.cure} for error in unread]


@failures.command("show")
def show(
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of the video")],
    as_json: AsJson = False,
) -> None:
    """All that is known about the failures of one video."""
    bucket, key = place_of(uri, "URI")
    unread: list[JamakError] = []
    found = [
        one
        for one in find_failures(ObjectStore(), load_settings(), Wanted(bucket, key), unread.append)
        if one.video.key == key
    ]
    if as_json:
        rows = [one.model_dump(mode="json") for one in found]
        print_json({"failures": rows, "unreadable": told_of(unread)})
        return
    for error in unread:
        warn_of(str(error), error.cure)
    for one in found:
        show_failure(one)
    if not found:
        out.print(spoken(f"{escape(uri)} has no failure without a caption"), highlight=False)


def show_failure(failure: Failure) -> None:
    reason, message = escape(failure.reason), escape(spoken(failure.message))
    out.print(f"[red]{spoken(f'failed: {reason}')}[/red]  {message}", highlight=False)
    out.print(escape(spoken(failure.cure)), highlight=False)
    table = Grid()
    table.add_row("recipe", failure.recipe_id)
    table.add_row("tries", str(failure.attempts))
    table.add_row("when", utc(failure.created_at, seconds=True))
    for name, value in failure.evidence.items():
        table.add_row(escape(name), escape(str(value)))
    out.print(table)


@failures.command("redrive")
def redrive_failures(
    where: Where = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    recipe: RecipeId = None,
    go: Annotated[
        bool, typer.Option("--go", help="Do it. Without, it only counts what it would do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try again what failed: the failures go, their jobs are enqueued."""
    settings, store, queues = opened_to_send() if go else opened()
    counted: Counter[str] = Counter()
    wanted_by: set[tuple[str, Recipe]] = set()
    elsewhere = 0
    unread: list[JamakError] = []
    found = find_failures(
        store, settings, wanted(where, reason, since, until, recipe), unread.append
    )
    room = HighWaterMarks(queues).room
    with bars() as shown:
        bar = shown.add_task(spoken("sending again" if go else "counting"), total=None)
        while some := list(islice(found, REDRIVEN_AT_ONCE)):
            elsewhere += sum(not one.video.in_bucket for one in some)
            some = [one for one in some if one.video.in_bucket]
            counted.update(one.reason for one in some)
            if go:
                redrive(store, settings, queues, some, room)
            wanted_by.update((queue_of(one.least, bulk=True), one.recipe) for one in some)
            shown.advance(bar, len(some))
    unserved = warn_of_unserved(queues, wanted_by)
    if as_json:
        print_json(
            {
                "count": counted.total(),
                "by_reason": counted,
                "sent": go,
                "in_no_bucket": elsewhere,
                "unserved": unserved,
                "unreadable": told_of(unread),
            }
        )
        return
    for error in unread:
        warn_of(str(error), error.cure)
    if elsewhere:
        out.print(spoken(f"left alone: {elsewhere} in no bucket; enqueue their addresses again"))
    by_reason = ", ".join(f"{name} {count}" for name, count in counted.most_common()) or "nothing"
    done, would = f"sent again: {by_reason}", f"would be sent again: {by_reason}  (--go does it)"
    out.print(spoken(done if go else would))


def wanted(
    where: str | None,
    reason: str | None,
    since: str | None,
    until: str | None,
    recipe: str | None,
) -> Wanted:
    """Raises UsageError: an address, a reason or a time is none."""
    chosen = Wanted(
        reason=reason and check_reason(reason),
        since=moment("--since", since),
        until=moment("--until", until),
        recipe=recipe,
    )
    if where is None:
        return chosen
    bucket, prefix = parse_uri(where, "WHERE")
    return replace(chosen, bucket=bucket, prefix=prefix)


def moment(option: str, text: str | None) -> datetime | None:
    """A time in ISO form (UTC unless it says so), or so long ago: `90m`, `24h`, `7d`."""
    if text is None:
        return None
    units = {"m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[:-1].isdecimal() and text[-1] in units:
            return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
        told = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: {text!r} is no time", cure="2026-11-23, 2026-11-23T10:00, 24h."
        ) from error
    return told if told.tzinfo else told.replace(tzinfo=UTC)
