"""`jamak data import` and `split` against S3, from a folder of labels to a manifest."""

import hashlib
import json
import shutil
import uuid
from pathlib import Path

import pytest

from shared.prompts import BASE_PROMPT
from shared.rows import Row
from tests.conftest import World
from tests.terminal import jamak_here
from workers.train.data import read_manifest

pytestmark = pytest.mark.integration

FILM = hashlib.sha256(b"film").hexdigest()
LAYOUTS = Path(__file__).parents[1] / "layouts"


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch, world: World) -> pytest.MonkeyPatch:
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_folder_of_labels_in_s3_becomes_a_manifest_that_is_split(
    patch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    folder = f"import-{uuid.uuid4().hex[:8]}"
    label = json.loads((LAYOUTS / "aihub-D2_AN_0531_000002.json").read_text())
    for number in range(4):
        label["video_name"] = f"{number}.mp4"
        body = json.dumps(label, ensure_ascii=False).encode()
        world.store.put(world.output, f"{folder}/labels/{number}.json", body)
        if number:
            world.store.put(world.output, f"{folder}/clips/AN/{number}.mp4", b"film")
    world.store.put(world.output, f"{folder}/labels/readme.md", b"notes")
    top = f"s3://{world.output}/{folder}/"
    words = ["data", "import", "aihub", f"{top}labels/", "--media", f"{top}clips"]
    words += ["--to", f"{top}m.jsonl", "--source", "AI-Hub 71492", "--license", "AI-Hub"]

    done = jamak_here(patch, *words)
    assert done.code == 0, done.err
    assert "6 rows of 3 videos and images, from 4 files" in done.out
    lines = [line.split() for line in done.out.splitlines()[3:]]
    assert lines[1][:9] == ["its", "video", "or", "image", "is", "not", "under", "--media", "2"]
    assert lines[0][-2:] == ["2.json#3,", "…"]

    body = world.store.get(world.output, f"{folder}/m.jsonl")
    rows = read_manifest(body, "m.jsonl", "sft", BASE_PROMPT)
    assert len(rows) == 6
    assert {row.media.uri for row in rows} == {f"{top}clips/AN/{n}.mp4" for n in (1, 2, 3)}
    assert {(row.source, row.license, row.origin) for row in rows} == {
        ("AI-Hub 71492", "AI-Hub", "human")
    }

    again = jamak_here(patch, *words)
    assert (again.code, "is there already" in again.err) == (2, True)

    to = f"{top}split.parquet"
    done = jamak_here(
        patch, "data", "split", f"{top}m.jsonl", "--to", to, "--eval", "0.4", "--json"
    )
    told = json.loads(done.out)
    assert told["train"]["rows"] + told["eval"]["rows"] == 6
    split = read_manifest(
        world.store.get(world.output, f"{folder}/split.parquet"), to, "sft", BASE_PROMPT
    )
    sides = {
        uri: {row.split for row in split if row.media.uri == uri}
        for uri in {row.media.uri for row in split}
    }
    assert all(len(side) == 1 for side in sides.values())
    assert {row.split for row in split} == {"train", "eval"}


def test_a_manifest_here_names_the_files_beside_it(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "set" / "clips").mkdir(parents=True)
    (tmp_path / "set" / "clips" / "swing.mp4").write_bytes(b"film")
    shutil.copy(LAYOUTS / "sharegpt.jsonl", tmp_path / "sharegpt.jsonl")
    to = str(tmp_path / "set" / "m.jsonl")
    words = ["data", "import", "llava", str(tmp_path / "sharegpt.jsonl")]
    words += ["--media", str(tmp_path / "set" / "clips"), "--stage", "dpo", "--to", to]
    done = jamak_here(patch, *words, "--sha256", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["left_out"] == [
        {"place": "sharegpt.jsonl:2", "why": "it is about several"}
    ]
    (row,) = read_manifest(Path(to).read_bytes(), to, "dpo", BASE_PROMPT)
    assert row.media.uri == "clips/swing.mp4"
    assert row.media.sha256 == FILM


def test_two_names_of_one_video_are_one_where_its_content_is_known(
    patch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    top = f"s3://{world.output}/import-{uuid.uuid4().hex[:8]}/"
    folder = top.removeprefix(f"s3://{world.output}/")
    for name, body in (("a", b"film"), ("b", b"film"), ("c", b"other")):
        world.store.put(world.output, f"{folder}{name}.mp4", body)
    (tmp_path / "t.csv").write_text("key,caption\n" + "".join(f"{k}.mp4,개\n" for k in "abcd"))
    words = ["data", "import", "csv", str(tmp_path / "t.csv"), "--to", f"{top}m.jsonl", "--sha256"]
    done = jamak_here(patch, *words, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["rows"], told["media"]) == (3, 2)
    (missing,) = told["left_out"]
    assert (missing["place"], "d.mp4" in missing["why"]) == ("t:5", True)
    done = jamak_here(patch, "data", "split", f"{top}m.jsonl", "--to", f"{top}n.jsonl", "--json")
    rows = read_manifest(
        world.store.get(world.output, f"{folder}n.jsonl"), "n.jsonl", "sft", BASE_PROMPT
    )
    assert rows[0].split == rows[1].split != rows[2].split
    # In another folder the names mean the same files.
    words = ["data", "split", f"{top}m.jsonl", "--to"]
    assert jamak_here(patch, *words, f"{top}other/n.jsonl").code == 0
    body = world.store.get(world.output, f"{folder}other/n.jsonl")
    moved = [Row.model_validate_json(line) for line in body.splitlines()]
    assert [row.media.uri for row in moved] == [f"{top}{name}.mp4" for name in "abc"]
    patch.setattr("workers.data.places.MOST_BYTES", len(body) - 1)
    large = jamak_here(patch, *words, f"{top}other/large.jsonl")
    assert (large.code, f"the manifest would have {len(body)} bytes" in large.err) == (1, True)


def test_a_split_elsewhere_on_this_machine_names_the_same_files(
    patch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    (tmp_path / "sets").mkdir()
    rows = [
        {"id": name, "videos": [{"uri": f"clips/{name}.mp4"}], "completion": "개"} for name in "ab"
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "m.jsonl").write_text(lines)
    words = ["data", "split", str(tmp_path / "m.jsonl"), "--to"]
    assert jamak_here(patch, *words, str(tmp_path / "sets" / "n.jsonl")).code == 0
    body = (tmp_path / "sets" / "n.jsonl").read_bytes()
    moved = [Row.model_validate_json(line) for line in body.splitlines()]
    assert [row.media.uri for row in moved] == ["../clips/a.mp4", "../clips/b.mp4"]
    refused = jamak_here(patch, *words, f"s3://{world.output}/{world.prefix}n.jsonl")
    assert (refused.code, "cannot name files of this machine" in refused.err) == (2, True)


def test_nothing_is_written_when_nothing_became_a_row(
    patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to = tmp_path / "m.jsonl"
    source = str(LAYOUTS / "llava.json")
    done = jamak_here(patch, "data", "import", "aihub", source, "--to", str(to), "--json")
    assert done.code == 1
    assert "llava.json has no 'trigger_info'" in done.out
    assert not to.exists()
