"""`jamak data pairs`: a real queue, a real bucket, and a captioner that says what a test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.bucket.records import Records
from shared.errors import EmptyCaption, Unfinished, UsageError
from shared.messages import CaptionJob, Decoding, Recipe, decode
from shared.rows import MediaRef, Row
from tests.verbs import inside
from tests.videos import write_clip
from tests.work import Silent, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.data.candidates import Candidates, least_class
from workers.data.pairs import pairs
from workers.delivery.leases import Leases
from workers.train.data import with_splits
from workers.train.manifest import written
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration

QUEUE = "caption.t4.bulk"
SAID = ["빨간 원이 움직입니다.", "빨간 원이 움직입니다. 구석에는 고양이가 앉아 있습니다."]


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


@pytest.fixture
def mine(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """Queues and records of this test alone."""
    yield (own := replace(world, redis_prefix=f"{world.redis_prefix}-{request.node.name[:40]}"))
    for key in own.queues.redis.scan_iter(f"{own.redis_prefix}*"):
        own.queues.redis.delete(key)


SHORT = "USER: <video>짧게 말해 주세요. ASSISTANT:"


class Fleet(Silent):
    """Says one thing for even draws and another for odd ones; nothing for the fourth. The first is
    cut off where the prompt says so."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[CaptionJob] = []

    def caption(
        self,
        frames: Any,
        prompt: str,
        decoding: Decoding,
        progress: Any,
        canary: int | None = None,
    ) -> Answer:
        assert decoding.draw is not None
        assert decoding.temperature == 1.0
        text = "" if decoding.draw == 3 else SAID[decoding.draw % 2]
        finished = prompt != SHORT or decoding.draw != 0
        return Answer(text, finished, 2, 3, 9, None)


@contextmanager
def working(world: World, decoders: DecoderPool) -> Iterator[Fleet]:
    fleet, over = Fleet(), threading.Event()
    leases = Leases(world.queues, 1, lambda: {"queues": [QUEUE]})
    work = work_with(world, fleet, decoders)

    def run() -> None:
        while not over.is_set():
            delivery = leases.receive([QUEUE], 0.1)
            if delivery is None:
                continue
            lease = leases.of(delivery.lease)
            message = json.loads(delivery.message)
            job = decode(CaptionJob, json.loads(message["body"])[0][0])
            fleet.jobs.append(job)
            try:
                work.run(job, lease)
            except EmptyCaption as error:
                work.fail(job, lease, error)
            leases.finished(delivery.lease)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield fleet
    finally:
        over.set()
        thread.join()


def manifest(world: World, tmp_path: Path, *more: dict[str, Any]) -> str:
    rows = []
    for name in ("a", "b"):
        world.upload(write_clip(tmp_path / f"{name}.mp4", 12), f"set/{name}.mp4")
        row = {"id": name, "videos": [{"uri": f"{name}.mp4"}], "completion": SAID[0]}
        rows.append({**row, "split": "eval" if name == "b" else "train"})
    body = "\n".join(json.dumps(row) for row in (*rows, *more))
    world.store.put(world.videos, "set/manifest.jsonl", body.encode())
    return f"s3://{world.videos}/set/manifest.jsonl"


def rows_at(world: World, uri: str) -> list[Row]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    lines = world.store.get(bucket, key).decode().splitlines()
    return [Row.model_validate_json(line) for line in lines]


def test_the_fleet_draws_and_the_better_one_is_chosen(
    mine: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    part = {
        "id": "part",
        "videos": [{"uri": "a.mp4", "start": 0.1}],
        "completion": SAID[0],
    }
    source, to = manifest(mine, tmp_path, part), f"s3://{mine.output}/{mine.prefix}pairs.jsonl"
    call = [source, "--to", to, "--frames-in", "reversed", "--json"]
    with working(mine, decoders) as fleet:
        done = inside(mine, pairs, *call)
        told = json.loads(done.stdout.splitlines()[-1])  # after what the fleet logs
        assert (told["videos"], told["drawn"], told["failed"]) == (2, 8, 2)
        assert (told["pairs"], told["reordered"], told["left_out"]) == (2, 3, 1)
        drawn = sorted((job.video.key, job.recipe.decoding.draw) for job in fleet.jobs)
        assert drawn == [(f"set/{name}.mp4", n) for name in "ab" for n in range(4)]
        with pytest.raises(UsageError, match="is there already"):
            inside(mine, pairs, *call)
        # Again: what is drawn is there.
        call[2] = f"{to}.parquet"
        again = json.loads(inside(mine, pairs, *call).stdout.splitlines()[-1])
        assert again == {**told, "to": call[2]}
        assert len(fleet.jobs) == 8
    first, second, *turned = rows_at(mine, to)
    assert [row.media.start for row in turned] == [None, None, 0.1]
    assert (first.chosen, first.rejected) == (SAID[0], SAID[1])
    assert (first.origin, first.split, second.split) == ("synthetic", "train", "eval")
    assert first.media.uri == f"s3://{mine.videos}/set/a.mp4"
    assert [(row.chosen, row.rejected, row.rejected_frames) for row in turned] == [
        (SAID[0], SAID[0], "reversed")
    ] * 3


@pytest.mark.parametrize("films", [1, 30])
def test_what_a_set_holds_out_its_pairs_hold_out(mine: World, films: int) -> None:
    """Of a set that names no splits: those follow from the names of its videos."""
    bucket, source = mine.videos, f"set/{films}.jsonl"
    read = [
        Row(id=f"r{n}", videos=(MediaRef(uri=f"{n}.mp4"),), completion=SAID[0])
        for n in range(films)
    ]
    mine.store.put(bucket, source, written(read, source))
    to = f"s3://{mine.output}/{mine.prefix}{films}.jsonl"
    options = ["--draws", "0", "--frames-in", "reversed"]
    inside(mine, pairs, f"s3://{bucket}/{source}", "--to", to, *options)
    kept = {row.id.removesuffix("-reversed"): row.split for row in rows_at(mine, to)}
    if films == 1:
        assert kept == {"r0": None}  # a training says that this is too little
    else:
        assert kept == {row.id: row.split for row in with_splits(read)}
        assert {*kept.values()} == {"train", "eval"}


def test_a_video_that_is_gone_and_a_caption_that_is_cut_off_cost_no_other_its_pair(
    mine: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    gone = {"id": "gone", "videos": [{"uri": "gone.mp4"}], "completion": SAID[0]}
    short = {"id": "short", "videos": [{"uri": "b.mp4"}], "completion": SAID[0], "prompt": SHORT}
    lines = manifest(mine, tmp_path, {**gone, "split": "train"}, {**short, "split": "eval"})
    rows = [row for row in rows_at(mine, lines) if row.id != "b"]
    bucket, source = mine.videos, "set/some.jsonl"
    mine.store.put(bucket, source, written(rows, source))
    to = f"s3://{mine.output}/{mine.prefix}some.jsonl"
    with working(mine, decoders):
        done = inside(mine, pairs, f"s3://{bucket}/{source}", "--to", to, "--draws", "2")
    assert "rows whose video is not there: 1, the first is gone" in done.stderr
    # Of `short` the right caption was cut off, and a training would refuse it.
    assert [(row.id, row.chosen) for row in rows_at(mine, to)] == [("a-drawn", SAID[0])]


def test_videos_without_right_captions_need_a_rule(
    mine: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    manifest(mine, tmp_path)
    source, to = f"s3://{mine.videos}/set/", f"s3://{mine.output}/{mine.prefix}ruled.jsonl"
    with pytest.raises(UsageError, match="without a right caption") as caught:
        inside(mine, pairs, source, "--to", to)
    assert "--rejects" in caught.value.cure
    with working(mine, decoders):
        inside(mine, pairs, source, "--to", to, "--draws", "2", "--rejects", "고양이")
    assert [(row.chosen, row.rejected) for row in rows_at(mine, to)] == [(SAID[0], SAID[1])] * 2


def test_where_nobody_draws_it_is_said(mine: World, tmp_path: Path) -> None:
    video = mine.upload(write_clip(tmp_path / "a.mp4", 12), "nobody/a.mp4")
    recipe: Recipe = mine.recipe.model_copy(update={"decoding": Decoding(temperature=1, draw=0)})
    fleet = Candidates(Records(mine.store, mine.settings), mine.queues, patience_s=0.0)
    job = CaptionJob(video=video, recipe=recipe)
    with pytest.raises(Unfinished, match=f"no worker takes jobs from {QUEUE}"):
        list(fleet.drawn([job], lambda: None))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s3://b/m.jsonl", "--to", "s3://b/m.json"], "is no manifest"),
        (["s3://b/m.jsonl", "--to", "s3://b/p.jsonl", "--draws", "0"], "nothing is asked for"),
        (["s3://b/m.jsonl", "--to", "s3://b/p.jsonl", "--rejects", "("], "no regular expression"),
    ],
)
def test_what_is_asked_in_vain_is_said_before_anything_is_done(
    mine: World, words: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        inside(mine, pairs, *words)


def test_a_card_that_takes_the_frames() -> None:
    assert (least_class(None), least_class(8)) == ("t4", "l4")
    with pytest.raises(UsageError, match="no card takes 99 frames"):
        least_class(99)
