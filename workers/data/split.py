"""`jamak data split`: which videos of a manifest evaluate."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from shared.bucket.storage import ObjectStore
from shared.console import AsJson, out, print_json
from shared.errors import BadData
from shared.language import spoken
from shared.rows import Row
from shared.settings import load_settings
from workers.data.places import check_new, content, write
from workers.train.data import HELD_OUT, held_out, one_name_each, parse_row, with_digests
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
    done = split_by_video(rows, share)
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
