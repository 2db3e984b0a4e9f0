"""Manifests as files: JSON lines in UTF-8, or Parquet with the same columns.

Which of the two it is, the name says. Knows nothing of stages; what a row may say is
shared/rows.py's.
"""

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from shared.errors import BadData
from shared.rows import MOST_BYTES as MOST_BYTES
from shared.rows import Row

MOST_LINE = 256 << 10
MOST_UNPACKED = 16 * MOST_BYTES
PARQUET = ".parquet"
BATCH = 64
"""Rows of a Parquet file read at once: a value that it holds once for many of them becomes many."""


class Place(NamedTuple):
    """Where a row stands in its file: "line 3", or "row 3" of Parquet."""

    number: int
    is_row: bool = False

    def __str__(self) -> str:
        return f"row {self.number}" if self.is_row else f"line {self.number}"

    def says(self, told: str) -> str:
        return f"row {self.number}: {told}" if self.is_row else f"line {self.number}: {told}"


Raw = tuple[Place, Any]
"""And what is there: the row as JSON has it, or the BadData that says why there is none."""


def raw_rows(body: bytes, name: str) -> Iterator[Raw]:
    """What stands in a manifest, unread; empty lines are nothing.

    Args:
        name: or the address; its ending says what it is.

    Raises:
        BadData: it is no manifest at all.
    """
    if name.endswith(PARQUET):
        return _parquet_rows(body, name)
    try:
        return raw_lines(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadData(f"{name} is not UTF-8: {error}", cure="Save it as UTF-8.") from error


def raw_lines(text: str) -> Iterator[Raw]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = Place(number)
            yield place, _parsed(line, place)


def _parsed(line: str, place: Place) -> Any:
    try:
        return _bounded(None, len(line), place) or json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadData(
            f"line {place.number} is not JSON: {error}", cure="Write one JSON object a line."
        )


def _bounded(row: Any, characters: int, place: Place) -> Any:
    if characters <= MOST_LINE:
        return row
    return BadData(
        f"{'row' if place.is_row else 'line'} {place.number} has {characters} characters; "
        f"it may have {MOST_LINE}",
        cure="Write one JSON object a line, of one video.",
    )


def _parquet_rows(body: bytes, name: str) -> Iterator[Raw]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise BadData(
            f"{name} is Parquet, which cannot be read here: pyarrow is not installed",
            cure="Install the extra 'parquet', or write JSON lines.",
        ) from error

    number = 0
    try:
        table = parquet.ParquetFile(io.BytesIO(body))
        groups = (table.metadata.row_group(at) for at in range(table.metadata.num_row_groups))
        if (unpacked := sum(group.total_byte_size for group in groups)) > MOST_UNPACKED:
            raise BadData(
                f"{name} has {unpacked} bytes, unpacked; it may have {MOST_UNPACKED}",
                cure="Train on a part of it, and go on from that adapter with the next part.",
            )
        for batch in table.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                place = Place(number, is_row=True)
                line = json.dumps(row, default=str, ensure_ascii=False)
                yield place, _bounded(row, len(line), place)
    except (ArrowException, OSError, ValueError) as error:
        raise BadData(
            f"{name} is no Parquet file that can be read: {error}",
            cure="Write it again; docs/training.md has the columns.",
        ) from error


def written(rows: Iterable[Row], name: str) -> bytes:
    """The file's content; JSON lines say only what is not left to the default."""
    told = [row.model_dump(mode="json", exclude_defaults=True) for row in rows]
    if not name.endswith(PARQUET):
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in told).encode()
    import pyarrow
    from pyarrow import parquet

    text, seconds = pyarrow.string(), pyarrow.float64()
    media = pyarrow.list_(
        pyarrow.struct(
            [("uri", text), ("sha256", text), ("start", seconds), ("end", seconds)],
        )
    )
    kinds = {"videos": media, "images": media, "label": pyarrow.bool_()}
    schema = pyarrow.schema([(column, kinds.get(column, text)) for column in Row.model_fields])
    table = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(told, schema=schema), table)
    return table.getvalue()
