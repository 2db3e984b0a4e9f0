"""A manifest as it is, with all that is wrong with its lines: a training stops at the first."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import BadData
from shared.rows import Row, Stage
from workers.train.data import (
    MOST_ROWS,
    no_rows,
    one_name_each,
    read_row,
    same_id,
    too_many_rows,
    with_digests,
)
from workers.train.manifest import Place, raw_rows

TEXTS = ("prompt", "completion", "chosen", "rejected")


@dataclass
class Reading:
    stage: Stage
    rows: list[Row] = field(default_factory=list)
    """Those that can be read, each with a prompt."""
    faults: list[tuple[str, BadData]] = field(default_factory=list)
    """Lines that cannot, and why."""
    decomposed: list[str] = field(default_factory=list)
    """Ids of rows whose text was brought to NFC."""


def read_all(body: bytes, name: str, stage: Stage | None, prompt: str) -> Reading:
    """Args:
        name: of the manifest, or its address.
        stage: None = as the columns of the first row tell.
        prompt: of the rows that name none.

    Raises:
        BadData: it is no manifest at all.
    """
    found = list(raw_rows(body, name))
    reading = Reading(stage or _stage_of([raw for _, raw in found]))
    places: dict[str, Place] = {}
    for place, raw in found:
        try:
            row = read_row(raw, place, reading.stage, prompt)
            if row.id in places:
                raise same_id(row, place, places[row.id])
        except BadData as error:
            reading.faults.append((str(place), error))
            continue
        places[row.id] = place
        reading.rows.append(row)
        if _is_decomposed(raw):
            reading.decomposed.append(row.id)
    try:
        reading.rows = with_digests(one_name_each(reading.rows, name))
    except BadData as error:
        reading.faults.append(("", error))
    if not found:
        reading.faults.append(("", no_rows()))
    if len(found) > MOST_ROWS:
        reading.faults.append(("", too_many_rows()))
    return reading


def _stage_of(found: list[Any]) -> Stage:
    """Captions of reference, if no row is one."""
    first = next((raw for raw in found if isinstance(raw, dict)), {})
    if first.get("chosen") is not None or first.get("rejected") is not None:
        return "dpo"
    return "sft" if first.get("label") is None else "kto"


def _is_decomposed(raw: Mapping[str, Any]) -> bool:
    texts = [raw.get(name) or "" for name in TEXTS]
    return not all(unicodedata.is_normalized("NFC", text) for text in texts)
