"""`jamak feedback import` and `export`: feedback by the file, and captions for people to judge."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from producer.bucket.captions import NoCaption
from producer.feedback.candidates import captioned, judged
from producer.feedback.importer import Imported, Importer
from producer.feedback.incoming import ENDINGS, Form
from producer.feedback.store import FeedbackStore
from producer.feedback.tasks import Task, written
from producer.verbs.console import AsJson, Grid, bars, out, print_json, warn, warn_of
from producer.verbs.failures import told_of
from shared.annotations.files import MOST_BYTES, File
from shared.bucket import places
from shared.bucket.keys import place_of
from shared.bucket.storage import ObjectStore
from shared.errors import BadData, JamakError, Unfinished, UsageError
from shared.feedback import Feedback
from shared.language import spoken
from shared.settings import load_settings

SHOWN = 3
"""Places of each reason; `--json` has all."""


def feedback_import(
    form: Annotated[Form, typer.Argument(help="Its layout (docs/loop.md).")],
    source: Annotated[str, typer.Argument(help="A file or a folder, here or s3://bucket/folder/.")],
    question: Annotated[
        str | None,
        typer.Option("--question", help="Of an annotation tool: whose answers are the texts."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, keep nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take feedback out of files: our own, or exports of Label Studio and Argilla.

    The same brought twice is kept once. What cannot be taken is told, with its place and its cure.
    """
    settings, store = load_settings(), ObjectStore()
    importer = Importer(store, settings, form, question)
    for file in _files(source, form, store):
        importer.read(file)
    unread: list[JamakError] = []
    with bars() as shown:
        bar = shown.add_task(spoken("keeping what was said"), total=importer.waiting)
        told = importer.add(
            dry_run=dry_run,
            unread=unread.append,
            done=lambda lines: shown.advance(bar, lines),
        )
    done = {**asdict(told), "dry_run": dry_run, "unreadable": told_of(unread)}
    if as_json and not told.refused:
        print_json(done)
    elif not as_json:
        _show(told, dry_run)
        for error in unread:
            warn_of(str(error), error.cure)
    if told.questions and question not in told.questions:
        names = ", ".join(told.questions)
        warn(f"nobody has answered a question {question!r} with a text; --question takes {names}")
    if told.refused:
        raise Unfinished(f"{len(told.refused)} of {told.lines} were refused", told=done)


def _files(source: str, form: Form, store: ObjectStore) -> list[File]:
    found = list(places.listed(source, store, "SOURCE"))
    files = [
        one
        for one in found
        if len(found) == 1
        or (one.name.endswith(ENDINGS[form]) and not PurePath(one.name).name.startswith("."))
    ]
    if not files:
        raise UsageError(
            f"{source} holds no files of this layout: {', '.join(ENDINGS[form])}",
            cure="Check the folder, or name the layout of its files.",
            argument="SOURCE",
        )
    for one in files:
        if one.size_bytes > MOST_BYTES:
            raise BadData(
                f"{one.address} has more than {MOST_BYTES >> 20} MiB",
                cure="Cut it into smaller ones.",
            )
    return [File(one.name, one.read()) for one in files]


def _show(told: Imported, dry_run: bool) -> None:
    added = ", ".join(f"{spoken(kind)} {count:,}" for kind, count in sorted(told.added.items()))
    kept, would = f"kept: {added or 0}", f"would be kept: {added or 0}"
    out.print(spoken(would if dry_run else kept), highlight=False)
    if told.already:
        out.print(spoken(f"{told.already:,} were said before"))
    if told.taken_back:
        out.print(spoken(f"{told.taken_back:,} were taken back further down"))
    reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in told.refused:
        reasons[one.why, one.cure].append(one.place)
    for left_out in told.unsaid:
        reasons[left_out.why, ""].append(left_out.place)
    if not reasons:
        return
    table = Grid("left out", "rows", "where", "what to do", title=None)
    for (why, cure), where in reasons.items():
        more = [*where[:SHOWN], *(["…"] if len(where) > SHOWN else [])]
        table.add_row(
            escape(spoken(why)),
            str(len(where)),
            escape(", ".join(more)),
            escape(spoken(cure)) if cure else "-",
        )
    out.print(table)


def feedback_export(
    to: Annotated[str, typer.Option(help="The file: s3://bucket/folder/file.json, or here.")],
    where: Annotated[
        str | None, typer.Argument(help="s3://bucket/prefix of the videos; none = all feedback")
    ] = None,
    form: Annotated[
        Literal["jsonl", "label-studio", "argilla"],
        typer.Option("--format", help="jsonl: what was said. The others: captions to be judged."),
    ] = "jsonl",
    as_json: AsJson = False,
) -> None:
    """What was said, as lines; or captions for people to judge in Label Studio or Argilla.

    For a tool: the captions under WHERE, each beside another text where there is one; without WHERE
    those of which something was said already.
    """
    under = None if where is None else place_of(where, "WHERE")
    settings, store = load_settings(), ObjectStore()
    places.check_new(to, store, "--to")
    unread: list[JamakError] = []
    told: dict[str, Any] = {"to": to, "format": form}
    if form == "jsonl" or under is None:
        kept = FeedbackStore(store, settings).all(unread.append)
        items = [one.said for one in kept if is_under(one.said, under)]
    if form == "jsonl":
        lines = (f"{item.model_dump_json(exclude_none=True)}\n" for item in items)
        told["items"] = len(items)
        body = "".join(lines).encode()
    else:
        if under is None:
            found = judged(store, settings, items, unread.append)
        else:
            found = captioned(store, settings, *under, unread.append)
        tasks: list[Task] = []
        with bars() as shown:
            bar = shown.add_task(spoken("reading captions"), total=None)
            for task in found:
                tasks.append(task)
                shown.advance(bar)
        if not tasks:
            raise NoCaption(
                f"there is no caption under {where}" if where else "there is no feedback",
                cure="Check the prefix, or look how it goes: `jamak status`.",
            )
        told |= {"tasks": len(tasks), "pairs": sum(task.other is not None for task in tasks)}
        body = written(tasks, form)
    places.write(to, body, store)
    told["unreadable"] = told_of(unread)
    if as_json and not unread:
        print_json(told)
    elif not as_json:
        out.print(escape(to), highlight=False, soft_wrap=True)
        if form == "jsonl":
            out.print(spoken(f"{told['items']:,} items of feedback"))
        else:
            out.print(spoken(f"{told['tasks']:,} captions, {told['pairs']:,} beside another text"))
        for error in unread:
            warn_of(str(error), error.cure)
    if unread:
        raise Unfinished(f"{len(unread)} could not be read", told=told)


def is_under(item: Feedback, under: tuple[str, str] | None) -> bool:
    """Args:
    under: a bucket of videos, and how their keys begin; None = all.
    """
    video = item.about.video
    return under is None or (video.bucket == under[0] and video.key.startswith(under[1]))
