"""A manifest as it is, with all that is wrong with its lines: a training stops at the first."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import BadData
from shared.rows import Row, Stage
from workers.train.data import no_rows, read_row, same_id, with_digests

TEXTS = ("prompt", "completion", "chosen", "rejected")


@dataclass
class Reading:
    rows: list[Row] = field(default_factory=list)
    """Those that can be read, each with a prompt."""
    faults: list[tuple[str, BadData]] = field(default_factory=list)
    """Lines that cannot, and why."""
    decomposed: list[str] = field(default_factory=list)
    """Ids of rows whose text was brought to NFC."""


def read_all(text: str, stage: Stage, prompt: str) -> Reading:
    """Args:
    prompt: of the rows that name none.
    """
    reading = Reading()
    lines_by_id: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = read_row(line, number, stage, prompt)
            if row.id in lines_by_id:
                raise same_id(row, number, lines_by_id[row.id])
        except BadData as error:
            reading.faults.append((f"line {number}", error))
            continue
        lines_by_id[row.id] = number
        reading.rows.append(row)
        if _changes(json.loads(line)):
            reading.decomposed.append(row.id)
    try:
        reading.rows = with_digests(reading.rows)
    except BadData as error:
        reading.faults.append(("", error))
    if not reading.rows and not reading.faults:
        reading.faults.append(("", no_rows()))
    return reading


def stage_of(text: str) -> Stage:
    """By the columns of the first row that is one; captions of reference if there is none."""
    for line in text.split("\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            if "chosen" in found or "rejected" in found:
                return "dpo"
            return "sft" if found.get("label") is None else "kto"
    return "sft"


def _changes(raw: dict[str, Any]) -> bool:
    texts: Sequence[Any] = [raw.get(name) for name in TEXTS]
    return any(
        isinstance(text, str) and not unicodedata.is_normalized("NFC", text) for text in texts
    )
