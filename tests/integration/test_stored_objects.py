"""What lies in the bucket and cannot be read, or was mangled on its way: it alone is the matter."""

import io
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import FlexibleChecksumError
from botocore.response import StreamingBody

from producer.backlog import manifest
from producer.backlog.feeder import Feed, Feeder
from producer.backlog.manifest import Backlog, backlog_names
from producer.backlog.scan import create, scan_new
from producer.bucket.failures import Wanted, find_failures
from producer.jobs.examine import examine
from producer.verbs.adapters import adapters
from producer.verbs.backlog import backlog as backlog_verbs
from producer.verbs.bulk import export
from producer.verbs.captions import status
from producer.verbs.failures import failures
from producer.verbs.training import train
from shared.broker.backlog_progress import fed_of
from shared.bucket import stored
from shared.bucket.formats import to_json
from shared.bucket.keys import failure_key, part_key, record_key, training_folder, view_key
from shared.bucket.records import VIEWS, Records
from shared.bucket.registry import ADAPTER_FILES
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.bucket.training import TrainingRecords
from shared.errors import DamagedObject, NewerObject
from shared.messages import Caption, CaptionJob, Cuts, ModelIdentity, Video
from tests.adapters import publish
from tests.backlogs import caption_of, failure_of, fill
from tests.next_version import next_of
from tests.training import make_job
from tests.verbs import inside
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.jobs.parts import Parts
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration

DAMAGED = b'{"v": 1, "sta'


@pytest.fixture
def place(world: World) -> World:
    """Queues and an output of each test's own."""
    return replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")


@pytest.fixture
def job(place: World, request: pytest.FixtureRequest) -> CaptionJob:
    return job_of(place, f"{request.node.name}.mp4")


@pytest.fixture
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)  # starts none before it is asked
    yield pool
    pool.close()


def job_of(world: World, key: str) -> CaptionJob:
    return world.job(Video(bucket=world.videos, key=key, etag="0" * 32, size_bytes=1))


def newer_than(caption: Caption) -> Caption:
    """As the next version writes it."""
    told = caption.model_dump() | {"v": Caption.model_fields["v"].default + 1, "jamak": "99.0"}
    return next_of(Caption)(**told)  # type: ignore[return-value]


# From before


def test_a_record_with_a_long_name_stays_where_an_older_jamak_wrote_it(
    place: World, decoders: DecoderPool
) -> None:
    """It did not hash names for the length of one segment, as AWS does not mind it."""
    job, absent = job_of(place, f"{'가' * 83}.mp4"), job_of(place, f"{'나' * 83}.mp4")
    folder = f"{place.prefix}records/{place.videos}/{job.recipe.id}/"
    place.store.put(
        place.output, f"{folder}{job.video.key}.{job.video.video8}.json", to_json(caption_of(job))
    )
    records = Records(place.store, place.settings)
    assert (records.exists(job), records.exists(absent)) == (True, False)
    videos = [job.video, absent.video]
    found = examine(place.store, place.settings, place.recipe, videos, views=True)
    assert (found.done, found.missing, found.unrendered) == ({0}, [1], [0])
    assert work_with(place, Silent(), decoders).run(job, taken(place, job)) == "duplicate"
    assert records.show(place.videos, job.video.key).video == job.video
    assert not place.store.exists(place.output, record_key(place.prefix, job))


# On its way


class Lying(ObjectStore):
    """Answers are changed on their way, as often as there are changes."""

    def __init__(self, *changes: Callable[[bytes, dict[str, Any]], bytes]) -> None:
        super().__init__()
        self.gets = 0
        real, left = self.client.s3.get_object, list(changes)

        def get_object(**asked: Any) -> Any:
            self.gets += 1
            answer = dict(real(**asked))
            body = answer["Body"].read()
            if left:
                body = left.pop(0)(body, answer)
            answer["Body"] = StreamingBody(io.BytesIO(body), len(body))
            return answer

        self.client.s3.get_object = get_object  # type: ignore[method-assign]


def another_letter(body: bytes, answer: dict[str, Any]) -> bytes:
    return body.replace(b"aaa", b"aab")


def yet_another(body: bytes, answer: dict[str, Any]) -> bytes:
    return body.replace(b"aaa", b"aac")


def cut(body: bytes, answer: dict[str, Any]) -> bytes:
    return body[:-3]


def named_otherwise(body: bytes, answer: dict[str, Any]) -> bytes:
    answer["ETag"] = f'"{"f" * 32}"'
    return body


def encrypted(body: bytes, answer: dict[str, Any]) -> bytes:
    answer["ServerSideEncryption"] = "aws:kms"
    return cut(named_otherwise(body, answer), answer)


def kept(world: World, job: CaptionJob) -> tuple[str, str]:
    key = f"{world.prefix}probe/{job.video.key}"
    world.store.put(world.output, key, b'{"segments_s": [], "reason": "aaa"}')
    return world.output, key


@pytest.mark.parametrize("change", [another_letter, cut, encrypted])
def test_what_came_mangled_is_fetched_again(
    place: World, job: CaptionJob, change: Callable[[bytes, dict[str, Any]], bytes]
) -> None:
    store = Lying(change)
    assert read(store, Cuts, *kept(place, job)).reason == "aaa"
    assert store.gets == 2


def test_what_comes_mangled_twice_is_damaged(place: World, job: CaptionJob) -> None:
    where = kept(place, job)
    for changes in ([another_letter, yet_another], [cut] * 3):
        with pytest.raises(DamagedObject, match=f"s3://{where[0]}/{where[1]} is damaged") as error:
            read(Lying(*changes), Cuts, *where)
        assert error.value.cure == DamagedObject.cure
        assert error.value.evidence["etag"]


def test_where_etags_are_md5_the_same_wrong_answer_twice_is_damage(
    place: World, job: CaptionJob
) -> None:
    where = kept(place, job)
    store = Lying(lambda body, answer: body, another_letter, another_letter)
    store.get(*where)
    with pytest.raises(DamagedObject):
        store.get(*where)


def test_where_etags_are_no_md5_nothing_is_fetched_twice_for_long(
    place: World, job: CaptionJob
) -> None:
    where = kept(place, job)
    store = Lying(*[named_otherwise] * 4)
    for gets in (2, 3, 4):
        assert read(store, Cuts, *where).reason == "aaa"
        assert store.gets == gets


def test_a_checksum_that_does_not_fit_is_asked_again(place: World, job: CaptionJob) -> None:
    where = kept(place, job)

    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise FlexibleChecksumError(error_msg="Expected checksum x did not match y")

    def store(times: int) -> ObjectStore:
        made = ObjectStore()
        real, left = made.client.s3.get_object, [None] * times

        def get_object(**asked: Any) -> Any:
            answer = dict(real(**asked))
            if left:
                left.pop()
                answer["Body"] = StreamingBody(Broken(), 1)
            return answer

        made.client.s3.get_object = get_object  # type: ignore[method-assign]
        return made

    assert read(store(1), Cuts, *where).reason == "aaa"
    with pytest.raises(DamagedObject, match="checksum"):
        read(store(2), Cuts, *where)


# Records, views and parts


def test_a_view_that_cannot_be_read_is_written_anew(place: World, job: CaptionJob) -> None:
    records, key = Records(place.store, place.settings), job.video.key
    view = view_key(place.prefix, place.videos, key, ".json")
    place.store.put(place.output, view, DAMAGED)
    with pytest.raises(DamagedObject, match="is damaged") as error:
        records.show(place.videos, key)
    assert "reconcile" in error.value.cure
    caption = caption_of(job)
    records.render(caption)
    assert records.show(place.videos, key) == caption


def test_a_view_that_is_too_large_to_be_one_is_written_anew(
    place: World, job: CaptionJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_key(place.prefix, job.video.bucket, job.video.key, ".json")
    place.store.put(place.output, view, b" " * 100_000)
    monkeypatch.setattr(stored, "MOST_AT_ONCE", 50_000)
    caption = caption_of(job)
    assert Records(place.store, place.settings).render(caption)
    assert place.store.get(place.output, view) == to_json(caption)


def test_views_of_a_newer_version_stay_as_they_are(place: World, job: CaptionJob) -> None:
    records = Records(place.store, place.settings)
    records.render(newer_than(caption_of(job).model_copy(update={"text": "새 판"})))
    keys = [view_key(place.prefix, place.videos, job.video.key, ending) for ending in VIEWS]
    before = [place.store.get(place.output, key) for key in keys]
    records.render(caption_of(job))
    assert [place.store.get(place.output, key) for key in keys] == before
    reads = Caption.model_fields["v"].default
    told = rf"written by Jamak 99\.0, .*version {reads + 1}; .*up to {reads}"
    with pytest.raises(NewerObject, match=told):
        records.show(place.videos, job.video.key)


def test_a_newer_version_that_is_overwritten_halfway_gets_the_job(
    place: World, job: CaptionJob
) -> None:
    """Its subtitles lie under ours then, and only it can write them again."""

    class Overtaken(ObjectStore):
        def put(self, bucket: str, key: str, body: bytes, **options: Any) -> str:
            if key.endswith(".json") and not overtaken:
                overtaken.append(key)
                Records(place.store, place.settings).render(newer_than(caption_of(job)))
            return super().put(bucket, key, body, **options)

    overtaken: list[str] = []
    with pytest.raises(NewerObject):
        Records(Overtaken(), place.settings).render(caption_of(job))


def test_what_a_newer_version_captioned_is_done_once_it_is_shown(
    place: World, decoders: DecoderPool, job: CaptionJob
) -> None:
    records, newer = Records(place.store, place.settings), newer_than(caption_of(job))
    records.write(job, newer)
    work = work_with(place, Silent(), decoders)
    with pytest.raises(NewerObject):  # it goes back, for a worker that can render it
        work.run(job, taken(place, job))
    records.render(newer)
    assert work.run(job, taken(place, job)) == "duplicate"


def test_a_damaged_record_is_told_as_a_failure_until_it_is_gone(
    place: World, decoders: DecoderPool, job: CaptionJob
) -> None:
    record = record_key(place.prefix, job)
    place.store.put(place.output, record, DAMAGED)
    work, lease = work_with(place, Silent(), decoders), taken(place, job)
    with pytest.raises(DamagedObject, match=record) as error:
        work.run(job, lease)
    assert work.fail(job, lease, error.value) is False
    (told,) = find_failures(place.store, place.settings, Wanted(reason="damaged_object"))
    assert record in told.message
    place.store.delete(place.output, record)
    Records(place.store, place.settings).write(job, caption_of(job))
    assert not list(find_failures(place.store, place.settings, Wanted()))


def test_a_part_that_cannot_be_read_is_made_anew(place: World, job: CaptionJob) -> None:
    key = part_key(place.prefix, job, "cuts")
    place.store.put(place.output, key, DAMAGED)
    cuts = Cuts(segments_s=((0.0, 1.0),), reason="anew")
    assert Parts(place.store, place.settings, job).cuts(lambda: cuts) == cuts
    assert read(place.store, Cuts, place.output, key) == cuts


# Neighbours


def told(world: World, verb: Any, *arguments: str) -> Any:
    return json.loads(inside(world, verb, *arguments, "--json").stdout)


def test_failures_go_on_past_those_that_cannot_be_read(place: World) -> None:
    jobs = [job_of(place, f"{n}.mp4") for n in "abc"]
    keys = [failure_key(place.prefix, job) for job in jobs]
    Records(place.store, place.settings).write_failure(jobs[0], failure_of(jobs[0]))
    place.store.put(place.output, keys[1], DAMAGED)
    place.store.put(place.output, keys[2], b'{"v": 99}')
    listed = told(place, failures, "list")
    assert listed["count"] == 1
    assert [key in one["message"] for key, one in zip(keys[1:], listed["unreadable"], strict=True)]
    assert "is damaged" in inside(place, failures, "list").stderr.replace("\n", " ")
    found = examine(place.store, place.settings, place.recipe, [job.video for job in jobs])
    assert {why: len(some) for why, some in found.failed.items()} == {
        "truncated": 1,
        "damaged_object": 1,
        "newer_object": 1,
    }


def test_adapters_and_status_go_on_past_those_that_cannot_be_read(
    place: World, tmp_path: Path
) -> None:
    for name in ADAPTER_FILES:
        (tmp_path / name).write_bytes(b"{}")
    versions = []
    for digit in "abc":
        base = ModelIdentity(id="m", revision="r", weights_sha256=digit * 64)
        versions.append(publish(place.registry, tmp_path, base).version)
        place.registry.activate(base.weights_sha256, versions[-1])
    folder = f"{place.prefix}adapters/"
    place.store.put(place.output, f"{folder}{'b' * 12}/active.json", b'{"v": 99}')
    place.store.put(place.output, f"{folder}{'c' * 12}/{versions[2]}/manifest.json", DAMAGED)
    # What is in use of a base whose manifests cannot be read is what has to be left most of all.
    for listed, used in (
        (told(place, adapters, "list"), {versions[0], versions[2]}),
        (told(place, status), {versions[0]}),
    ):
        in_use = listed.get("in_use") or listed["adapters"]
        assert {one["version"] for one in in_use} == used
        messages = sorted(one["message"] for one in listed["unreadable"])
        assert [word in one for word, one in zip(("active", versions[2]), messages, strict=True)]
    inside(place, adapters, "activate", versions[0])  # the others are in nobody's way
    with pytest.raises(DamagedObject, match=versions[2]):
        inside(place, adapters, "activate", versions[2])


def test_backlogs_go_on_past_those_that_cannot_be_read(place: World) -> None:
    videos = fill(place, place.redis_prefix, 3)
    source = f"s3://{place.videos}/{place.redis_prefix}/"
    for name in ("damaged", "healthy", "newer"):
        scan_new(
            place.store,
            place.settings,
            place.queues,
            create(place.store, place.settings, name, source, place.recipe, "t4"),
        )
    fed: list[int] = []
    feeder = Feeder(
        lambda: list(backlog_names(place.store, place.settings)),
        lambda names: fed_of(place.queues, names),
        lambda name: Feed(Backlog(place.store, place.settings, name), place.queues),
        lambda queue: 3,  # one of each backlog in a round
        lambda pause_s: True,
    )
    fed.append(feeder.round())
    folder = f"{place.prefix}backlogs"
    place.store.put(place.output, f"{folder}/newer/cursor.json", b'{"v": 99}')
    place.store.put(place.output, f"{folder}/damaged/cursor.json", DAMAGED)
    fed += [feeder.round() for _ in range(3)]
    assert fed[0] == 3
    cursor, _ = Backlog(place.store, place.settings, "healthy").cursor()
    assert cursor.fed == len(videos)
    assert place.store.get(place.output, f"{folder}/newer/cursor.json") == b'{"v": 99}'
    listed = told(place, backlog_verbs, "list")["backlogs"]
    assert [one["state"] for one in listed] == ["unreadable", "running", "unreadable"]
    assert len(told(place, status)["unreadable"]) == 2


def test_a_shard_that_is_none_stops_its_backlog_alone(place: World) -> None:
    fill(place, place.redis_prefix, 3)
    source = f"s3://{place.videos}/{place.redis_prefix}/"
    made = create(place.store, place.settings, "torn", source, place.recipe, "t4")
    scan_new(place.store, place.settings, place.queues, made)
    place.store.put(place.output, f"{place.prefix}backlogs/torn/shards/00000.jsonl.gz", b"\x1f\x8b")
    feed = Feed(made, place.queues)
    assert feed.step(10) == 0
    assert isinstance(feed.broken, DamagedObject)


def test_a_shard_that_unpacks_to_too_much_is_not_unpacked(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Backlog(place.store, place.settings, "bomb")
    video = Video(bucket="b", key="k.mp4", etag="e", size_bytes=1)
    name = made.write_shard(0, [video] * 1000)
    assert made.shard(name) == [video] * 1000
    monkeypatch.setattr(manifest, "MOST_SHARD_BYTES", 1000)
    with pytest.raises(DamagedObject, match="more than 1000 bytes"):
        made.shard(name)


def test_training_jobs_go_on_past_those_that_cannot_be_read(place: World) -> None:
    records = TrainingRecords(place.store, place.output, place.prefix)
    for job_id in ("a", "b", "c"):
        records.ask(make_job(id=job_id))
    folder = training_folder(place.prefix)
    place.store.put(place.output, f"{folder}b.json", b'{"v": 99}')
    place.store.put(place.output, f"{folder}c/progress.json", DAMAGED)
    states = {one["job_id"]: one for one in told(place, train, "list")["jobs"]}
    assert [states[job_id]["state"] for job_id in "abc"] == [
        "not in Redis",
        "unreadable",
        "not in Redis",
    ]
    assert [len(states[job_id]["unreadable"]) for job_id in "abc"] == [0, 1, 1]
    with pytest.raises(NewerObject):
        inside(place, train, "cancel", "b")


def test_an_export_goes_on_past_views_that_cannot_be_read(place: World, tmp_path: Path) -> None:
    records = Records(place.store, place.settings)
    jobs = [job_of(place, f"films/{n}.mp4") for n in "abc"]
    for job in jobs:
        records.render(caption_of(job))
    views = [view_key(place.prefix, place.videos, job.video.key, ".json") for job in jobs]
    place.store.put(place.output, views[1], DAMAGED)
    long = view_key(place.prefix, place.videos, "films/" + "k" * 1100, ".json")
    place.store.put(place.output, long, b'{"v": 99}')
    where = f"s3://{place.videos}/films/"
    done = inside(place, export, where, "--to", str(tmp_path))
    assert "2 captions of 4 videos" in done.stdout.replace("\n", " ")
    assert "2 could not be read" in str(done.exception)
    assert views[1] in done.stderr.replace("\n", "")
    assert long in done.stderr.replace("\n", "")
