"""`jamak data import`: a data set of others becomes a manifest."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import track

from shared.annotations.files import MOST_BYTES, File
from shared.bucket.places import Listed, check_new, in_s3, listed
from shared.bucket.storage import ObjectStore
from shared.console import AsJson, Grid, err, out, print_json
from shared.errors import BadData, UsageError
from shared.language import spoken
from shared.rows import Split, Stage
from shared.settings import load_settings
from workers.data.digests import digests
from workers.data.imports.found import Asked
from workers.data.imports.names import Names
from workers.data.imports.take import KINDS, Form, Taken
from workers.data.places import write
from workers.train.manifest import written

SHOWN = 3
"""Places of each reason; `--json` has all."""
READS_AT_ONCE, AHEAD_BYTES = 32, 256 << 20

T = TypeVar("T")


def import_set(
    form: Annotated[Form, typer.Argument(help="Its layout (docs/training.md).")],
    source: Annotated[str, typer.Argument(help="A file or a folder, here or s3://bucket/folder/.")],
    to: Annotated[
        str, typer.Option("--to", help="The manifest: s3://bucket/set/manifest.jsonl, or .parquet.")
    ],
    media: Annotated[
        str | None,
        typer.Option("--media", help="The folder of the videos and images: s3://bucket/clips/."),
    ] = None,
    stage: Annotated[
        Stage, typer.Option("--stage", help="What the rows are for: captions, pairs, or thumbs.")
    ] = "sft",
    question: Annotated[
        str | None,
        typer.Option("--question", help="Of an annotation tool: whose answers are the texts."),
    ] = None,
    split: Annotated[
        Split | None, typer.Option("--split", help="Of every row; or see `jamak data split`.")
    ] = None,
    name: Annotated[str | None, typer.Option("--source", help="Noted in every row.")] = None,
    license: Annotated[str | None, typer.Option("--license", help="Noted in every row.")] = None,
    sha256: Annotated[
        bool,
        typer.Option("--sha256", help="Read each video: two names of one are one then."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a manifest out of a data set: AI-Hub, LLaVA, CSV, Label Studio, Argilla, our captions.

    What cannot become a row is left out, and listed with its place and the reason.
    """
    settings, store = load_settings(), ObjectStore()
    check_new(to, store, "--to")
    given = {"split": split, "source": name, "license": license}
    taken = Taken(
        form,
        Asked(stage, question),
        Names(None if media is None else _media_of(media, to, store)),
        settings.prompt,
        {column: said for column, said in given.items() if said is not None},
    )
    endings = KINDS[form].endings
    found = list(listed(source, store, "SOURCE"))
    files = [one for one in found if len(found) == 1 or _is_of(one.name, endings)]
    if not files:
        raise UsageError(
            f"{source} holds no files of this layout: {', '.join(endings)}",
            cure="Check the folder, or name the layout of its files.",
            argument="SOURCE",
        )
    for file in _shown(_read_ahead(files), spoken("reading"), len(files)):
        taken.take(file)
    if sha256:
        uris = dict.fromkeys(row.media.uri for row in taken.rows)
        found_in = digests(uris, to, store, settings)
        taken.know(dict(_shown(found_in, spoken("reading the videos"), len(uris))))
    told = _told(taken, to, len(files))
    if not taken.rows:
        why, places = taken.reasons()[0] if taken.left_out else ("it is empty", [source])
        raise BadData(
            f"{source}: nothing of it became a row; {places[0]}: {why}",
            cure="Check the layout, --stage and --media.",
            **told,
        )
    write(to, written(taken.rows, to), store)
    if as_json:
        print_json(told)
    else:
        _show(taken, told)


def _is_of(name: str, endings: tuple[str, ...]) -> bool:
    """Neither what an export notes for itself, nor what macOS hides beside a file."""
    return name.endswith(endings) and not PurePath(name).name.startswith((".", "_export."))


def _shown(what: Iterable[T], doing: str, total: int) -> Iterable[T]:
    """With a bar on a terminal."""
    return track(what, doing, total=total, console=err, disable=not err.is_terminal, transient=True)


def _read_ahead(files: Sequence[Listed]) -> Iterator[File]:
    """In their order; small ones come many at once, for from S3 each takes its time."""
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="read") as pool:
        some: list[Listed] = []
        for one in files:
            some.append(one)
            if len(some) == READS_AT_ONCE or sum(one.size_bytes for one in some) > AHEAD_BYTES:
                yield from pool.map(_read, some)
                some = []
        yield from pool.map(_read, some)


def _read(one: Listed) -> File:
    if one.size_bytes > MOST_BYTES:
        raise BadData(
            f"{one.address} has more than {MOST_BYTES >> 20} MiB",
            cure="Cut it into smaller ones.",
        )
    return File(one.name, one.read())


def _media_of(media: str, to: str, store: ObjectStore) -> list[tuple[str, str]]:
    """Names and addresses. A manifest here names files beside it: they are moved together."""
    if in_s3(media):
        if not media.endswith("/"):
            media += "/"
        return [(one.name, one.address) for one in listed(media, store, "--media")]
    if in_s3(to):
        raise UsageError(
            "a manifest in S3 cannot name files of this machine",
            cure="Upload them first (`jamak upload`), and name their address.",
            argument="--media",
        )
    folder = Path(to).absolute().parent
    if not Path(media).absolute().is_relative_to(folder):
        raise UsageError(
            f"{media} is not in the folder of the manifest, {folder}",
            cure="Write the manifest beside the folder of the files: they are moved together.",
            argument="--media",
        )
    return [
        (one.name, Path(os.path.relpath(one.address, folder)).as_posix())
        for one in listed(media, store, "--media")
    ]


def _told(taken: Taken, to: str, files: int) -> dict[str, Any]:
    return {
        "manifest": to,
        "layout": taken.form,
        "stage": taken.asked.stage,
        "files": files,
        "rows": len(taken.rows),
        "media": len({row.media.identity for row in taken.rows}),
        "left_out": [{"place": one.place, "why": one.why} for one in taken.left_out],
    }


def _show(taken: Taken, told: dict[str, Any]) -> None:
    out.print(escape(told["manifest"]), highlight=False, soft_wrap=True)
    out.print(
        spoken(
            f"{told['rows']} rows of {told['media']} videos and images, from {told['files']} files"
        )
    )
    if not taken.left_out:
        return
    table = Grid("left out", "rows", "where", title=None)
    for why, places in taken.reasons():
        more = [*places[:SHOWN], *(["…"] if len(places) > SHOWN else [])]
        table.add_row(escape(spoken(why)), str(len(places)), escape(", ".join(more)))
    out.print(table)
