"""The operator's verbs for what workers have set aside."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.backlog.lines import Lines
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.set_aside import AT_ONCE, SetAside, all_set_aside, forget, list_for, put_back
from producer.verbs import completion
from producer.verbs.console import AsJson, Grid, out, print_json
from shared.broker.apps import caption_prefix, leased_queues, train_prefix
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_producer
from shared.bucket.storage import ObjectStore
from shared.errors import Unfinished, UsageError
from shared.language import spoken
from shared.messages import CaptionJob
from shared.settings import Settings, load_settings
from shared.shown import utc

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...",
        help="As `list` shows them; none = all.",
        autocompletion=completion.set_aside,
    ),
]
Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="As `list` shows it.", autocompletion=completion.set_aside),
]
Because = Annotated[str | None, typer.Option("--reason", help="Only those whose reason says this.")]

poison = typer.Typer(no_args_is_help=True, help="Messages that were set aside, and why.")


@dataclass(frozen=True)
class Side:
    """Captions, or training."""

    queues: LeasedQueues
    reason: str | None

    def find(self, ids: set[str]) -> Iterator[SetAside]:
        for one in all_set_aside(self.queues):
            if (not ids or one.id in ids) and (self.reason or "") in one.reason:
                yield one


def sides(settings: Settings, reason: str | None = None) -> list[Side]:
    prefixes = caption_prefix(settings), train_prefix(settings)
    return [Side(leased_queues(settings, prefix), reason) for prefix in prefixes]


@poison.command("list")
def list_poison(
    reason: Because = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """The oldest first."""
    counted: Counter[str] = Counter()
    shown: list[SetAside] = []
    for side in sides(load_settings(), reason):
        for one in side.find(set()):
            counted[one.queue] += 1
            if len(shown) < limit:
                shown.append(one)
    if as_json:
        rows = [_told(one) for one in shown]
        print_json({"count": counted.total(), "by_queue": counted, "set_aside": rows})
        return
    table = Grid("id", "queue", "video or job", "reason", "when")
    for one in shown:
        when = utc(one.at)
        table.add_row(one.id, escape(one.queue), escape(one.about), escape(one.reason), when)
    out.print(table)
    rest = counted.total() - len(shown)
    if not counted:
        out.print(spoken("nothing is set aside"))
    elif rest > 0:
        out.print(spoken(f"{rest} more are not shown"))


@poison.command("show")
def show(
    name: Id,
    as_json: AsJson = False,
) -> None:
    """All that is known about one, with the message itself."""
    found = [one for side in sides(load_settings()) for one in side.find({name})]
    _check_ids({name}, found)
    told = {**_told(found[0]), "message": found[0].message.decode(errors="replace")}
    if as_json:
        print_json(told)
        return
    table = Grid()
    for label, value in told.items():
        table.add_row(label, escape(str(value)))
    out.print(table)


@poison.command("redrive")
def redrive(
    ids: Ids = None,
    reason: Because = None,
    go: Annotated[
        bool, typer.Option("--go", help="Do it. Without, it only counts what it would do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put them back at the end of their queues, each at most once, as if they were new."""
    wanted = set(ids or ())
    settings = load_settings()
    found = {side.queues: list(side.find(wanted)) for side in sides(settings, reason)}
    _check_ids(wanted, [one for some in found.values() for one in some])
    count = sum(map(len, found.values()))
    sent = 0
    if go:
        for queues, some in found.items():
            if some:
                prove_producer(queues)
        own = Lines(ObjectStore(), settings).own
        sent = sum(_put_back(queues, some, own) for queues, some in found.items())
    told = {"count": count, "sent": sent}
    full = go and sent < count
    if full:
        raise Unfinished(
            f"sent again: {sent} of {count}; the others are gone from there, or find no room",
            cure="Look at `jamak poison list`, and try it again later.",
            told=told,
        )
    if as_json:
        print_json(told)
        return
    done, would = f"sent again: {sent}", f"would be sent again: {count}  (--go does it)"
    out.print(spoken(done if go else would))


@poison.command("drop")
def drop(
    ids: Ids = None,
    reason: Because = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget them: nobody will run them, and nothing but the bucket tells that they were there.

    `jamak reconcile` finds a video that has neither record nor failure, and makes a new job of it.
    With --json and without --yes it forgets nothing.
    """
    wanted = set(ids or ())
    found = {side.queues: list(side.find(wanted)) for side in sides(load_settings(), reason)}
    _check_ids(wanted, [one for some in found.values() for one in some])
    count = sum(map(len, found.values()))
    if count and not yes and not as_json:
        typer.confirm(spoken(f"Forget {count} messages?"), abort=True, err=True)
    dropped = 0
    if yes or not as_json:
        dropped = sum(forget(queues, some) for queues, some in found.items())
    if as_json:
        print_json({"count": count, "dropped": dropped})
        return
    out.print(spoken(f"forgotten: {dropped}"))


def _put_back(
    queues: LeasedQueues, found: list[SetAside], own: Callable[[CaptionJob], CaptionJob]
) -> int:
    """As many as their queues have room for; how many that were."""
    room = HighWaterMarks(queues).room
    by_list: dict[str, list[SetAside]] = {}
    for one in found:
        by_list.setdefault(list_for(queues, one), []).append(one)
    sent = 0
    for name, some in by_list.items():
        fitting = islice(some, room(name))
        while now := list(islice(fitting, AT_ONCE)):
            sent += put_back(queues, now, own)
    return sent


def _check_ids(wanted: set[str], found: list[SetAside]) -> None:
    lacking = wanted - {one.id for one in found}
    if lacking:
        raise UsageError(
            f"nothing of this id is set aside: {', '.join(sorted(lacking))}",
            cure="`jamak poison list` shows what is.",
        )


def _told(one: SetAside) -> dict[str, Any]:
    return {
        "id": one.id,
        "queue": one.queue,
        "about": one.about,
        "reason": one.reason,
        "at": one.at.isoformat(timespec="seconds"),
        "bytes": len(one.message),
    }
