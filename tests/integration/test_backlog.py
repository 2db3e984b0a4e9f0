"""Backlogs of a real bucket through a real Redis, with the workers' part played by hand."""

import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from producer.backlog import backlogs, feeder, lines, manifest, scan
from producer.backlog.backlogs import (
    StillGoing,
    cancel,
    delete,
    paused,
    plan,
    read_all,
    read_backlog,
    turn,
)
from producer.backlog.enqueue import Enqueuer
from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.backlog.lines import Lines
from producer.backlog.manifest import Backlog, Manifest, backlog_names
from producer.backlog.scan import create
from producer.bucket import reconcile
from producer.bucket.export import Exported, LocalTarget, backlog_parts, export
from producer.bucket.failures import Wanted, find_failures, redrive
from producer.bucket.reconcile import Reconciled, Reconciler
from producer.jobs import in_flight
from producer.jobs.examine import Examined, examine
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.in_flight import job_names
from producer.jobs.send import messages
from producer.jobs.served import SourcesAway
from producer.jobs.set_aside import all_set_aside, put_back
from producer.verbs import bulk
from shared.broker.apps import caption_app, leased_queues, queues_of
from shared.broker.backlog_progress import BacklogProgress, fed_of
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_producer
from shared.bucket.keys import failure_key, record_key, view_key
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.errors import BrokerRefuses, ConfigError, Conflict, NoSuchBucket, StoreUnavailable
from shared.messages import BacklogLine, Recipe, Video, decode
from tests.backlogs import QUEUE, caption_of, failure_of, fill, take_all, work
from tests.world import World

pytestmark = pytest.mark.integration

SHARD = 16
"""Lines a shard, so that small backlogs have several."""

RECIPE = Recipe(prompt="p", model="m", revision="r")
_numbers = count()


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (manifest, scan, feeder, lines, reconcile, backlogs):
        monkeypatch.setattr(module, "SHARD_LINES", SHARD)


@pytest.fixture
def name(world: World) -> Iterator[str]:
    """Of a backlog, and of the prefix that its videos have. Nothing else is in flight."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(*(f"{world.redis_prefix}:{key}" for key in (QUEUE, "delayed", "unacked")))
    yield f"b{next(_numbers)}"


def start(world: World, name: str, **changes: Any) -> Backlog:
    """Create and scan one of everything under the prefix."""
    source = f"s3://{world.videos}/{name}/"
    recipe = world.recipe.model_copy(update=changes)
    made = create(world.store, world.settings, name, source, recipe, "t4")
    scan.scan(world.store, world.settings, world.queues, made)
    return made


def feed(world: World, backlog: Backlog, room: int = 10**6) -> Feed:
    one = Feed(backlog, world.queues)
    while feed_round([one], lambda queue: room):
        pass
    one.save()
    return one


def status(world: World, name: str) -> dict[str, Any]:
    return read_backlog(world.store, world.settings, world.queues, name)


def reconciler(world: World, **options: Any) -> Reconciler:
    return Reconciler(world.settings, world.store, world.queues, lambda queue: 100, **options)


def wipe(world: World) -> None:
    """Redis has lost everything, of ours."""
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}:*"):
            client.delete(key)


def test_a_prefix_becomes_jobs_once_each_and_progress_is_counted(world: World, name: str) -> None:
    videos = fill(world, name, 40)
    world.store.put(world.videos, f"{name}/readme.txt", b"no video")
    backlog = start(world, name)
    told = status(world, name)
    assert (told["state"], told["videos"], told["fed"]) == ("running", 40, 0)
    assert told["skipped"] == {"not_a_video": 1}
    assert told["size_bytes"] == sum(video.size_bytes for video in videos)
    feed(world, backlog)
    assert status(world, name)["fed"] == 40
    began = int(time.time() / 60)
    done = work(world, failing={3, 30})
    assert [job.video for job in done] == videos  # in their order, and each once
    assert [job.backlog.line for job in done if job.backlog] == list(range(40))
    told = status(world, name)
    assert (told["done"], told["failed"], told["left"]) == (38, {"truncated": 2}, 0)
    assert told["state"] == "done"
    # Of full minutes: what ended before one began is spread over the time since.
    assert 40 / max(time.time() / 60 - began, 1) - 0.1 <= told["per_minute"] <= 40
    assert told["eta_s"] == 0


def test_what_ended_before_is_not_fed(world: World, name: str) -> None:
    videos = fill(world, name, 20)
    records = Records(world.store, world.settings)
    for number in (0, 7, 8, 19):
        job = world.job(videos[number])
        records.write(job, caption_of(job))
    broken = world.job(videos[12])
    records.write_failure(broken, failure_of(broken, "not_a_video"))
    backlog = start(world, name)
    told = status(world, name)
    assert (told["done"], told["failed"], told["left"]) == (4, {"not_a_video": 1}, 15)
    feed(world, backlog)
    assert len(work(world)) == 15
    assert status(world, name)["state"] == "done"


def test_a_name_is_taken_once_and_must_be_one(world: World, name: str) -> None:
    fill(world, name, 1)
    start(world, name)
    with pytest.raises(ConfigError, match="already"):
        start(world, name)
    for bad in ("Upper", "", "a/b", "x" * 64, "-a"):
        with pytest.raises(ConfigError, match="no name"):
            create(world.store, world.settings, bad, "s3://b/p", world.recipe, "t4")
    with pytest.raises(ConfigError, match="no backlog nowhere"):
        status(world, "nowhere")
    assert name in set(backlog_names(world.store, world.settings))


def test_a_queue_is_kept_under_its_mark(world: World, name: str) -> None:
    fill(world, name, 50)
    one = Feed(start(world, name), world.queues)

    def room(queue: str) -> int:
        return max(0, 12 - world.waiting(queue))

    while feed_round([one], room):
        assert world.waiting(QUEUE) <= 12
    assert world.waiting(QUEUE) == 12
    lines = []
    while done := work(world, note=False):
        lines += [job.backlog.line for job in done if job.backlog]
        feed_round([one], room)
    assert lines == list(range(50))


def test_the_mark_follows_what_is_taken(world: World, name: str) -> None:
    now = [0.0]
    marks = HighWaterMarks(world.queues, lambda: now[0])
    assert marks.room(QUEUE) == 5000  # nothing is measured yet
    world.queues.put(QUEUE, ["m"] * 60)
    assert marks.room(QUEUE) == 4940
    taken_at_once(world, 50)
    now[0] = 10.0
    assert marks.room(QUEUE) == 600 - 10  # 5 a second, for two minutes
    world.queues.put(QUEUE, ["m"] * 1000)
    taken_at_once(world, 1010)
    now[0] = 11.0
    assert marks.room(QUEUE) == 5000  # the most
    now[0] = 60.0
    marks.room(QUEUE)
    now[0] = 70.0
    assert marks.room(QUEUE) == 100  # nothing was taken lately


def taken_at_once(world: World, messages: int) -> None:
    for _ in range(messages):
        delivery = world.queues.take(world.queues.new_lease(), [QUEUE])
        assert delivery
        world.queues.ack([delivery.lease])


def test_backlogs_take_turns(world: World, name: str) -> None:
    fill(world, name, 40)
    feeds = [Feed(start(world, name), world.queues)]
    small = f"{name}-small"
    fill(world, small, 5)
    feeds.append(Feed(start(world, small), world.queues))
    while feed_round(feeds, lambda queue: max(0, 10 - world.waiting(queue))):
        pass
    waiting = Counter(job.video.key.split("/")[0] for job in work(world))
    assert waiting == {name: 5, small: 5}


def test_what_lies_in_a_bucket_that_is_away_is_not_fed(world: World, name: str) -> None:
    fill(world, name, 5)
    one = Feed(start(world, name), world.queues)

    def beat(worker: LeasedQueues, *away: str) -> None:
        worker.beat({"queues": [QUEUE], "away": away}, [])

    knows, does_not = (leased_queues(world.settings, f"{world.redis_prefix}:") for _ in range(2))
    beat(knows, world.videos)
    assert feed_round([one], lambda queue: 10, SourcesAway(world.queues).of) == 0
    beat(does_not, "another")
    try:
        assert feed_round([one], lambda queue: 2, SourcesAway(world.queues).of) == 2
        beat(does_not, "another", world.videos)
        assert feed_round([one], lambda queue: 10, SourcesAway(world.queues).of) == 0
        beat(knows)
        assert feed_round([one], lambda queue: 10, SourcesAway(world.queues).of) == 3
    finally:
        for worker in (knows, does_not):
            worker.leave()


def test_two_feeders_at_once_put_each_job_once(world: World, name: str) -> None:
    fill(world, name, 100)
    backlog = start(world, name)
    feeds = [Feed(backlog, world.queues) for _ in range(4)]

    def run(one: Feed) -> None:
        while one.waits:
            feed_round([one], lambda queue: 7)

    threads = [threading.Thread(target=run, args=(one,)) for one in feeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = Counter(job.backlog.line for job in work(world) if job.backlog)
    assert set(lines) == set(range(100))
    assert max(lines.values()) == 1


def test_a_feeder_that_dies_between_redis_and_the_bucket_repeats_nothing(
    world: World, name: str
) -> None:
    fill(world, name, 30)
    backlog = start(world, name)
    dead = Feed(backlog, world.queues)
    dead.step(10)
    assert backlog.cursor()[0].fed == 0  # it had no time to say so
    feed(world, backlog)
    assert [job.backlog.line for job in work(world) if job.backlog] == list(range(30))


def test_pause_resume_and_cancel(world: World, name: str) -> None:
    fill(world, name, 30)
    backlog = start(world, name)
    one = Feed(backlog, world.queues)
    one.step(10)
    turn(world.store, world.settings, name, "paused")
    one.look()
    assert feed_round([one], lambda queue: 10) == 0
    assert status(world, name)["state"] == "paused"
    turn(world.store, world.settings, name, "running")
    one.look()
    assert feed_round([one], lambda queue: 10) == 6  # to the end of its shard
    # One runs, one waits for another try, and a job of somebody else is on the same queue.
    delivery = world.queues.take(world.queues.new_lease(), [QUEUE])
    later = world.queues.take(world.queues.new_lease(), [QUEUE])
    assert delivery and later
    world.queues.release(later.lease, later.history, delay_s=60)
    other = world.job(fill(world, f"{name}-other", 1)[0])
    world.queues.put(QUEUE, messages([other]))
    assert cancel(world.store, world.settings, world.queues, name) == 15
    assert one.step(10) == 0  # a feeder that has not looked yet puts nothing
    assert not one.running
    assert [job.id for _, job in take_all(world)] == [other.id]
    assert world.queues.ack([delivery.lease]) == 1
    told = status(world, name)
    assert (told["state"], told["fed"]) == ("cancelled", 16)
    with pytest.raises(ConfigError, match="was cancelled"):
        turn(world.store, world.settings, name, "running")


def test_a_job_that_comes_back_while_its_backlog_is_cancelled_is_withdrawn_too(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, name, 1)
    feed(world, start(world, name))
    ((delivery, job),) = take_all(world)
    world.queues.release(delivery.lease, delivery.history, delay_s=60)
    look = in_flight._delayed

    def due(queues: LeasedQueues) -> list[bytes]:
        for member in look(queues):  # after the queues were looked at
            queues.redis.zrem(f"{queues.prefix}delayed", member)
            queues.put(QUEUE, messages([job]))
        return look(queues)

    monkeypatch.setattr(in_flight, "_delayed", due)
    assert cancel(world.store, world.settings, world.queues, name) == 1
    assert world.waiting(QUEUE) == 0


def test_a_scan_that_was_cut_goes_on(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = fill(world, name, 50)
    source = f"s3://{world.videos}/{name}/"
    made = create(world.store, world.settings, name, source, world.recipe, "t4")

    class Cut(Exception):
        pass

    def cut(told: manifest.Manifest) -> None:
        if told.shards == 2:
            raise Cut

    with pytest.raises(Cut):
        scan.scan(world.store, world.settings, world.queues, made, cut)
    assert status(world, name)["state"] == "scanning"
    feed(world, made)  # what there is can be fed
    assert world.waiting(QUEUE) == 2 * SHARD
    scan.scan(world.store, world.settings, world.queues, made)
    feed(world, made)
    assert [job.video for job in work(world)] == videos


def test_two_scans_at_once_are_noticed(world: World, name: str) -> None:
    fill(world, name, 40)
    source = f"s3://{world.videos}/{name}/"
    made = create(world.store, world.settings, name, source, world.recipe, "t4")

    def also(told: manifest.Manifest) -> None:
        if told.shards == 1:
            scan.scan(world.store, world.settings, world.queues, made)

    with pytest.raises(Conflict, match="another process"):
        scan.scan(world.store, world.settings, world.queues, made, also)
    assert status(world, name)["videos"] == 40


def test_progress_is_exact_however_often_it_is_told(world: World, name: str) -> None:
    progress = BacklogProgress(world.queues, name)
    for line, outcome in ((1, "failed:gone"), (1, "done"), (1, "done"), (1, "failed:gone")):
        progress.note(line, outcome)
    for line in (3, 3, 9):
        progress.note(line, "failed:gone")
    progress.note(9, "failed:truncated")  # tried again, and failed otherwise
    counts = progress.counts()
    assert (counts.done, counts.failed) == (1, {"gone": 1, "truncated": 1})
    assert progress.ended(0, 8) == {1, 3}
    assert progress.ended(8, 16) == {9}


def test_the_shard_of_a_scan_that_was_too_late_is_nobodys(world: World, name: str) -> None:
    extra = f"{name}/!.mp4"
    world.store.put(world.videos, extra, b"1")
    videos = fill(world, name, 40)
    source = f"s3://{world.videos}/{name}/"
    made = create(world.store, world.settings, name, source, world.recipe, "t4")
    late = Backlog(world.store, world.settings, name)
    write = late.write_shard

    def first(number: int, some: Sequence[Video]) -> str:
        world.store.delete(world.videos, extra)  # which the late one has listed
        scan.scan(world.store, world.settings, world.queues, made)
        return write(number, some)

    late.write_shard = first  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="another process"):
        scan.scan(world.store, world.settings, world.queues, late)
    feed(world, made)
    assert [job.video for job in work(world)] == [one for one in videos if one.key != extra]
    assert status(world, name)["state"] == "done"


def test_what_a_scan_found_before_it_was_cut_is_believed_of_no_other_video(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = fill(world, name, 20)
    records = Records(world.store, world.settings)
    for video in videos[:3]:
        records.write(world.job(video), caption_of(world.job(video)))
    source = f"s3://{world.videos}/{name}/"
    made = create(world.store, world.settings, name, source, world.recipe, "t4")

    def away(told: manifest.Manifest, etag: str) -> str:
        raise StoreUnavailable("it is away for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(made, "save", away)
        with pytest.raises(StoreUnavailable):
            scan.scan(world.store, world.settings, world.queues, made)
    world.store.put(world.videos, f"{name}/!.mp4", b"1")  # now line n is another video
    scan.scan(world.store, world.settings, world.queues, made)
    feed(world, made)
    asked = [job.video.key for job in work(world)]
    assert asked == [f"{name}/!.mp4", *(video.key for video in videos[3:])]
    told = status(world, name)
    assert (told["state"], told["done"]) == ("done", 21)


def test_a_manifest_is_read_by_an_earlier_jamak_unless_a_shard_has_another_name() -> None:
    first = Manifest(
        name="n",
        source="s",
        recipe=RECIPE,
        card="t4",
        lines=2 * SHARD,
        created_at=datetime.now(UTC),
    )
    assert "names" not in json.loads(first.as_json())
    assert json.loads(first.as_json())["v"] == 1
    assert decode(Manifest, first.as_json()).shard_name(1) == "00001"
    again = decode(Manifest, first.as_json()).model_copy(update={"names": {1: "00001-b"}})
    assert json.loads(again.as_json())["v"] == 2
    kept = decode(Manifest, again.as_json())
    assert [kept.shard_name(number) for number in range(2)] == ["00000", "00001-b"]


def test_what_the_bucket_says_of_a_line_is_counted_once(world: World, name: str) -> None:
    progress = BacklogProgress(world.queues, name)
    progress.note(0, "failed:set_aside")
    progress.note(1, "done")  # after the bucket was asked, which knew of its failure only
    progress.note(2, "failed:gone")
    found = {"failed:truncated": [0, 1], "done": [3]}
    progress.merge(0, 8, found, missing=())
    counts = progress.counts()
    assert (counts.done, counts.failed) == (2, {"truncated": 1, "gone": 1})
    assert progress.ended(0, 8) == {0, 1, 2, 3}


def test_a_look_whether_redis_lets_us_touches_no_backlog(world: World) -> None:
    progress = BacklogProgress(world.queues, "prove")
    progress.note(1, "done")
    progress.feed(QUEUE, 0, 2, [])
    with redis.Redis.from_url(world.redis_url) as client:
        kept = [f"{world.redis_prefix}:backlog:prove:{key}" for key in ("fed", "outcomes")]
        prove_producer(world.queues)
        assert all(client.ttl(key) > 60 for key in kept)
    progress.forget()


def test_after_a_loss_of_redis_reconcile_alone_completes_a_backlog(world: World, name: str) -> None:
    videos = fill(world, name, 60)
    backlog = start(world, name)
    one = Feed(backlog, world.queues)
    for _ in range(3):
        one.step(SHARD)
    one.save()
    work(world, 20)
    wipe(world)
    told = reconciler(world).backlog(Feed(backlog, world.queues))
    assert (told.videos, told.done, told.enqueued) == (64 - SHARD, 20, 28)
    assert status(world, name)["done"] == 20  # counted anew
    feed(world, backlog)
    work(world)
    assert status(world, name)["state"] == "done"
    keys = [record_key(world.prefix, world.job(video)) for video in videos]
    written = world.times_written(f"{world.prefix}records/{world.videos}/")
    assert [written[key] for key in keys] == [1] * len(videos)


def test_reconcile_leaves_alone_what_is_in_flight(world: World, name: str) -> None:
    fill(world, name, 12)
    backlog = start(world, name)
    one = feed(world, backlog)
    running = world.queues.take(world.queues.new_lease(), [QUEUE])
    later = world.queues.take(world.queues.new_lease(), [QUEUE])
    assert running and later
    world.queues.release(later.lease, later.history, delay_s=60)
    assert len(job_names(world.queues)) == 12
    told = reconciler(world).backlog(one)
    assert (told.enqueued, told.in_flight) == (0, 12)
    assert world.waiting(QUEUE) == 10


def test_a_job_in_flight_hides_no_other_one_of_its_id(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Video, "video8", "0" * 8)
    videos = fill(world, name, 2)
    world.queues.put(QUEUE, messages([world.job(videos[0])]))
    asked = reconciler(world).videos(videos, world.recipe, "t4", QUEUE)
    assert (asked.in_flight, asked.enqueued) == (1, 1)


def test_reconcile_enqueues_nothing_of_what_is_paused_or_cancelled(world: World, name: str) -> None:
    fill(world, name, 6)
    backlog = start(world, name)
    feed(world, backlog)
    wipe(world)
    for state in ("paused", "cancelled"):
        turn(world.store, world.settings, name, state)  # type: ignore[arg-type]
        told = reconciler(world).backlog(Feed(backlog, world.queues))
        assert (told.missing, told.enqueued, world.waiting(QUEUE)) == (6, 0, 0)


def test_a_broken_backlog_does_not_keep_the_others(world: World, name: str) -> None:
    fill(world, name, 20)
    start(world, name)
    for other in ("shard", "manifest"):
        fill(world, f"{name}-{other}", 20)
        start(world, f"{name}-{other}")
    folder = f"{world.prefix}backlogs/{name}"
    world.store.delete(world.output, f"{folder}-shard/shards/00000.jsonl.gz")
    world.store.put(world.output, f"{folder}-manifest/manifest.json", b"{")
    both = [Feed(Backlog(world.store, world.settings, f"{name}-shard"), world.queues)]
    both.append(Feed(Backlog(world.store, world.settings, name), world.queues))
    assert feed_round(both, lambda queue: 10) == 5
    assert both[0].broken
    rounds = iter([False] * 8 + [True])
    feeder = Feeder(
        lambda: [f"{name}-manifest", f"{name}-shard", name],
        partial(fed_of, world.queues),
        lambda one: Feed(Backlog(world.store, world.settings, one), world.queues),
        lambda queue: 30,
        lambda pause_s: next(rounds),
    )
    feeder.run()
    # Of those that can be read; the one that was made last, last.
    assert list(feeder.lines().items()) == [(name, 20), (f"{name}-shard", 20)]
    assert Counter(job.video.key.split("/")[0] for job in work(world)) == {name: 20}


@pytest.mark.parametrize("what", ["manifest.json", "cursor.json", "shards/00000.jsonl.gz"])
def test_a_backlog_that_the_store_fails_at_does_not_keep_the_others(
    world: World, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a store does that has lost the parts of one object."""
    sick = f"{name}-sick"
    for one in (name, sick):
        fill(world, one, 20)
        start(world, one)
    lost, get = f"{world.prefix}backlogs/{sick}/{what}", ObjectStore.get_with_etag

    def fails(store: ObjectStore, bucket: str, key: str, *most: int) -> tuple[bytes, str]:
        if key == lost:
            raise StoreUnavailable(f"s3://{bucket}/{key}: 503")
        return get(store, bucket, key, *most)

    monkeypatch.setattr(ObjectStore, "get_with_etag", fails)
    rounds = iter([False] * 8 + [True])
    Feeder(
        lambda: [sick, name],
        partial(fed_of, world.queues),
        lambda one: Feed(Backlog(world.store, world.settings, one), world.queues),
        lambda queue: 30,
        lambda pause_s: next(rounds),
    ).run()
    assert Counter(job.video.key.split("/")[0] for job in work(world)) == {name: 20}
    listed = read_all(world.store, world.settings, world.queues)
    states = {one["name"]: one["state"] for one in listed if one["name"] in (name, sick)}
    assert states == {name: "done", sick: "running" if "shards" in what else "unreadable"}


def test_a_store_that_is_away_is_no_backlog_that_cannot_be_read(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, name, 2)
    one = Feed(start(world, name), world.queues)

    def away(*asked: object, **how: object) -> None:
        raise StoreUnavailable("503")

    for ask in ("get_with_etag", "get_range"):
        monkeypatch.setattr(ObjectStore, ask, away)
    for read in (one.look, lambda: one.step(1)):
        with pytest.raises(StoreUnavailable):
            read()
    assert one.broken is None


def test_reconcile_renders_the_views_that_are_missing(world: World, name: str) -> None:
    videos = fill(world, name, 5)
    backlog = start(world, name)
    feed(world, backlog)
    work(world, views=False)
    gone = view_key(world.prefix, world.videos, videos[2].key, ".vtt")
    told = reconciler(world, dry_run=True).backlog(Feed(backlog, world.queues))
    assert told.rendered == 5
    assert not world.store.exists(world.output, gone)
    told = reconciler(world).backlog(Feed(backlog, world.queues))
    assert told.rendered == 5
    world.store.delete(world.output, gone)
    assert reconciler(world).backlog(Feed(backlog, world.queues)).rendered == 1
    assert world.store.exists(world.output, gone)


def test_a_record_that_was_deleted_is_missing_again(world: World, name: str) -> None:
    videos = fill(world, name, 10)
    backlog = start(world, name)
    feed(world, backlog)
    work(world)
    world.store.delete(world.output, record_key(world.prefix, world.job(videos[4])))
    told = reconciler(world).backlog(Feed(backlog, world.queues))
    assert (told.done, told.enqueued) == (9, 1)
    assert status(world, name)["left"] == 1
    work(world)
    assert status(world, name)["state"] == "done"


def test_an_address_is_reconciled_without_a_backlog(world: World, name: str) -> None:
    videos = fill(world, name, 40)
    records = Records(world.store, world.settings)
    for number in range(0, 40, 2):
        job = world.job(videos[number])
        records.write(job, caption_of(job))
        records.render(caption_of(job))
    broken = world.job(videos[1])
    records.write_failure(broken, failure_of(broken))
    told = reconciler(world).videos(videos, world.recipe, "t4", QUEUE)
    assert told == Reconciled(videos=40, done=20, failed={"truncated": 1}, missing=19, enqueued=19)
    assert {job.video for job in work(world)} == {videos[i] for i in range(3, 40, 2)}


def test_a_plan_counts_and_enqueues_nothing(world: World, name: str) -> None:
    videos = fill(world, name, 9)
    job = world.job(videos[0])
    Records(world.store, world.settings).write(job, caption_of(job))
    source = f"s3://{world.videos}/{name}/"
    told = plan(world.store, world.settings, world.queues, source, world.recipe, "t4")
    assert (told.videos, told.captioned, told.left) == (9, 1, 8)
    assert told.classes == []  # nobody serves, so nothing is measured
    queues = world.queues
    queues.beat({"queues": [QUEUE], "card": "t4", "jobs_per_busy_s": 0.5}, [])
    idle = queues_of(caption_app(world.settings))  # another worker
    idle.beat({"queues": [QUEUE], "card": "l4", "jobs_per_busy_s": None}, [])
    told = plan(world.store, world.settings, world.queues, source, world.recipe, "t4")
    t4, l4 = told.classes
    assert (t4.card, t4.eta_s, t4.usd) == ("t4", 16.0, round(8 / 0.5 / 3600 * 0.526, 2))
    assert (l4.card, l4.jobs_per_s, l4.eta_s, l4.usd) == ("l4", None, None, None)
    assert "2025" in told.prices
    queues.leave()
    idle.leave()
    assert world.waiting(QUEUE) == 0
    assert backlogs.as_dict(told)["left"] == 8


def test_enqueueing_a_key_and_a_prefix(world: World, name: str) -> None:
    videos = fill(world, name, 3)
    done = world.job(videos[1])
    Records(world.store, world.settings).write(done, caption_of(done))
    options = (world.settings, world.store, world.queues, world.recipe, "t4")
    dry, wet = Enqueuer(*options, True), Enqueuer(*options, False)
    told = dry.take(f"s3://{world.videos}/{name}/")
    assert not isinstance(told, Backlog)
    assert (told.enqueued, told.already, told.backlogs) == (2, 1, [])
    one = wet.take(done.video.uri)
    assert not isinstance(one, Backlog)
    assert (one.enqueued, one.already, one.queues) == (0, 1, ["caption.t4"])
    made = wet.take(f"s3://{world.videos}/{name}/")
    assert isinstance(made, Backlog)
    scan.scan(world.store, world.settings, world.queues, made)
    told = wet.scanned(made)
    assert (told.enqueued, told.already, told.queues) == (2, 1, [QUEUE])
    with pytest.raises(ConfigError, match="nothing is at"):
        wet.take(f"s3://{world.videos}/no-such-prefix/")


def test_the_feeder_finds_feeds_and_finishes_all_backlogs(world: World, name: str) -> None:
    fill(world, name, 20)
    backlog = start(world, name)
    rounds = iter([False] * 5 + [True])
    Feeder(
        lambda: [name],
        partial(fed_of, world.queues),
        lambda one: Feed(Backlog(world.store, world.settings, one), world.queues),
        lambda queue: 10,
        lambda pause_s: next(rounds),
    ).run()
    assert world.waiting(QUEUE) == 20
    assert backlog.cursor()[0].fed == 20


def files(world: World, name: str) -> list[str]:
    return [one.key for one in world.store.list(world.output, f"{world.prefix}backlogs/{name}/")]


def scan_new(world: World, name: str, source: str) -> Backlog:
    made = create(world.store, world.settings, name, source, world.recipe, "t4")
    scan.scan_new(world.store, world.settings, world.queues, made)
    return made


def test_a_backlog_of_no_video_says_so_and_its_name_stays_free(
    world: World, name: str, tmp_path: Path
) -> None:
    source = f"s3://{world.videos}/{name}/"
    with pytest.raises(scan.NoVideos, match="nothing is there"):
        scan_new(world, name, source)
    for number in range(3):
        world.store.put(world.videos, f"{name}/{number}.txt", b"no video")
    with pytest.raises(scan.NoVideos, match=r"3 keys were skipped \(not_a_video 3\)"):
        scan_new(world, name, source)
    (tmp_path / "keys").write_text("")
    with pytest.raises(scan.NoVideos):
        scan_new(world, name, str(tmp_path / "keys"))
    (tmp_path / "keys").write_text(f"s3://{world.videos}/a.mp4\nvideos/b.mp4\n")
    with pytest.raises(ConfigError, match="line 2 of"):
        scan_new(world, name, str(tmp_path / "keys"))
    with pytest.raises(NoSuchBucket):
        scan_new(world, name, "s3://no-such-bucket-of-ours/films/")
    assert files(world, name) == []
    fill(world, name, 2)
    assert scan_new(world, name, source).manifest()[0].lines == 2


def test_a_scan_that_fails_leaves_another_backlog_of_its_name(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, name, 2)
    source, other = f"s3://{world.videos}/{name}/", f"s3://{world.videos}/{name}-other/"

    def meanwhile(*arguments: Any) -> Examined:
        remove(world, name, force=True)
        create(world.store, world.settings, name, other, world.recipe, "t4")
        return examine(*arguments)

    monkeypatch.setattr(scan, "examine", meanwhile)
    with pytest.raises(Conflict, match="was deleted"):
        scan_new(world, name, source)
    assert Backlog(world.store, world.settings, name).manifest()[0].source == other


def test_a_scan_that_is_stopped_keeps_what_it_has(world: World, name: str) -> None:
    fill(world, name, 40)
    source = f"s3://{world.videos}/{name}/"

    def stop(told: manifest.Manifest) -> None:
        raise KeyboardInterrupt

    made = create(world.store, world.settings, name, source, world.recipe, "t4")
    with pytest.raises(KeyboardInterrupt):
        scan.scan_new(world.store, world.settings, world.queues, made, stop)
    assert made.manifest()[0].lines == SHARD
    scan.scan(world.store, world.settings, world.queues, made)
    assert made.manifest()[0].lines == 40


def keys_of(world: World, name: str) -> set[str]:
    """Redis' keys about a backlog."""
    with redis.Redis.from_url(world.redis_url) as client:
        start = f"{world.redis_prefix}:backlog:{name}:"
        return {key.decode().removeprefix(start) for key in client.scan_iter(f"{start}*")}


def minute_later(world: World, name: str) -> None:
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(f"{world.redis_prefix}:backlog:{name}:fed")


def remove(world: World, name: str, *, force: bool = False) -> None:
    delete(world.store, world.settings, world.queues, name, force=force)


def test_a_backlog_that_is_over_is_deleted_and_its_name_is_free(world: World, name: str) -> None:
    videos = fill(world, name, 20)
    backlog = start(world, name)
    one = feed(world, backlog)
    with pytest.raises(StillGoing, match="is running"):
        remove(world, name)
    running = world.queues.take(world.queues.new_lease(), [QUEUE])
    assert running
    work(world)
    with pytest.raises(StillGoing, match="1 jobs of"):
        remove(world, name, force=True)  # it would be counted for the next one of this name
    world.queues.ack([running.lease])
    assert status(world, name)["state"] == "cancelled"
    remove(world, name)
    assert files(world, name) == []
    assert keys_of(world, name) == {"fed"}  # a minute long it holds feeders back
    listed = read_all(world.store, world.settings, world.queues)
    assert name not in {told["name"] for told in listed}
    with pytest.raises(ConfigError, match="no backlog"):
        remove(world, name)
    with pytest.raises(ConfigError, match="no backlog"):
        one.backlog.advance(5)
    assert files(world, name) == []  # nobody brings a part of it back
    record = record_key(world.prefix, world.job(videos[3]))
    assert world.store.exists(world.output, record)
    start(world, name, generation=1)
    told = status(world, name)
    assert (told["state"], told["fed"], told["done"], told["left"]) == ("running", 0, 0, 20)


@pytest.mark.parametrize("how", ["failed", "set aside"])
def test_what_is_sent_again_counts_for_no_later_backlog_of_the_name(
    world: World, name: str, how: str
) -> None:
    fill(world, f"{name}-old", 3)
    videos = fill(world, name, 3)

    def started(source: str) -> Backlog:
        made = create(
            world.store, world.settings, name, f"s3://{world.videos}/{source}/", world.recipe, "t4"
        )
        scan.scan_new(world.store, world.settings, world.queues, made)
        minute_later(world, name)
        return made

    feed(world, started(f"{name}-old"))
    if how == "failed":
        work(world, failing=range(3))
    else:
        for delivery, _ in take_all(world):
            world.queues.poison(delivery.lease, "unwritable")
    remove(world, name)
    backlog = started(name)
    if how == "failed":
        wanted = Wanted(world.videos, f"{name}-old/")
        found = list(find_failures(world.store, world.settings, wanted))
        redrive(world.store, world.settings, world.queues, found, lambda queue: 10)
    else:
        own = Lines(world.store, world.settings).own
        assert put_back(world.queues, list(all_set_aside(world.queues)), own) == 3
    assert {job.video.key.split("/")[0] for job in work(world)} == {f"{name}-old"}
    assert status(world, name)["done"] == 0
    feed(world, backlog)
    assert [job.video for job in work(world)] == videos
    assert status(world, name)["done"] == 3


def test_what_is_sent_again_keeps_a_line_that_is_its_own(world: World, name: str) -> None:
    """Also in a later backlog of the name."""
    fill(world, name, 3)
    for _ in range(2):
        backlog = start(world, name)
        asked = Lines(world.store, world.settings)
        for line, video in enumerate(backlog.shard("00000")):
            job = world.job(video).model_copy(update={"backlog": BacklogLine(name=name, line=line)})
            assert asked.own(job) == job
            other = job.model_copy(update={"recipe": RECIPE})
            assert asked.own(other) == other.model_copy(update={"backlog": None})
        remove(world, name, force=True)
    assert Lines(world.store, world.settings).own(job).backlog is None


def test_captions_of_another_backlog_of_the_name_are_no_part_of_its_export(
    world: World, name: str, tmp_path: Path
) -> None:
    def exported() -> Exported:
        return export(
            backlog_parts(world.store, world.settings, name), LocalTarget(tmp_path), "jsonl"
        )

    fill(world, name, 3)
    feed(world, start(world, name))
    work(world)
    assert exported().parts == 1
    assert exported().kept == 1
    remove(world, name)
    backlog = start(world, name, generation=1)
    minute_later(world, name)
    feed(world, backlog)
    work(world)
    assert exported().parts == 1
    (part,) = tmp_path.glob("part-*")
    rows = [json.loads(line) for line in gzip.decompress(part.read_bytes()).splitlines()]
    assert [row["recipe"]["generation"] for row in rows] == [1, 1, 1]


def test_what_is_left_of_a_backlog_is_deleted(world: World, name: str) -> None:
    fill(world, name, 20)
    start(world, name)
    folder = f"{world.prefix}backlogs/{name}/"
    world.store.put(world.output, f"{folder}manifest.json", b"{")
    with pytest.raises(StillGoing, match="unreadable"):
        remove(world, name)
    remove(world, name, force=True)
    start(world, name)
    world.store.delete(world.output, f"{folder}manifest.json")
    remove(world, name)
    assert files(world, name) == []


def test_progress_of_files_that_somebody_deleted_does_not_count(world: World, name: str) -> None:
    fill(world, name, 3)
    feed(world, start(world, name))
    work(world)
    for key in files(world, name):
        world.store.delete(world.output, key)
    again = create(
        world.store,
        world.settings,
        name,
        f"s3://{world.videos}/{name}/",
        world.recipe.model_copy(update={"generation": 1}),
        "t4",
    )
    scan.scan_new(world.store, world.settings, world.queues, again)
    told = status(world, name)
    assert (told["done"], told["fed"], told["left"]) == (0, 0, 3)


def test_a_feeder_does_not_trip_over_a_backlog_that_is_deleted_under_it(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Feeder, "LOOK_S", 0.0)
    monkeypatch.setattr(Feeder, "FIND_S", 0.0)
    other = f"{name}-other"
    fill(world, name, 40)
    fill(world, other, 40)
    start(world, name)
    start(world, other)
    fill(world, f"{name}-new", 20)

    def replace(source: str, *, force: bool = False) -> None:
        remove(world, name, force=force)
        recipe = world.recipe.model_copy(update={"generation": len(steps)})
        made = create(
            world.store, world.settings, name, f"s3://{world.videos}/{source}/", recipe, "t4"
        )
        scan.scan_new(world.store, world.settings, world.queues, made)
        minute_later(world, name)

    def end() -> None:
        done.append(Counter(job.video.key.split("/")[0] for job in work(world)))

    steps: list[Callable[[], object]] = [
        lambda: remove(world, other, force=True),  # while it is fed
        lambda: replace(f"{name}-new", force=True),  # while it is fed: now it is another one
        *[lambda: None] * 4,
        end,
        lambda: replace(name),  # when it was fed to its end
        *[lambda: None] * 5,
        end,
    ]
    done: list[Counter[str]] = []

    def wait(pause_s: float) -> bool:
        if not steps:
            return True
        steps.pop(0)()
        return False

    Feeder(
        lambda: list(
            filter({name, other}.__contains__, backlog_names(world.store, world.settings))
        ),
        partial(fed_of, world.queues),
        lambda one: Feed(Backlog(world.store, world.settings, one), world.queues),
        lambda queue: 24,
        wait,
    ).run()
    assert done == [{f"{name}-new": 20}, {name: 40}]
    assert files(world, other) == []


def test_many_backlogs_are_listed_and_one_that_cannot_be_read_is_told(
    world: World, name: str
) -> None:
    fill(world, name, 2)
    source = f"s3://{world.videos}/{name}/"
    names = [f"{name}-{number:02}" for number in range(20)]
    for one in names:
        create(world.store, world.settings, one, source, world.recipe, "t4")
    world.store.put(world.output, f"{world.prefix}backlogs/{names[7]}/manifest.json", b"{")
    world.store.delete(world.output, f"{world.prefix}backlogs/{names[8]}/manifest.json")
    told = read_all(world.store, world.settings, world.queues)
    states = {one["name"]: one["state"] for one in told if one["name"] in names}
    assert list(states) == [one for one in names if one != names[8]]
    assert Counter(states.values()) == {"scanning": 18, "unreadable": 1}


NO_BUCKET = "no-such-bucket-of-ours"


def test_a_backlog_that_cannot_be_had_now_is_not_gone(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, name, 20)
    one = Feed(start(world, name), world.queues)
    one.step(4)
    with monkeypatch.context() as within:
        within.setattr(one.backlog, "_bucket", NO_BUCKET)
        for ask in (one.look, one.save):
            with pytest.raises(NoSuchBucket):
                ask()
    one.look()
    assert one.running and not one.finished
    elsewhere = world.settings.model_copy(update={"output": f"s3://{NO_BUCKET}/"})
    lost = Feeder(
        lambda: [name],
        lambda names: [],
        lambda one: Feed(Backlog(world.store, elsewhere, one), world.queues),
        lambda queue: 10,
        lambda pause_s: True,
    )
    with pytest.raises(NoSuchBucket):
        lost.round()
    monkeypatch.setattr(backlogs, "backlog_names", lambda *_: [name])
    with pytest.raises(NoSuchBucket):
        paused(world.store, elsewhere)


@pytest.fixture
def refused(world: World) -> Iterator[LeasedQueues]:
    """As a user of Redis that may not read how far a backlog is."""
    address = urlsplit(world.redis_url)
    user = f"{world.redis_prefix}-limited"
    with redis.Redis.from_url(world.redis_url) as client:
        client.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all", "-get")
        place = address.netloc.rpartition("@")[2]
        url = address._replace(netloc=f"{user}:pw@{place}").geturl()
        yield LeasedQueues(url, f"{world.redis_prefix}:", 30)
        client.execute_command("ACL", "DELUSER", user)


def test_a_backlog_of_which_redis_says_nothing_is_not_over(
    world: World, name: str, refused: LeasedQueues
) -> None:
    fill(world, name, 2)
    start(world, name)
    with pytest.raises(BrokerRefuses):
        delete(world.store, world.settings, refused, name)
    with pytest.raises(BrokerRefuses):
        read_all(world.store, world.settings, refused)
    assert status(world, name)["state"] == "running"


def test_feeding_says_so_if_its_backlog_is_cancelled_or_deleted(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, name, 20)
    start(world, name)

    def meanwhile(*arguments: Any) -> int:
        cancel(world.store, world.settings, world.queues, name)
        return feed_round(*arguments)

    monkeypatch.setattr(bulk, "feed_round", meanwhile)
    with pytest.raises(Conflict, match="cancelled or deleted after 0 videos"):
        bulk.feed_here(world.settings, world.store, world.queues, name)


def test_long_keys_and_keys_that_begin_alike_are_told_apart(world: World, name: str) -> None:
    """A record's key is its video's with an ending, which changes how keys sort."""
    keys = [f"{name}/a", *(f"{name}/a-{i}" for i in range(30)), f"{name}/{'ㄱ' * 300}"]
    videos = [
        Video(bucket=world.videos, key=f"{key}.mp4", etag=str(i), size_bytes=1)
        for i, key in enumerate(keys)
    ]
    done = {0, 5, 17, 30, 31}
    for i in done:
        job = world.job(videos[i])
        world.store.put(world.output, record_key(world.prefix, job), b"{}")
    job = world.job(videos[2])
    body = failure_of(job, "gone").model_dump_json().encode()
    world.store.put(world.output, failure_key(world.prefix, job), body)
    found = examine(world.store, world.settings, world.recipe, videos)
    assert found.done == done
    assert found.failed == {"gone": {2}}
    assert found.missing == [i for i in range(32) if i not in done | {2}]


def test_an_upload_goes_before_a_backlog(world: World, name: str, tmp_path: Path) -> None:
    """Three fresh messages for one of a backlog: an upload waits for one job at most."""
    from shared.broker.queue_order import QueueOrder

    fill(world, name, 40)
    feed(world, start(world, name))
    order = QueueOrder(["caption.t4", QUEUE])

    def take() -> str:
        turn = order.next()
        delivery = world.queues.take(
            world.queues.new_lease(), turn.queues, passed_over=turn.passed_over
        )
        assert delivery
        order.took(delivery.queue)
        world.queues.ack([delivery.lease])
        return delivery.queue

    for _ in range(12):  # whenever the upload comes
        take()
        world.queues.put("caption.t4", ["upload"])
        assert "caption.t4" in (take(), take())
        while world.waiting("caption.t4"):
            take()
