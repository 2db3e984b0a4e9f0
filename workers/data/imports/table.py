"""A table: CSV (RFC 4180), or with tabs (`.tsv`), whose first line names the columns.

    key,caption
    clips/a1.mp4,고양이가 창가에서 잡니다.

Columns are those of a row (shared/rows.py), and `key` (or `video`, `image`, `uri`) and `caption`.
`start` and `end` are seconds, or `0:16.5`. Other columns are not looked at.
"""

import csv
import io
from collections.abc import Iterator, Mapping

from shared.annotations.answers import thumb
from shared.annotations.files import MOST_BYTES, File, LeftOut, seconds, text_of
from shared.errors import BadData
from shared.rows import COLUMNS, TAUGHT
from workers.data.imports.found import Asked, Found

KEYS = ("key", "video", "image", "uri")
KEPT = ("id", "prompt", "split", "source", "license", "origin")


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    tabs = file.name.removesuffix(".gz").endswith(".tsv")
    table = csv.DictReader(io.StringIO(text_of(file), newline=""), delimiter="\t" if tabs else ",")
    csv.field_size_limit(MOST_BYTES)  # a text that is too long is one line's fault
    try:
        names = [name.strip().casefold() for name in table.fieldnames or []]
        table.fieldnames = ["completion" if name == "caption" else name for name in names]
        key = next((name for name in KEYS if name in table.fieldnames), None)
        lacking = [name for name in COLUMNS[asked.stage] if name not in table.fieldnames]
        if key is None or lacking:
            first = "key" if key is None else lacking[0]
            raise BadData(
                f"{file.name}: its first line names no column {first!r}",
                cure="Name the columns in the first line: key,caption.",
            )
        for row in table:
            yield _found(f"{file.name}:{table.line_num}", key, row)
    except csv.Error as error:
        raise BadData(f"{file.name} is no CSV: {error}", cure="Save it as CSV in UTF-8.") from error


def _found(place: str, key: str, row: Mapping[str | None, object]) -> Found | LeftOut:
    if row.get(None) is not None:
        return LeftOut(place, "it has more fields than the first line names")
    said = {name: value.strip() for name, value in row.items() if isinstance(value, str) and name}
    if not said.get(key):
        return LeftOut(place, "it names no video and no image")
    columns: dict[str, object] = {name: said[name] for name in (*KEPT, *TAUGHT) if said.get(name)}
    if "label" in columns and (label := thumb(columns["label"])) is not None:
        columns["label"] = label
    part = {}
    for name in ("start", "end"):
        if said.get(name):
            part[name] = seconds(said[name])
            if part[name] is None:
                return LeftOut(place, "it does not say from when to when")
    return Found(place, said[key], columns, part.get("start"), part.get("end"))
