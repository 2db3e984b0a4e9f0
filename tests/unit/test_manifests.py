"""Manifests as files: JSON lines and Parquet say the same; the schemas say what is read."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from jsonschema import Draft202012Validator
from pyarrow import parquet

from shared.errors import BadData
from shared.prompts import BASE_PROMPT
from shared.rows import KINDS, row_schema
from workers.train import manifest
from workers.train.data import parse_row, read_manifest, with_splits
from workers.train.manifest import raw_rows, written

DOCS = Path(__file__).parents[2] / "docs"
VIDEO = {"uri": "a.mp4", "sha256": "a" * 64, "start": 0.5, "end": 2.0}
ROW: dict[str, Any] = {"id": "a", "videos": [VIDEO], "completion": "고양이", "label": False}
OTHER = {
    "id": "b",
    "images": [{"uri": "b.png"}],
    "completion": "개",
    "label": True,
    "split": "eval",
}


def _lines(*rows: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def _table(*rows: dict[str, Any]) -> bytes:
    """As pandas writes it: the columns that a row has, and null in the others."""
    columns = {column: [row.get(column) for row in rows] for column in {**rows[0], **rows[-1]}}
    body = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), body)
    return body.getvalue()


def test_parquet_says_what_json_lines_say() -> None:
    lines = read_manifest(_lines(ROW, OTHER), "m.jsonl", "kto", BASE_PROMPT)
    for name in ("s3://b/set/m.parquet", "m.jsonl"):
        assert read_manifest(written(lines, name), name, "kto", BASE_PROMPT) == lines
    # As other programs write it: without the columns that no row has.
    assert read_manifest(_table(ROW, OTHER), "m.parquet", "kto", BASE_PROMPT) == lines


def test_a_long_korean_text_is_as_long_in_parquet_as_in_lines() -> None:
    long = {**ROW, "completion": "가" * 50_000}
    told = "\n".join(json.dumps(one, ensure_ascii=False) for one in (long, OTHER)).encode()
    lines = read_manifest(told, "m.jsonl", "kto", BASE_PROMPT)
    assert read_manifest(_table(long, OTHER), "m.parquet", "kto", BASE_PROMPT) == lines


def test_a_faulty_row_of_parquet_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*rows: dict[str, Any]) -> None:
        read_manifest(_table(*rows), "m.parquet", "kto", BASE_PROMPT)

    with pytest.raises(BadData, match=r"row 2: videos or images: a row has exactly one"):
        read(ROW, {**OTHER, "images": None})
    with pytest.raises(BadData, match=r"row 1: weight: Extra inputs"):
        read({**ROW, "weight": 2.0}, OTHER)
    monkeypatch.setattr(manifest, "MOST_LINE", 90)
    with pytest.raises(BadData, match=r"row 1 has \d+ characters; it may have 90"):
        read(ROW)
    monkeypatch.setattr(manifest, "MOST_UNPACKED", 90)
    with pytest.raises(BadData, match=r"m\.parquet has \d+ bytes, unpacked; it may have 90"):
        read(ROW)


def test_what_is_no_manifest_is_named() -> None:
    whole = _table(ROW, OTHER)
    for body, name, said in (
        (whole[:-20], "m.parquet", "m.parquet is no Parquet file"),
        (whole, "m.jsonl", "m.jsonl is not UTF-8"),
    ):
        with pytest.raises(BadData, match=said) as caught:
            read_manifest(body, name, "kto", BASE_PROMPT)
        assert caught.value.cure


def test_a_manifest_from_windows_is_read() -> None:
    body = b"\xef\xbb\xbf" + _lines(ROW).replace(b"\n", b"\r\n") + b"\r\n"
    assert len(read_manifest(body, "m.jsonl", "kto", BASE_PROMPT)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schemas_are_what_the_class_says(kind: str) -> None:
    page = json.loads((DOCS / f"rows-{kind}.schema.json").read_text())
    assert page == row_schema(kind), "run: python -m shared.rows docs"
    Draft202012Validator.check_schema(page)


GOOD: dict[str, dict[str, Any]] = {
    "captions": {"completion": "고양이"},
    "preferences": {"chosen": "고양이", "rejected": "개"},
    "thumbs": {"completion": "고양이", "label": False},
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"videos": None, "images": [{"uri": "a.png"}]},
    {"images": [], "split": "eval", "source": "AI-Hub", "license": "?", "origin": "human"},
    {"videos": None},
    {"images": [{"uri": "a.png"}]},
    {"videos": [], "images": [{"uri": "a.png", "start": 1}]},
    {"videos": [VIDEO, VIDEO]},
    {"videos": [{"uri": "a.mp4", "start": -1}]},
    {"videos": [{"uri": "a.mp4", "end": "0:16"}]},
    {"videos": [{"uri": "a.mp4", "sha256": "short"}]},
    {"id": ""},
    {"origin": "machine"},
    {"weight": 1},
    {"completion": ""},
    {"completion": None},
    {"chosen": "새"},
    {"chosen": None},
    {"label": 1},
    {"label": None},
    {"rejected_frames": "reversed"},
    {"rejected_frames": "reversed", "images": None},
    {"rejected_frames": "upside down"},
    {"rejected_frames": None, "videos": None, "images": [{"uri": "a.png"}]},
    {"rejected_frames": "shuffled", "videos": None, "images": [{"uri": "a.png"}]},
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_takes_what_training_takes(kind: str) -> None:
    validator = Draft202012Validator(row_schema(kind))
    for change in CHANGES:
        row = {"id": "a", "videos": [VIDEO], **GOOD[kind], **change}
        try:
            read_manifest(_lines(row), "m.jsonl", KINDS[kind], BASE_PROMPT)
        except BadData:
            assert not validator.is_valid(row), row
        else:
            validator.validate(row)


def test_a_file_under_its_relative_and_its_whole_name_is_one() -> None:
    """Else it could train and evaluate."""
    place, rows = "s3://b/set/m.jsonl", []
    names = ("clips/a.mp4", "s3://b/set/clips/a.mp4", "s3://b/clips/a.mp4", "b.mp4")
    for number, (name, split) in enumerate(zip(names, ("eval", "train", None, None), strict=True)):
        row = {"id": str(number), "videos": [{"uri": name}], "completion": "개", "split": split}
        rows.append(row)
    read = read_manifest(_lines(*rows), place, "sft", BASE_PROMPT)
    assert [row.media.uri for row in read] == [names[0], names[0], names[2], names[3]]
    with pytest.raises(BadData, match=r"row '1' trains on clips/a\.mp4"):
        with_splits(read)


def test_every_line_is_told_of_and_not_the_first_alone() -> None:
    body = b'{"id": "a"}\n\n{\n' + _lines(ROW)
    first, second, third = raw_rows(body, "m.jsonl")
    assert [str(place) for place, _ in (first, second, third)] == ["line 1", "line 3", "line 4"]
    assert isinstance(second[1], BadData)
    assert parse_row(third[1], third[0]).label is False
