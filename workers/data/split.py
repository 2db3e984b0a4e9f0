"""`jamak data split`: which videos of a manifest evaluate."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.bucket.places import check_new, content, in_s3
from shared.bucket.storage import ObjectStore
from shared.console import AsJson, out, print_json
from shared.errors import BadData, UsageError
from shared.language import spoken
from shared.rows import HELD_OUT, Row, held_out
from shared.settings import load_settings
from workers.data.places import write
from workers.train.data import one_name_each, parse_row, with_digests
from workers.train.downloads import absolute
from workers.train.manifest import MOST_BYTES, raw_rows, written


def split(
    manifest: Annotated[
        str, typer.Argument(help="s3://bucket/manifest.jsonl, or a file here (docs/training.md).")
    ],
    to: Annotated[str, typer.Option("--to", help="The manifest with the column `split`.")],
    share: Annotated[
        float, typer.Option("--eval", min=0.001, max=0.9, help="Of the videos that evaluate.")
    ] = HELD_OUT,
    as_json: AsJson = False,
) -> None:
    """Hold out a share of the videos of a manifest, to evaluate on: always the same ones.

    By video and never by row: all rows, parts and captions of one are on the same side.
    """
    load_settings()
    store = ObjectStore()
    check_new(to, store, "--to")
    body = content(manifest, store, MOST_BYTES, "MANIFEST")
    rows = [parse_row(raw, place) for place, raw in raw_rows(body, manifest)]
    rows = with_digests(one_name_each(rows, manifest))
    done = _moved(split_by_video(rows, share), manifest, to)
    write(to, written(done, to), store)
    sides = {
        side: {
            "rows": sum(row.split == side for row in done),
            "media": len({row.media.identity for row in done if row.split == side}),
        }
        for side in ("train", "eval")
    }
    if as_json:
        print_json({"manifest": to, **sides})
        return
    out.print(escape(to), highlight=False, soft_wrap=True)
    train, held = sides["train"], sides["eval"]
    out.print(spoken(f"train: {train['rows']} rows of {train['media']} videos and images"))
    out.print(spoken(f"eval: {held['rows']} rows of {held['media']} videos and images"))


def _moved(rows: Sequence[Row], manifest: str, to: str) -> list[Row]:
    """With names that mean the same files from where the new manifest lies.

    Raises:
        UsageError: there are none.
    """
    if _folder(manifest) == _folder(to):
        return list(rows)
    return [
        row if in_s3(row.media.uri) else row.with_media(uri=_renamed(row.media.uri, manifest, to))
        for row in rows
    ]


def _renamed(uri: str, manifest: str, to: str) -> str:
    if in_s3(manifest):
        return absolute(manifest, uri)
    if in_s3(to):
        raise UsageError(
            "a manifest in S3 cannot name files of this machine",
            cure="Upload them first (`jamak upload`), and name their address.",
            argument="--to",
        )
    return Path(os.path.relpath(Path(_folder(manifest)) / uri, _folder(to))).as_posix()


def _folder(address: str) -> str:
    return (address if in_s3(address) else str(Path(address).absolute())).rpartition("/")[0]


def split_by_video(rows: Sequence[Row], share: float) -> list[Row]:
    """A share that grows takes others in and lets none go.

    Raises:
        BadData: there are too few videos for two sides.
    """
    identities = {row.media.identity for row in rows}
    if len(identities) < 2:
        raise BadData(
            f"a split takes two videos, and here are {len(identities)}",
            cure="Add rows of other videos.",
        )
    chosen = held_out(rows, share)
    return [
        row.model_copy(update={"split": "eval" if row.media.identity in chosen else "train"})
        for row in rows
    ]
