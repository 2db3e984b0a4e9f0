"""Earlier data in a training: from where, which of them, and what is said when they are gone."""

import hashlib
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.bucket.registry import ADAPTER_FILES, Registry, version_of
from shared.errors import BadData, Missing
from shared.messages import ModelIdentity, decode
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from shared.training import AdapterManifest, TrainJob
from tests.training import fetch_data, make_job
from tests.world import World
from workers.progress import Progress
from workers.train.lineage import MOST_SETS, EarlierSet, learned_before
from workers.train.replay import Replay, choose_replay, fetch_replay

pytestmark = pytest.mark.integration


class Sets:
    """Training sets of one bucket; a video's content is its name, unless it is said."""

    def __init__(self, world: World) -> None:
        self.store, self.bucket = world.store, world.output
        self.folder = f"replay-{uuid.uuid4().hex[:8]}"
        self.registry = Registry(self.store, self.bucket, f"{self.folder}/")
        self.base = ModelIdentity(id="jamak/tiny", revision="r1", weights_sha256="a" * 64)

    def put(self, name: str, rows: list[dict[str, Any]], missing: str = "", **content: str) -> str:
        lines = []
        for row in rows:
            video = row.pop("video")
            if video not in missing:
                body = content.get(video, f"{name}/{video}").encode()
                self.store.put(self.bucket, f"{self.folder}/{name}/{video}.mp4", body)
            media = {
                "uri": f"{video}.mp4",
                **({"sha256": s} if (s := row.pop("sha", None)) else {}),
            }
            lines.append(json.dumps({"videos": [media], "completion": "고양이", **row}))
        key = f"{self.folder}/{name}/manifest.jsonl"
        self.store.put(self.bucket, key, "\n".join(lines).encode())
        return f"s3://{self.bucket}/{key}"

    def adapter(self, folder: Path, data: str, **asked: Any) -> AdapterManifest:
        """Published, as if it had been trained on that."""
        job = make_job(data=data, **{"start_from": None, **asked})
        directory = folder / f"adapter-{uuid.uuid4().hex}"
        directory.mkdir(parents=True)
        for name in ADAPTER_FILES:
            (directory / name).write_text(directory.name)
        files = dict.fromkeys(ADAPTER_FILES, hashlib.sha256(directory.name.encode()).hexdigest())
        made = AdapterManifest(
            version=version_of(files, self.base.weights_sha256),
            stage=job.stage,
            base=self.base,
            files=files,
            parent=job.start_from,
            data=data,
            data_sha256="",
            metrics={},
            train_job=job,
            libraries={},
            created_at=datetime.now(UTC),
        )
        self.registry.publish(made, directory)
        return made


@pytest.fixture
def sets(world: World) -> Sets:
    return Sets(world)


def _row(video: str, split: str = "train", **fields: Any) -> dict[str, Any]:
    return {"id": video, "video": video, "split": split, **fields}


def _job(data: str, **fields: Any) -> TrainJob:
    return make_job(data=data, start_from="v1", replay_share=0.5, **fields)


def _fetch(
    sets: Sets, job: TrainJob, parent: AdapterManifest | None, folder: Path
) -> tuple[Replay, list[Row]]:
    folder.mkdir(exist_ok=True)
    _, rows = fetch_data(job, sets.store, folder, Progress(), 1 << 20)
    earlier, unknown = learned_before(job, parent, sets.registry)
    assert unknown is None
    chosen = choose_replay(job, earlier, rows, sets.store, Progress())
    found = fetch_replay(chosen, sets.store, folder, Progress(), 1 << 20)
    there = folder / "replay.jsonl"
    lines = there.read_text().split("\n") if there.exists() else []
    return found, [Row.model_validate_json(line) for line in lines]


def test_the_data_of_the_adapter_before_are_replayed_with_their_prompt(
    sets: Sets, tmp_path: Path
) -> None:
    before = sets.put("before", [_row("a"), _row("b"), _row("c", "eval")])
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    prompt = "USER: <video>\n무엇이 보입니까? ASSISTANT:"
    parent = sets.adapter(tmp_path, before, prompt=prompt)
    ((replayed,), notes), rows = _fetch(sets, _job(now), parent, tmp_path)
    assert notes == ()
    assert {row.id for row in rows} == {f"{before}#a", f"{before}#b"}  # c was held out
    assert {(tmp_path / row.media.uri).read_text() for row in rows} == {"before/a", "before/b"}
    assert {row.prompt for row in rows} == {prompt}
    body = sets.store.get(sets.bucket, before.partition(f"{sets.bucket}/")[2])
    assert (replayed.data, replayed.rows) == (before, 2)
    assert replayed.data_sha256 == hashlib.sha256(body).hexdigest()


def test_earlier_data_that_were_archived_or_whose_bucket_is_gone_stop_no_training(
    sets: Sets, tmp_path: Path
) -> None:
    before = sets.put("before", [_row("a"), _row("b"), _row("c", "eval")])
    key = before.partition(f"{sets.bucket}/")[2].replace("manifest.jsonl", "a.mp4")
    with sets.store.client.asking(sets.bucket, key) as s3:
        s3.put_object(Bucket=sets.bucket, Key=key, Body=b"before/a", StorageClass="GLACIER")
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    (_, (note,)), rows = _fetch(sets, _job(now), sets.adapter(tmp_path, before), tmp_path)
    assert {row.id for row in rows} == {f"{before}#b"}
    assert "1 of 2 rows of the earlier data" in note
    (tmp_path / "again").mkdir()
    _, new = fetch_data(_job(now), sets.store, tmp_path / "again", Progress(), 1 << 20)
    gone = EarlierSet("s3://no-such-bucket-of-ours/earlier.jsonl", BASE_PROMPT)
    (note,) = choose_replay(_job(now), [gone], new, sets.store, Progress()).notes
    assert "nothing is replayed of s3://no-such-bucket-of-ours" in note


def test_thumbs_that_are_all_up_are_captions_to_another_stage(sets: Sets, tmp_path: Path) -> None:
    thumbs = [_row("a", label=True), _row("b", label=True), _row("c", "eval", label=True)]
    before = sets.put("before", thumbs)
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    _, rows = _fetch(sets, _job(now), sets.adapter(tmp_path, before), tmp_path)
    assert len(rows) == 2


def test_what_is_held_out_now_is_not_replayed_under_any_name(sets: Sets, tmp_path: Path) -> None:
    sha = hashlib.sha256(b"x").hexdigest()
    rows = [_row("a"), _row("b", sha=sha), _row("copy"), _row("same"), _row("only")]
    rows.append(_row("then", "eval"))
    before = sets.put("set", rows, b="x", copy="film", same="set/same", only="only")
    now = [
        _row("same", "eval"),  # by its address
        _row("other", "eval", sha=sha),  # by its digest
        _row("a2", "eval"),  # by its content alone
        _row("new"),
    ]
    for row in now[1:]:
        body = {"other": "x", "a2": "film"}.get(row["video"], row["video"])
        sets.store.put(sets.bucket, f"{sets.folder}/set/{row['video']}.mp4", body.encode())
    lines = [
        {
            "id": row["id"],
            "videos": [{"uri": f"{row['video']}.mp4", **({"sha256": sha} if "sha" in row else {})}],
            "completion": "고양이",
            "split": row["split"],
        }
        for row in now
    ]
    key = f"{sets.folder}/set/now.jsonl"
    sets.store.put(sets.bucket, key, "\n".join(map(json.dumps, lines)).encode())
    data = f"s3://{sets.bucket}/{key}"
    parent = sets.adapter(tmp_path, before)
    ((replayed,), (note,)), found = _fetch(sets, _job(data), parent, tmp_path)
    assert {row.id for row in found} == {f"{before}#a", f"{before}#only"}
    assert replayed.rows == 2
    assert "1 of 3 rows of the earlier data" in note


def test_earlier_videos_that_are_gone_are_left_out_and_counted(sets: Sets, tmp_path: Path) -> None:
    before = sets.put("before", [_row("a"), _row("gone"), _row("b", "eval")], missing="gone")
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    parent = sets.adapter(tmp_path, before)
    ((replayed,), (note,)), rows = _fetch(sets, _job(now), parent, tmp_path)
    assert [row.id for row in rows] == [f"{before}#a"]
    assert replayed.rows == 1
    assert f"1 of 2 rows of the earlier data {before} are not replayed" in note


def test_earlier_data_that_nobody_asked_for_may_be_gone(sets: Sets, tmp_path: Path) -> None:
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    gone = f"s3://{sets.bucket}/{sets.folder}/gone.jsonl"
    parent = sets.adapter(tmp_path, gone)
    (replayed, (note,)), _ = _fetch(sets, _job(now), parent, tmp_path / "default")
    assert replayed == ()
    assert f"nothing is replayed of {gone}" in note
    with pytest.raises(Missing, match=r"gone\.jsonl"):
        _fetch(sets, _job(now, replay=gone), None, tmp_path / "asked")


def test_earlier_data_of_thumbs_down_teach_no_captions(sets: Sets, tmp_path: Path) -> None:
    rows = [_row("a", label=False), _row("b", label=True), _row("c", "eval", label=True)]
    before = sets.put("before", rows)
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    job = _job(now, replay=before)
    _, found = _fetch(sets, job, None, tmp_path)
    assert [row.id for row in found] == [f"{before}#b"]


def test_the_same_data_again_are_not_replayed_beside_themselves(sets: Sets, tmp_path: Path) -> None:
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    parent = sets.adapter(tmp_path, now)
    (replayed, (note,)), rows = _fetch(sets, _job(now), parent, tmp_path)
    assert (replayed, rows) == ((), [])
    assert "those of the adapter before" in note


def test_earlier_data_without_anything_to_learn_are_an_error_where_they_were_asked_for(
    sets: Sets, tmp_path: Path
) -> None:
    before = sets.put("before", [_row("a"), _row("b", "eval")])
    pairs = [
        {**_row(n, s), "completion": None, "chosen": "개", "rejected": "새"}
        for n, s in (("d", "train"), ("e", "eval"))
    ]
    now = sets.put("now", pairs)
    job = _job(now, stage="dpo", losses=("sigmoid",), replay=before)
    with pytest.raises(BadData, match="hold nothing that this job may train on"):
        _fetch(sets, job, None, tmp_path)


def test_nothing_of_a_whole_line_of_adapters_is_forgotten(sets: Sets, tmp_path: Path) -> None:
    """sft on some videos, then on others beside a set of everything, then preferences."""
    first = sets.put("first", [_row("a"), _row("b"), _row("c", "eval")])
    common = sets.put("common", [_row("d"), _row("e", "eval")])
    second = sets.put("second", [_row("f"), _row("g", "eval")])
    pairs = [
        {**_row(n, s), "completion": None, "chosen": "개", "rejected": "새"}
        for n, s in (("h", "train"), ("i", "eval"))
    ]
    now = sets.put("now", pairs)
    one = sets.adapter(tmp_path, first)
    two = sets.adapter(tmp_path, second, start_from=one.version, replay=common, replay_share=0.5)
    job = _job(now, stage="dpo")
    found, rows = _fetch(sets, job, two, tmp_path / "now")
    assert found.notes == ()
    counted = [(one.data, one.rows) for one in found.replayed]
    assert counted == [(second, 1), (common, 1), (first, 2)]
    assert {row.id for row in rows} == {
        *(f"{first}#a", f"{first}#b", f"{common}#d", f"{second}#f"),
    }


def test_a_set_of_a_line_that_is_gone_keeps_no_other_from_it(sets: Sets, tmp_path: Path) -> None:
    first = sets.put("first", [_row("a"), _row("c", "eval")])
    now = sets.put("now", [_row("d"), _row("e", "eval")])
    gone = f"s3://{sets.bucket}/{sets.folder}/gone.jsonl"
    one = sets.adapter(tmp_path, first)
    same = sets.adapter(tmp_path, now, start_from=one.version)
    two = sets.adapter(tmp_path, gone, start_from=same.version)
    found, rows = _fetch(sets, _job(now), two, tmp_path / "now")
    assert [one.data for one in found.replayed] == [first]
    assert [row.id for row in rows] == [f"{first}#a"]
    assert f"nothing is replayed of {gone}" in "".join(found.notes)


def test_of_a_line_that_is_broken_or_long_the_newest_are_known(sets: Sets, tmp_path: Path) -> None:
    orphan = sets.adapter(tmp_path, "s3://b/1.jsonl", start_from="0" * 64)
    job = _job("s3://b/now.jsonl")
    known, note = learned_before(job, orphan, sets.registry)
    assert [one.data for one in known] == ["s3://b/1.jsonl"]
    assert "what the adapter 000000000000 and those before it" in str(note)
    newest = orphan
    for number in range(2, MOST_SETS + 2):
        data = f"s3://b/{number}.jsonl"
        newest = sets.adapter(tmp_path, data, start_from=newest.version)
    known, note = learned_before(job, newest, sets.registry)
    assert [one.data for one in known] == [
        f"s3://b/{number}.jsonl" for number in range(MOST_SETS + 1, 1, -1)
    ]
    assert f"{MOST_SETS} newer sets come first" in str(note)


def test_an_adapter_of_before_says_of_one_set_what_was_replayed(sets: Sets, tmp_path: Path) -> None:
    written = json.loads(sets.adapter(tmp_path, "s3://b/m.jsonl").model_dump_json())
    one = {"data": "s3://b/old.jsonl", "data_sha256": "", "rows": 2}
    for told, rows in ((None, []), (one, [2])):
        found = decode(AdapterManifest, written | {"replayed": told}).replayed
        assert [one.rows for one in found] == rows
