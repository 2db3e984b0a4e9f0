"""Uploads become jobs: a real S3 API, its notification, a real SQS queue, a real broker."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from botocore.exceptions import ClientError

from infra.local.metrics import is_ready, read_metrics
from infra.local.ports import free_port
from producer.jobs.high_water_marks import MOST
from producer.uploads.listen import REASON, WAIT_S, Listener, is_source
from producer.uploads.sqs import sqs_client
from shared.broker.leased_queues import split_item
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, Forbidden, StoreUnavailable
from shared.messages import CaptionJob, decode
from shared.settings import Settings
from shared.telemetry.health import LoopHealth
from tests.faults import SickStore
from tests.telemetry import check_log, check_scrape
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def queue_url(world: World) -> Iterator[str]:
    """Notified of all that is created or deleted under `listen/`, with dead letters behind it."""
    sqs = sqs_client()
    name = f"jamak-test-{uuid.uuid4().hex[:8]}"
    try:
        dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    except ClientError as error:
        pytest.skip(f"this endpoint has no SQS: {error}")
    redrive = {"deadLetterTargetArn": arn_of(dead), "maxReceiveCount": 5}
    attributes: Any = {"RedrivePolicy": json.dumps(redrive)}
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    rule: Any = {
        "QueueArn": arn_of(url),
        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "listen/"}]}},
    }
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=world.videos, NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    yield url
    for one in (url, dead):
        sqs.delete_queue(QueueUrl=one)


def arn_of(url: str) -> str:
    found = sqs_client().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return found["Attributes"]["QueueArn"]


def buried(url: str) -> list[tuple[str, str]]:
    """The dead letters behind a queue: bodies and reasons."""
    found = sqs_client().receive_message(
        QueueUrl=f"{url}-dead", MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    return [
        (message["Body"], message["MessageAttributes"][REASON]["StringValue"])
        for message in found.get("Messages", [])
    ]


@pytest.fixture(autouse=True)
def _empty_queue(world: World) -> None:
    """Of our own prefix."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(f"{world.redis_prefix}:caption.t4")


def listener(world: World, url: str, **changes: Any) -> Listener:
    settings: Settings = world.settings.model_copy(
        update={"events_queue_url": url, "model": "tests/tiny", **changes}
    )
    return Listener(settings, world.store, sqs_client(), world.queues, LoopHealth())


def drain(one: Listener) -> int:
    """Handle all that is there."""
    handled = 0
    while count := one.poll(0):
        handled += count
    return handled


def left(url: str) -> int:
    """Messages that were not deleted, the invisible ones too."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs_client().get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(value) for value in found.values())


def tell(url: str, **record: Any) -> None:
    """An event of our own making."""
    name = record.pop("name", "ObjectCreated:Put")
    source = record.pop("source", "aws:s3")
    entity = {"bucket": {"name": record.pop("bucket")}, "object": record}
    body = {"Records": [{"eventSource": source, "eventName": name, "s3": entity}]}
    sqs_client().send_message(QueueUrl=url, MessageBody=json.dumps(body))


def jobs(world: World) -> list[CaptionJob]:
    with redis.Redis.from_url(world.redis_url) as client:
        found: Any = client.lrange(f"{world.redis_prefix}:caption.t4", 0, -1)
    bodies = [json.loads(split_item(item)[2])["body"] for item in found]
    return [decode(CaptionJob, json.loads(body)[0][0]) for body in bodies]


KEYS = ["listen/plain.mp4", "listen/한국어 영상+1%23.mp4", "listen/🎬 #1.webm"]


def test_an_upload_becomes_a_job_for_exactly_that_content(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"some bytes")
    videos = {key: world.upload(file, key) for key in KEYS}
    wait_until(lambda: left(queue_url) >= len(KEYS), 10, "the events")
    one = listener(world, queue_url)
    drain(one)
    found = {job.video.key: job for job in jobs(world)}
    assert set(found) == set(KEYS)
    for key, video in videos.items():
        assert found[key].video.video8 == video.video8
    assert left(queue_url) == 0


def test_an_upload_in_parts_is_one_job_and_a_copy_is_one_of_its_own(
    world: World, queue_url: str
) -> None:
    one, client = listener(world, queue_url), boto3.client("s3")
    place: Any = {"Bucket": world.videos, "Key": "listen/in parts.mp4"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts: Any = []
    for number in (1, 2):
        part: Any = {**place, "UploadId": upload, "PartNumber": number}
        etag = client.upload_part(**part, Body=b"x" * (5 << 20))["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    client.copy_object(Bucket=world.videos, Key="listen/copy.mp4", CopySource=place)
    wait_until(lambda: left(queue_url) >= 3, 10, "the events")
    drain(one)
    found = {job.video.key: job.video.etag for job in jobs(world)}
    assert len(jobs(world)) == 2
    for key, etag in found.items():
        assert etag == world.store.head(world.videos, key).etag
    assert found["listen/in parts.mp4"].endswith("-2")


def test_what_is_no_video_and_what_we_wrote_ourselves_is_passed_over(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    for key in ("listen/readme.txt", "listen/folder.mp4/", "listen/out/captions/a.mp4"):
        world.upload(file, key)
    wait_until(lambda: left(queue_url) >= 3, 10, "the events")
    drain(listener(world, queue_url, output=f"s3://{world.videos}/listen/out/"))
    assert jobs(world) == []
    assert left(queue_url) == 0


def test_an_event_is_deleted_only_after_its_job_is_on_the_queue(
    world: World, queue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = listener(world, queue_url)
    drain(one)  # the test event
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    world.upload(file, "listen/kept.mp4")
    wait_until(lambda: left(queue_url) == 1, 10, "the event")

    class Dead(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Dead

    monkeypatch.setattr("producer.uploads.listen.send", die)
    with pytest.raises(Dead):
        one.poll(0)
    monkeypatch.undo()
    assert left(queue_url) == 1
    assert jobs(world) == []


def test_a_malformed_event_goes_to_the_dead_letters_and_blocks_nothing(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    sqs_client().send_message(QueueUrl=queue_url, MessageBody="{broken")
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    world.upload(file, "listen/behind.mp4")
    wait_until(lambda: left(queue_url) >= 2, 10, "the events")
    drain(listener(world, queue_url))
    assert [job.video.key for job in jobs(world)] == ["listen/behind.mp4"]
    assert left(queue_url) == 0
    ((body, reason),) = buried(queue_url)
    assert body == "{broken"
    assert "not JSON" in reason


def test_what_is_buried_badly_is_left_to_sqs(
    world: World, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = listener(world, queue_url)
    monkeypatch.setattr(one, "_dead_letters", f"{queue_url}-no-such-queue")
    sqs_client().send_message(QueueUrl=queue_url, MessageBody="{broken")
    drain(one)
    assert left(queue_url) == 1


def test_a_queue_without_dead_letters_is_refused(world: World, queue_url: str) -> None:
    with pytest.raises(ConfigError, match="dead-letter"):
        listener(world, f"{queue_url}-dead")
    with pytest.raises(ConfigError, match="there is no such queue"):
        listener(world, f"{queue_url}-that-is-not-there")


def test_duplicates_stragglers_and_deleted_videos_are_no_jobs(world: World, queue_url: str) -> None:
    one = listener(world, queue_url)
    told = {"bucket": "b", "size": 5}
    for event in (
        {"key": "a.mp4", "eTag": "1", "sequencer": "02"},
        {"key": "a.mp4", "eTag": "1", "sequencer": "02"},  # at least once
        {"key": "a.mp4", "eTag": "0", "sequencer": "01"},  # of what was overwritten
        {"key": "d.mp4", "sequencer": "09", "name": "ObjectRemoved:Delete"},
        {"key": "d.mp4", "eTag": "1", "sequencer": "08"},
        {"key": "e.mp4", "eTag": "1", "sequencer": "02"},
    ):
        tell(queue_url, **told, **event)
        drain(one)
    assert [job.video.key for job in jobs(world)] == ["e.mp4", "a.mp4"]
    assert left(queue_url) == 0


def test_without_an_order_the_bucket_says_what_is_newer(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    """The sequencers are those of a Ceph RGW, whose order is none: the second one looks older."""
    one, file, versions = listener(world, queue_url), tmp_path / "a", []
    for number, sequencer in enumerate(("CFD80B6BDDDE921D", "CFD80B6B65A55521")):
        file.write_bytes(b"version %d" % number)
        video = world.upload(file, "unordered.mp4")
        told = {"key": video.key, "eTag": video.etag, "size": video.size_bytes}
        versions.append({**told, "sequencer": sequencer, "source": "ceph:s3"})
        tell(queue_url, bucket=world.videos, **versions[-1])
        drain(one)
    tell(queue_url, bucket=world.videos, **versions[0])  # once more, late
    drain(one)
    etags = [version["eTag"] for version in versions]
    assert [job.video.etag for job in reversed(jobs(world))] == etags
    world.store.delete(world.videos, "unordered.mp4")
    tell(queue_url, bucket=world.videos, **versions[0])
    drain(one)
    assert len(jobs(world)) == 2


def test_one_bad_record_is_buried_alone(world: World, queue_url: str) -> None:
    good = {"bucket": {"name": "b"}, "object": {"key": "good.mp4", "eTag": "e", "size": 3}}
    bad = {"bucket": {"name": "no/bucket"}, "object": {"key": "bad\ud800.mp4"}}
    records = [{"eventName": "ObjectCreated:Put", "s3": one} for one in (bad, good)]
    sqs_client().send_message(QueueUrl=queue_url, MessageBody=json.dumps({"Records": records}))
    drain(listener(world, queue_url))
    assert [job.video.key for job in jobs(world)] == ["good.mp4"]
    assert left(queue_url) == 0
    ((body, reason),) = buried(queue_url)
    assert "no/bucket" in body
    assert "good.mp4" not in body
    assert "name of a bucket" in reason


def sick_listener(world: World, url: str, store: SickStore) -> Listener:
    settings = world.settings.model_copy(update={"events_queue_url": url})
    return Listener(settings, store, sqs_client(), world.queues, LoopHealth())


def test_what_the_bucket_refuses_is_buried_with_its_reason(world: World, queue_url: str) -> None:
    """The event does not say which content: the bucket is asked, and knows SSE-C."""
    store = SickStore()
    store.fault = lambda method, bucket, key: (400, "KMS.DisabledException") if key else None
    tell(queue_url, bucket=world.videos, key="locked.mp4")
    tell(queue_url, bucket="b", key="open.mp4", eTag="e", size=3)
    drain(sick_listener(world, queue_url, store))
    assert [job.video.key for job in jobs(world)] == ["open.mp4"]
    ((_, reason),) = buried(queue_url)
    assert "encrypted: " in reason


def test_while_the_bucket_is_away_nothing_more_is_received(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    world.upload(tmp_path / "a", "away/there.mp4")
    store = SickStore()
    one = sick_listener(world, queue_url, store)
    store.fault = lambda method, bucket, key: (500, "")
    tell(queue_url, bucket=world.videos, key="away/there.mp4")
    one.poll(0)
    assert left(queue_url) == 1
    with pytest.raises(StoreUnavailable):
        one._wait_for_the_store()
    store.fault = lambda *_: None
    one._wait_for_the_store()
    sqs = sqs_client()
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "0"})
    one.poll(0)
    assert buried(queue_url) == []


def test_one_key_that_is_always_sick_is_buried_on_its_last_delivery(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    world.upload(tmp_path / "a", "sick/beside.mp4")
    store = SickStore()
    store.fault = lambda method, bucket, key: (500, "") if key.endswith("sick.mp4") else None
    one = sick_listener(world, queue_url, store)
    sqs_client().set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "0"})
    tell(queue_url, bucket=world.videos, key="sick/sick.mp4")
    drain(one)
    assert one._away is None
    ((_, reason),) = buried(queue_url)
    assert "store_unavailable: " in reason


def test_an_older_content_that_comes_back_is_a_job_again(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    """A, then B; then B is deleted for good, and A is what the bucket holds."""
    one, file, key = listener(world, queue_url), tmp_path / "a", "back/a.mp4"
    videos = []
    for content in (b"A", b"B"):
        file.write_bytes(content)
        videos.append(world.upload(file, key))
        told = {"eTag": videos[-1].etag, "size": 1, "sequencer": f"0{len(videos)}"}
        tell(queue_url, bucket=world.videos, key=key, **told)
        drain(one)
    client = boto3.client("s3")
    versions = client.list_object_versions(Bucket=world.videos, Prefix=key)["Versions"]
    newest = next(version["VersionId"] for version in versions if version["IsLatest"])
    oldest = next(version["VersionId"] for version in versions if not version["IsLatest"])
    removed = {"name": "ObjectRemoved:Delete", "sequencer": "03"}
    client.delete_object(Bucket=world.videos, Key=key, VersionId=newest)
    tell(queue_url, bucket=world.videos, key=key, versionId=newest, **removed)
    drain(one)
    etags = [job.video.etag for job in reversed(jobs(world))]
    assert etags == [videos[0].etag, videos[1].etag, videos[0].etag]
    # And an archived video that was restored, though this content is known.
    tell(queue_url, bucket=world.videos, key=key, name="ObjectRestore:Completed", versionId=oldest)
    drain(one)
    assert len(jobs(world)) == 4


def test_a_content_that_comes_back_is_a_job_whoever_heard_of_the_one_between(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    """A, B and A again: each is heard by one of two listeners. Then B is put there once more, and
    deleted for good."""
    file, key, told = tmp_path / "a", "both/a.mp4", []
    one, other = listener(world, queue_url), listener(world, queue_url)
    steps = (one, b"A"), (other, b"B"), (one, b"A"), (other, b"B")
    for number, (hearing, content) in enumerate(steps):
        file.write_bytes(content)
        video = world.upload(file, key)
        tell(
            queue_url, bucket=world.videos, key=key, eTag=video.etag, size=1, sequencer=f"0{number}"
        )
        drain(hearing)
        told.append(video.etag)
    client = boto3.client("s3")
    versions = client.list_object_versions(Bucket=world.videos, Prefix=key)["Versions"]
    newest = next(version["VersionId"] for version in versions if version["IsLatest"])
    client.delete_object(Bucket=world.videos, Key=key, VersionId=newest)
    removed = {"name": "ObjectRemoved:Delete", "versionId": newest, "sequencer": "04"}
    tell(queue_url, bucket=world.videos, key=key, **removed)
    drain(one)
    assert [job.video.etag for job in reversed(jobs(world))] == [*told, told[0]]


def test_contents_that_come_and_go_within_one_receive_are_jobs_in_their_order(
    world: World, queue_url: str
) -> None:
    """A, B and A again are received together; then B comes back. What was heard last is A, so B is
    news, and not what was seen before."""
    one = listener(world, queue_url)
    drain(one)
    for number, etag in enumerate(("a", "b", "b", "a")):
        told = {"eTag": etag, "size": 5, "sequencer": f"0{number}"}
        tell(queue_url, bucket="b", key="swings.mp4", **told)
    assert one.poll(0) == 4
    tell(queue_url, bucket="b", key="swings.mp4", eTag="b", size=5, sequencer="09")
    drain(one)
    assert [job.video.etag for job in reversed(jobs(world))] == ["a", "b", "a", "b"]


def test_only_an_ambiguous_key_is_looked_up(
    world: World, queue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    raw = world.upload(file, "other/raw+%20.mp4")
    decoded = world.upload(file, "other/dec oded.mp4")
    asked: list[str] = []
    head = ObjectStore.head

    def counting(self: ObjectStore, bucket: str, key: str) -> Any:
        asked.append(key)
        return head(self, bucket, key)

    monkeypatch.setattr(ObjectStore, "head", counting)
    told = {"bucket": world.videos, "eTag": raw.etag, "size": raw.size_bytes, "source": "ceph:s3"}
    tell(queue_url, key="other/raw+%20.mp4", **told)
    tell(queue_url, key="other/dec+oded.mp4", **told)
    tell(queue_url, key="other/plain.mp4", **told)
    tell(queue_url, key="other/%ED%95%9C.mp4", **{**told, "source": "aws:s3"})
    drain(listener(world, queue_url))
    assert {job.video.key for job in jobs(world)} == {
        raw.key,
        decoded.key,
        "other/plain.mp4",
        "other/한.mp4",
    }
    assert asked == ["other/raw  .mp4", raw.key, decoded.key]


def test_sources_and_several_outputs(world: World, queue_url: str) -> None:
    one = listener(
        world,
        queue_url,
        sources=(f"s3://{world.videos}/in/", "s3://second/"),
        outputs={"s3://second/": "s3://second/captions/"},
    )
    told = {"eTag": "e", "size": 1}
    tell(queue_url, bucket=world.videos, key="in/a.mp4", **told)
    tell(queue_url, bucket=world.videos, key="elsewhere/a.mp4", **told)
    tell(queue_url, bucket="second", key="b.mp4", **told)
    tell(queue_url, bucket="second", key="captions/records/b.mp4", **told)
    tell(queue_url, bucket="third", key="b.mp4", **told)
    drain(one)
    assert {job.video.uri for job in jobs(world)} == {
        f"s3://{world.videos}/in/a.mp4",
        "s3://second/b.mp4",
    }
    assert left(queue_url) == 0


def test_a_source_and_an_output_are_whole_folders(world: World) -> None:
    settings = world.settings.model_copy(
        update={"sources": ("s3://b/in", "s3://c"), "outputs": {"s3://b/in": "s3://out/in/"}}
    )
    assert [
        is_source(settings, bucket, [key])
        for bucket, key in (("b", "in/a.mp4"), ("b", "in-2/a.mp4"), ("c", "a"), ("c-2", "a"))
    ] == [True, False, True, False]
    assert settings.output_of("b", "in/a.mp4").bucket == "out"
    assert settings.output_of("b", "in-2/a.mp4").bucket == world.output


def test_above_the_mark_nothing_is_received(
    world: World, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.queues.put("caption.t4", ["{}"] * MOST)
    tell(queue_url, bucket="b", key="a.mp4", eTag="e", size=1)
    one = listener(world, queue_url)
    monkeypatch.setattr("producer.uploads.listen.LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr("producer.uploads.listen.WAIT_S", 2)
    running = threading.Thread(target=one.run)
    running.start()
    try:
        time.sleep(1)
        assert world.waiting("caption.t4") == MOST
        assert one.health.ready() is None  # it waits, as it should
        with redis.Redis.from_url(world.redis_url) as client:
            client.ltrim(f"{world.redis_prefix}:caption.t4", 0, MOST - 11)
        wait_until(lambda: left(queue_url) == 0, 10, "the event to be taken")
    finally:
        one._stopping.set()
        running.join(WAIT_S + 5)
    assert world.waiting("caption.t4") == MOST - 9


def test_it_is_ready_once_sqs_has_answered_and_says_why_not(
    world: World, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, polls, told = listener(world, queue_url), [], []

    def poll(wait_s: int) -> int:
        polls.append(wait_s)
        told.append(one.health.ready())
        if len(polls) == 1:
            raise Forbidden("SQS: access denied")
        if len(polls) == 3:
            one._stopping.set()
        return 0

    monkeypatch.setattr(one, "poll", poll)
    monkeypatch.setattr("producer.uploads.listen.LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    one.run()
    assert polls == [0, 0, WAIT_S]  # a long poll says nothing for 20 s
    nothing = "nothing has worked yet"
    assert told == [nothing, f"{nothing}: SQS: access denied", None]


def test_a_video_that_is_gone_by_now_is_passed_over(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    one = listener(world, queue_url)
    tell(queue_url, bucket=world.videos, key="listen/never.mp4")  # it says neither etag nor size
    drain(one)
    assert jobs(world) == []
    assert left(queue_url) == 0


def test_a_mistyped_queue_fails_at_the_sender(world: World) -> None:
    with pytest.raises(Exception, match=r"caption\.tpu"):
        world.captions.send_task("jamak.caption", args=({},), queue="caption.tpu")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_listens_and_stops_without_waiting_for_its_poll(
    world: World, queue_url: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    port, command = free_port(), [sys.executable, "-m", "producer.cli", "listen"]
    own = {"JAMAK_EVENTS_QUEUE_URL": queue_url, "JAMAK_METRICS_PORT": str(port)}
    env = {**os.environ, **world.env, **own}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: is_ready(port) or process.poll() is not None, 60, "to be ready")
            check_scrape(port, "listener")
            file = tmp_path / "a"
            file.write_bytes(b"some bytes")
            world.upload(file, "listen/by command.mp4")
            wait_until(lambda: jobs(world), 30, "the job")
            wait_until(lambda: left(queue_url) == 0, 10, "the end of the event")
            told = {sample.name: sample.value for sample in read_metrics(port)}
            assert told["jamak_jobs_enqueued_total"] == 1
            assert told["jamak_event_wait_seconds_count"] >= 1
            assert 0 <= told["jamak_event_wait_seconds_sum"] < 60
            process.send_signal(number)
            assert process.wait(WAIT_S / 2) == code
        finally:
            process.kill()
    assert [said["event"] for said in check_log(tmp_path / "log")] == [
        "answering probes",
        "listening",
    ]


def test_an_event_that_cannot_be_taken_does_not_hold_up_the_others(
    world: World, queue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("1.mp4", "2 closed.mp4", "3.mp4"):
        tell(
            queue_url, bucket="b", key=key, **({} if "closed" in key else {"eTag": "e", "size": 1})
        )
    head = ObjectStore.head

    def closed(self: ObjectStore, bucket: str, key: str) -> Any:
        if "closed" in key:
            raise Forbidden(f"{key}: access denied")
        return head(self, bucket, key)

    monkeypatch.setattr(ObjectStore, "head", closed)
    drain(listener(world, queue_url))
    assert {job.video.key for job in jobs(world)} == {"1.mp4", "3.mp4"}
    assert left(queue_url) == 1
