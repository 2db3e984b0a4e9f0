"""What the fleet cost, and whom: `jamak costs`."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape

from producer.costs import bill as bills
from producer.costs.bill import Bill, By
from producer.costs.pages import Pages
from producer.verbs.console import AsJson, Grid, duration, out, print_json, usd, warn, warn_of
from shared.bucket.storage import ObjectStore
from shared.errors import JamakError, UsageError
from shared.language import spoken
from shared.settings import load_settings

DAYS = "7d"
MEANINGS = {
    "captions": "captions",
    "parts": "segments of videos that others went on with",
    "training": "training",
    "in_hand": "in hand when it was written last",
    "idle": "idle",
    "cold_start": "starting, until it took work",
    "duplicates": "wasted: somebody else had done it",
    "failures": "wasted: it cannot succeed",
    "retries": "wasted: it is tried again",
    "handed_back": "wasted: left to another worker",
    "lost": "wasted: its worker was killed, or fell silent",
}
"""Of the parts of a bill, in the order in which they are shown."""


def costs(
    since: Annotated[
        str,
        typer.Option(help="The first day, in UTC: 2026-11-29, or the last days: 7d."),
    ] = DAYS,
    by: Annotated[By, typer.Option(help="Whose costs are told apart.")] = "tenant",
    as_json: AsJson = False,
) -> None:
    """What captions cost, what was wasted, and what idle time and cold starts come to.

    The sum is what the workers cost while they lived. It is read from what they wrote.
    """
    now = datetime.now(UTC)
    first = _first_day(since, now.date())
    settings = load_settings()
    unread: list[JamakError] = []
    pages = Pages(ObjectStore(), settings).read(first, unread.append)
    told = bills.bill(pages, by, now)
    if as_json:
        unreadable = [{"message": str(one), "cure": one.cure} for one in unread]
        about = {"since": first.isoformat(), **bills.as_dict(told), "unreadable": unreadable}
        print_json(about)
        return
    _show(told, first)
    for error in unread:
        warn_of(str(error), error.cure)


def _first_day(text: str, today: date) -> date:
    try:
        if days := re.fullmatch(r"([1-9][0-9]{0,3})d", text):
            return today - timedelta(days=int(days[1]) - 1)
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--since: {text!r} is no day",
            cure="Write a day, 2026-11-29, or how many of the last days, 7d.",
        ) from error


def _show(told: Bill, first: date) -> None:
    if not told.pages:
        out.print(spoken(f"no worker has written down what it did since {first}"))
        return
    table = Grid(
        told.by, "captions", "useful", "wasted", "idle and cold start", "together", "per 1,000"
    )
    for one in told.groups:
        each = usd(1000 * one.usd / one.captions) if one.captions and one.usd else "-"
        amounts = [usd(part.usd) for part in (one.useful, one.wasted, one.shared)]
        name = escape(one.name) or spoken("(none)")
        table.add_row(name, f"{one.captions:,}", *amounts, usd(one.usd), each)
    if told.nobodys.seconds:
        idle = usd(told.nobodys.usd)
        table.add_row(spoken("(nobody)"), "0", "-", "-", idle, idle, "-")
    out.print(table)
    sums = Grid("what became of it", "time", "share", "cost")
    whole = told.whole
    for what, meaning in MEANINGS.items():
        part = told.parts.get(what)
        if part and part.seconds:
            share = f"{part.seconds / whole.seconds:.1%}"
            sums.add_row(spoken(meaning), duration(part.seconds), share, usd(part.usd))
    sums.add_row(spoken("the bill"), duration(whole.seconds), "100.0%", usd(whole.usd))
    out.print(sums)
    for price, source in sorted(told.prices.items()):
        out.print(spoken(f"{price} an hour: {source}"), highlight=False)
    _doubts(told)


def _doubts(told: Bill) -> None:
    if told.unpriced_s:
        warn_of(
            f"{duration(told.unpriced_s)} have no price and count as $0",
            "Say what such a machine costs: JAMAK_USD_PER_HOUR.",
        )
    if told.killed:
        warn(
            f"{told.killed} workers were killed: what they spent after they wrote last, at most "
            f"{usd(told.unaccounted.usd)}, is in no sum"
        )
    if told.wrong:
        warn_of(
            f"of {len(told.wrong)} workers the parts do not sum up to their time: "
            f"{', '.join(told.wrong[:3])}",
            "This should not happen: report it.",
        )
