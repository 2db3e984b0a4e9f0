"""Sets to be judged: their rows, and their media as files."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import BadData, Missing, TooLarge
from shared.rows import Row
from workers.train.data import first_rows, read_manifest, with_splits
from workers.train.downloads import DOWNLOADS, absolute, check_content
from workers.train.examine import with_reference
from workers.train.manifest import MOST_BYTES
from workers.train.replay import stage_of


@dataclass(frozen=True)
class JudgedRows:
    name: str
    data: str
    """Where its rows are from."""
    data_sha256: str
    rows: list[Row]
    """Each has a reference; their URIs are paths, in the folder that they were fetched to."""


def fetch_set(
    name: str,
    data: str,
    store: ObjectStore,
    folder: Path,
    *,
    prompt: str,
    most: int,
    trained_on: Collection[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> JudgedRows:
    """The rows that are held out. A manifest that names none is taken whole; only of one that one
    of the adapters was trained on those are taken that its training held out.

    Args:
        data: the manifest, in S3 or a file here. Its media may lie in either place.
        prompt: of rows that name none.
        most: bytes that a video may have.
        trained_on: SHA-256 of the manifests that the adapters were trained on.

    Raises:
        BadData: the manifest or a medium cannot be used.
        Missing, Forbidden: the manifest.
    """
    body = _body(data, store)
    sha256 = hashlib.sha256(body).hexdigest()
    rows = read_manifest(body, data, stage_of(body, data), prompt)
    if not any(row.split == "eval" for row in rows) and sha256 in trained_on:
        rows = with_splits(rows, of_thumbs=False)
    rows = [row for row in rows if row.split == "eval"] or rows
    rows = with_reference(rows)
    if not rows:
        raise BadData(
            f"{data} holds no caption that is right, so nothing can be compared with it",
            cure="Name a manifest with reference captions, pairs, or thumbs up.",
        )
    return JudgedRows(name, data, sha256, _local(rows, data, store, folder / name, most, tick))


def _body(data: str, store: ObjectStore) -> bytes:
    if data.startswith("s3://"):
        return store.get(*parse_uri(data), MOST_BYTES)
    path = Path(data)
    if not path.is_file():
        raise Missing(f"{data}: there is no such file", cure="Check it.")
    return path.read_bytes()


def _local(
    rows: Sequence[Row],
    data: str,
    store: ObjectStore,
    folder: Path,
    most: int,
    tick: Callable[[], None],
) -> list[Row]:
    """With paths for URIs: of a file here its own, of an object in S3 that of a copy."""
    folder.mkdir(parents=True)
    firsts = first_rows(rows)

    def fetch(numbered: tuple[int, Row]) -> str:
        number, row = numbered
        uri = row.media.uri
        if not data.startswith("s3://") and not uri.startswith("s3://"):
            path = (Path(data).absolute().parent / uri).absolute()
        else:
            path = folder / f"{number:06}{Path(uri).suffix}"
            try:
                store.download(*parse_uri(absolute(data, uri)), path, most, tick)
            except (Missing, TooLarge) as error:
                raise BadData(
                    f"row {row.id!r}: {error}", cure="Upload the video, or remove its rows."
                ) from error
        if not path.is_file():
            raise BadData(
                f"row {row.id!r}: there is no file {path}",
                cure="Copy it there, or remove its rows.",
            )
        check_content(row, path)
        return str(path)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = dict(zip(firsts, pool.map(fetch, enumerate(firsts.values())), strict=True))
    return [row.with_media(uri=paths[row.media.uri]) for row in rows]
