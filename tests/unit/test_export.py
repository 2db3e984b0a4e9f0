"""Captions as a data set, which gets smaller."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from producer.bucket.export import Exported, Format, LocalTarget, Part, export
from tests.records import caption


def parts(sizes: list[int]) -> Iterator[Part]:
    for number, size in enumerate(sizes):
        captions = [caption(f"{number}번의 {one}번") for one in range(size)]
        yield Part(f"{number}: {size}", size, lambda captions=captions: iter(captions))  # type: ignore[misc]


def texts(folder: Path, form: Format) -> list[str]:
    """Of all parts, as who reads them with a pattern has them."""
    found: list[Any] = []
    for path in sorted(folder.glob("part-*")):
        if form == "parquet":
            found += [row["text"] for row in parquet.read_table(path).to_pylist()]
        else:
            found += gzip.decompress(path.read_bytes()).decode().splitlines()
    return found


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_is_left_of_a_larger_set_is_emptied(tmp_path: Path, form: Format) -> None:
    def exported(*sizes: int) -> Exported:
        return export(parts([*sizes]), LocalTarget(tmp_path), form)

    assert (exported(3, 3, 2).parts, len(texts(tmp_path, form))) == (3, 8)
    told = exported(3)
    assert (told.parts, told.kept, told.emptied, told.captions) == (0, 1, 2, 3)
    assert len(texts(tmp_path, form)) == 3
    assert exported(3).emptied == 0
    assert (exported(3, 3).parts, len(texts(tmp_path, form))) == (1, 6)
