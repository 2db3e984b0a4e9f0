"""Where the videos of a backlog come from: prefixes, inventories in their three forms, lists."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import orc, parquet

from producer.backlog.sources import Entry, open_source
from shared.bucket.storage import ObjectStore
from shared.errors import BadMessage, ConfigError, Forbidden
from shared.messages import Video
from tests.world import World

pytestmark = pytest.mark.integration

KEYS = ["in/a b+c.mp4", "in/한국어.mp4", "in/%41.mp4"]


def entries(world: World, source: str, after: str = "") -> list[Entry]:
    return list(open_source(source, world.store, world.settings).entries(after))


def videos(found: list[Entry]) -> list[Video]:
    return [entry.video for entry in found if entry.video]


def skipped(found: list[Entry]) -> list[str]:
    return [entry.skipped for entry in found if not entry.video]


def inventory(world: World, form: str, schema: str, *files: bytes, partition: str = "aws") -> str:
    where = f"inventory-{form}"
    listed = []
    for number, body in enumerate(files):
        key = f"{where}/data/{number}"
        world.store.put(world.videos, key, body)
        listed.append({"key": key, "size": len(body)})
    manifest = {
        "sourceBucket": "source",
        "destinationBucket": f"arn:{partition}:s3:::{world.videos}",
        "version": "2016-11-30",
        "fileFormat": form,
        "fileSchema": schema,
        "files": listed,
    }
    key = f"{where}/2026-11-23T01-00Z/manifest.json"
    world.store.put(world.videos, key, json.dumps(manifest).encode())
    return f"s3://{world.videos}/{key}"


def csv_file(*rows: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode())


TABLE = pyarrow.table(
    {
        "bucket": ["source"] * 4,
        "key": [*KEYS, "in/old.mp4"],
        "size": [1, 2, 3, 4],
        "e_tag": ["e0", "e1", "e2", "e3"],
        "is_latest": [True, True, True, False],
        "is_delete_marker": [False] * 4,
    }
)


def columnar(form: str) -> bytes:
    written = io.BytesIO()
    if form == "Parquet":
        parquet.write_table(TABLE, written)
    else:
        orc.write_table(TABLE, written)
    return written.getvalue()


def test_an_inventory_in_csv_has_its_keys_encoded(world: World) -> None:
    source = inventory(
        world,
        "CSV",
        "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag",
        csv_file(
            ["source", "in%2Fa+b%2Bc.mp4", "v", "true", "false", "1", "e0"],
            ["source", "in/%ED%95%9C%EA%B5%AD%EC%96%B4.mp4", "v", "true", "false", "2", "e1"],
            ["source", "in/old.mp4", "v", "false", "false", "4", "e3"],
        ),
        csv_file(
            ["source", "in/%2541.mp4", "v", "true", "false", "3", "e2"],
            ["source", "in/gone.mp4", "v", "true", "true", "", ""],
            ["source", "in/readme.txt", "v", "true", "false", "9", "e9"],
        ),
    )
    found = entries(world, source)
    assert [(v.key, v.etag, v.size_bytes) for v in videos(found)] == [
        (key, f"e{i}", i + 1) for i, key in enumerate(KEYS)
    ]
    assert skipped(found) == ["old_version", "delete_marker", "not_a_video"]
    # A scan that was cut goes on behind the row where it was.
    assert entries(world, source, found[2].position) == found[3:]


@pytest.mark.parametrize("partition", ["aws-us-gov", "aws-cn"])
def test_an_inventory_of_another_partition_of_aws_is_read(world: World, partition: str) -> None:
    rows = csv_file(["source", "in/1.mp4", "1", "e0"])
    source = inventory(world, "CSV", "Bucket, Key, Size, ETag", rows, partition=partition)
    assert [video.key for video in videos(entries(world, source))] == ["in/1.mp4"]


@pytest.mark.parametrize("form", ["Parquet", "ORC"])
def test_an_inventory_in_columns_has_them_as_they_are(world: World, form: str) -> None:
    source = inventory(world, form, "message s3.inventory { … }", columnar(form))
    found = entries(world, source)
    assert [(v.bucket, v.key, v.etag, v.size_bytes) for v in videos(found)] == [
        ("source", key, f"e{i}", i + 1) for i, key in enumerate(KEYS)
    ]
    assert skipped(found) == ["old_version"]


def test_what_an_inventory_does_not_tell_is_looked_up(world: World) -> None:
    world.store.put(world.videos, "looked/up.mp4", b"12345")
    rows = csv_file([world.videos, "looked/up.mp4"], [world.videos, "looked/never.mp4"])
    found = entries(world, inventory(world, "CSV", "Bucket, Key", rows))
    (video,) = videos(found)
    assert video.size_bytes == 5
    assert skipped(found) == ["missing"]


@pytest.mark.parametrize(
    "manifest", [b"{", b"{}", b'{"files": 5}', b'{"destinationBucket": "b", "files": []}']
)
def test_a_manifest_that_is_none_is_refused(world: World, manifest: bytes) -> None:
    world.store.put(world.videos, "broken/manifest.json", manifest)
    with pytest.raises(BadMessage, match=r"broken/manifest\.json"):
        entries(world, f"s3://{world.videos}/broken/manifest.json")


def test_a_list_of_keys(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("list/1.mp4", "list/2 한.mp4", "list/3.mp4"):
        world.store.put(world.videos, key, b"12345")
    told = tmp_path / "keys.txt"
    lines = ["list/1.mp4", "list/2 한.mp4", "list/none.mp4", "list/readme.md", "list/3.mp4"]
    told.write_text("\n".join(f"s3://{world.videos}/{line}" for line in lines) + "\n\n")
    head = ObjectStore.head

    def closed(self: ObjectStore, bucket: str, key: str) -> Any:
        if key == "list/1.mp4":
            raise Forbidden("closed")
        return head(self, bucket, key)

    monkeypatch.setattr(ObjectStore, "head", closed)
    found = entries(world, str(told))
    # What cannot be read is reported, and the others go on.
    assert [v.key for v in videos(found)] == ["list/2 한.mp4", "list/3.mp4"]
    assert skipped(found) == ["forbidden", "missing", "not_a_video"]
    assert entries(world, str(told), "3") == found[3:]
    monkeypatch.setattr("sys.stdin", io.StringIO(told.read_text()))
    assert videos(entries(world, "-")) == videos(found)
    told.write_text(told.read_text(), encoding="utf-8-sig")  # as Windows writes it
    assert entries(world, str(told)) == found
    monkeypatch.setattr("sys.stdin", io.StringIO(told.read_text()))
    assert entries(world, "-") == found
    with pytest.raises(ConfigError, match="standard input"):
        entries(world, "-", "3")


def test_a_prefix_goes_on_behind_a_key_and_leaves_our_own_output_out(world: World) -> None:
    for number in range(3):
        world.store.put(world.output, f"mixed/{number}.mp4", b"1")
    world.store.put(world.output, f"{world.prefix}records/x.mp4", b"1")
    found = entries(world, f"s3://{world.output}/mixed/")
    assert len(videos(found)) == 3
    assert videos(entries(world, f"s3://{world.output}/mixed/", "mixed/0.mp4")) == videos(found)[1:]
    assert set(skipped(entries(world, f"s3://{world.output}/{world.prefix}"))) == {"own_output"}


def test_what_is_no_source_says_so(world: World) -> None:
    with pytest.raises(ConfigError, match="no source"):
        open_source("no-such-file.txt", world.store, world.settings)
