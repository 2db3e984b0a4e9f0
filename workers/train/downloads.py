"""Media of a training set: where they lie, and whether they are what their rows mean."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from shared.errors import BadData
from shared.rows import Row
from workers.train.data import first_rows

DOWNLOADS = 16
"""Videos fetched at once: they are small, so the time goes into waiting."""


def absolute(manifest_uri: str, uri: str) -> str:
    """A relative name is relative to the manifest, so that a training set can be moved."""
    if uri.startswith("s3://"):
        return uri
    if "://" in uri or uri.startswith("/"):
        raise BadData(
            f"{uri!r} is no address of a video in S3",
            cure="Write s3://bucket/key, or a path relative to the manifest.",
        )
    return f"{manifest_uri.rpartition('/')[0]}/{uri}"


def check_content(row: Row, path: Path) -> None:
    """Raises BadData: the digest of the row is another one."""
    if row.media.sha256 is None:
        return
    found = digest_of(path)
    if found != row.media.sha256:
        raise BadData(
            f"row {row.id!r}: {row.media.uri} is not the video that the manifest means",
            cure="Write the new SHA-256 into the manifest, or bring the old video back.",
            expected=row.media.sha256,
            found=found,
        )


def on_both_sides(
    rows: Iterable[Row], folder: Path, on_look: Callable[[], None]
) -> Iterator[tuple[Row, BadData]]:
    """By their content, for a copy under another name would be trained on and held out. Of each
    such file the first row that trains on it.

    Args:
        rows: with their splits; their files are in `folder`.
        on_look: called before each file that is read.
    """
    by_size: dict[int, list[Row]] = defaultdict(list)
    for row in first_rows(rows).values():
        by_size[(folder / row.media.uri).stat().st_size].append(row)
    for those in by_size.values():
        if len({row.split for row in those}) == 1:
            continue
        held_out: dict[str, Row] = {}
        for row in sorted(those, key=lambda row: row.split == "train"):
            on_look()
            digest = digest_of(folder / row.media.uri)
            if row.split != "train":
                held_out.setdefault(digest, row)
            elif digest in held_out:
                yield (
                    row,
                    BadData(
                        f"row {row.id!r} trains on what row {held_out[digest].id!r} evaluates on: "
                        "their files have other names and the same content",
                        cure="Put them on the same side, or note the sha256 of the file in both: "
                        "then they count as one.",
                    ),
                )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
