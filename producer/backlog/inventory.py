"""Rows of an S3 Inventory: CSV, Parquet or ORC, as its manifest.json says.

Format: docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html. Reading
Parquet and ORC needs pyarrow: `pip install 'jamak[parquet]'`.
"""

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from shared.bucket.storage import ObjectStore
from shared.errors import BadMessage

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class InventoryRow:
    number: int
    """From 1, over all files of the report."""
    bucket: str
    key: str
    etag: str | None
    size_bytes: int | None
    skipped: str
    """Why it is no object to be read: an older version, or a delete marker. Mostly empty."""


def inventory_rows(store: ObjectStore, bucket: str, key: str, after: int) -> Iterator[InventoryRow]:
    """All rows but the first `after`.

    Raises:
        BadMessage: the manifest is none of an S3 Inventory.
    """
    uri = f"s3://{bucket}/{key}"
    try:
        manifest = json.loads(store.get(bucket, key))
        where = manifest["destinationBucket"].rpartition(":::")[2]  # an ARN, of any partition
        files = [file["key"] for file in manifest["files"]]
        columns = [name.strip() for name in manifest["fileSchema"].split(",")]
        form = manifest["fileFormat"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadMessage(
            f"{uri} is no manifest of an S3 Inventory: {error!r}",
            cure="Name the manifest.json in the dated folder of the report.",
        ) from error
    if form not in _READERS:
        raise BadMessage(f"{uri}: the format {form!r} is unknown", cure="CSV, Parquet or ORC.")
    number = 0
    for file in files:
        with tempfile.TemporaryDirectory(prefix="jamak-inventory-") as folder:
            path = Path(folder) / "part"
            store.download(where, file, path)
            for told in _READERS[form](path, columns):
                number += 1
                if number > after:
                    yield _row(number, told, manifest["sourceBucket"])


def _row(number: int, told: dict[str, Any], source: str) -> InventoryRow:
    # CSV spells columns `ETag` and `IsLatest`, Parquet and ORC `e_tag` and `is_latest`.
    found = {name.replace("_", "").lower(): value for name, value in told.items()}
    latest, marker = found.get("islatest"), found.get("isdeletemarker")
    old = latest is not None and str(latest).lower() != "true"
    deleted = marker is not None and str(marker).lower() == "true"
    size, etag = found.get("size"), found.get("etag")
    return InventoryRow(
        number,
        found.get("bucket") or source,
        found["key"],
        str(etag).strip('"') if etag else None,
        int(size) if size not in (None, "") else None,
        "delete_marker" if deleted else "old_version" if old else "",
    )


def _csv(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
        for cells in csv.reader(text):
            row = dict(zip(columns, cells, strict=False))
            # Only here are keys encoded.
            yield {**row, "Key": unquote_plus(row["Key"])}


def _parquet(path: Path, _: list[str]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _orc(path: Path, _: list[str]) -> Iterator[dict[str, Any]]:
    from pyarrow import orc

    file = orc.ORCFile(path)
    for stripe in range(file.nstripes):
        yield from file.read_stripe(stripe).to_pylist()


_READERS = {"CSV": _csv, "Parquet": _parquet, "ORC": _orc}
