"""What was found in a data set becomes rows, or is left out; and which layouts there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from shared.annotations import argilla, label_studio
from shared.annotations.files import File, LeftOut
from shared.errors import BadData, Reject
from shared.rows import COLUMNS, TAUGHT, Row
from workers.data.imports import aihub, llava, records, table
from workers.data.imports.annotated import layout_of
from workers.data.imports.found import Asked, Found, Layout
from workers.data.imports.names import Names, is_image
from workers.train.data import MOST_ROWS, fault_of, ready
from workers.train.manifest import MOST_LINE

Form = Literal["aihub", "argilla", "csv", "label-studio", "llava", "records"]


@dataclass(frozen=True)
class Kind:
    layout: Layout
    endings: tuple[str, ...]
    """Of its files; others in a folder are not opened."""


KINDS: Mapping[Form, Kind] = MappingProxyType(
    {
        "aihub": Kind(aihub.found_in, (".json",)),
        "argilla": Kind(layout_of(argilla.answers_in), (".json", ".jsonl")),
        "csv": Kind(table.found_in, (".csv", ".tsv", ".csv.gz", ".tsv.gz")),
        "label-studio": Kind(layout_of(label_studio.answers_in), (".json",)),
        "llava": Kind(llava.found_in, (".json", ".jsonl", ".jsonl.gz")),
        "records": Kind(records.found_in, (".jsonl", ".jsonl.gz", ".json")),
    }
)


@dataclass
class Taken:
    """Rows, in the order of the files, and what did not become one."""

    form: Form
    asked: Asked
    names: Names
    prompt: str
    """Of rows that name none; they are checked with it."""
    given: Mapping[str, str]
    """Columns of every row: `source`, `license`, `split`."""
    rows: list[Row] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def take(self, file: File) -> None:
        try:
            for found in KINDS[self.form].layout(file, self.asked):
                if isinstance(found, LeftOut):
                    self.left_out.append(found)
                else:
                    self._take(found)
        except BadData as error:
            self.left_out.append(LeftOut(file.name, str(error)))

    def reasons(self) -> list[tuple[str, list[str]]]:
        """Why something was left out, and the places; the most frequent first."""
        places: dict[str, list[str]] = {}
        for one in self.left_out:
            places.setdefault(one.why, []).append(one.place)
        return sorted(places.items(), key=lambda one: -len(one[1]))

    def know(self, digests: Mapping[str, str | Reject]) -> None:
        """Of each file what it holds; rows of one that cannot be read are left out."""
        rows, self.rows = self.rows, []
        for row in rows:
            digest = digests[row.media.uri]
            if isinstance(digest, str):
                self.rows.append(row.with_media(sha256=digest))
            else:
                self.left_out.append(LeftOut(row.id, str(digest)))

    def _take(self, found: Found) -> None:
        if len(self.rows) == MOST_ROWS:
            full = f"the manifest is full: it has {MOST_ROWS} rows"
            self.left_out.append(LeftOut(found.place, full))
            return
        row = self._row(found)
        if isinstance(row, LeftOut):
            self.left_out.append(row)
        else:
            self.rows.append(row)

    def _row(self, found: Found) -> Row | LeftOut:
        address, why = self.names.find(found.media)
        if address is None:
            return LeftOut(found.place, str(why))
        media: dict[str, Any] = {"uri": address, "start": found.start, "end": found.end}
        others = set(TAUGHT) - set(COLUMNS[self.asked.stage])
        columns = {name: said for name, said in found.columns.items() if name not in others}
        try:
            row = Row.model_validate(
                {
                    **self.given,
                    **columns,
                    "id": str(found.columns.get("id") or _id_of(found.place)),
                    "images" if is_image(address) else "videos": [media],
                }
            )
            ready(row, self.asked.stage, self.prompt)
            if (length := len(row.model_dump_json())) > MOST_LINE:
                return LeftOut(found.place, f"it has {length} characters; it may have {MOST_LINE}")
        except ValidationError as error:
            return LeftOut(found.place, fault_of(error))
        except BadData as error:
            return LeftOut(found.place, str(error))
        return self._alone(row)

    def _alone(self, row: Row) -> Row:
        """Ids of others may come twice: a conversation's is often that of its video."""
        name, number = row.id, 1
        while name in self._ids:
            number += 1
            name = f"{row.id}~{number}"
        self._ids.add(name)
        return row if name == row.id else row.model_copy(update={"id": name})


def _id_of(place: str) -> str:
    """`labels/a.json#2` is labels/a#2."""
    file, sign, rest = place.partition("#") if "#" in place else place.partition(":")
    path = PurePosixPath(file)
    return f"{path.with_suffix('')}{sign}{rest}"
