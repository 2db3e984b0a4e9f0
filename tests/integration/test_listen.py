"""Uploads become jobs: a real S3 API, its notification, a real SQS queue, a real broker."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from botocore.exceptions import ClientError

from producer.enqueue import enqueue
from producer.listen import WAIT_S, Listener
from shared.errors import Forbidden
from shared.keys import record_key
from shared.leased_queues import split_item
from shared.messages import CaptionJob, decode
from shared.settings import Settings
from shared.storage import ObjectStore, sqs_client
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def queue_url(world: World) -> Iterator[str]:
    """Notified of all that is created under `listen/`."""
    sqs = sqs_client()
    try:
        url = sqs.create_queue(QueueName=f"jamak-test-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    except ClientError as error:
        pytest.skip(f"this endpoint has no SQS: {error}")
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    rule: Any = {
        "QueueArn": arn["QueueArn"],
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "listen/"}]}},
    }
    boto3.client("s3").put_bucket_notification_configuration(
        Bucket=world.videos, NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    yield url
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture(autouse=True)
def _empty_queue(world: World) -> None:
    """Of our own prefix."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(f"{world.redis_prefix}:caption.t4")


def listener(world: World, url: str, **changes: Any) -> Listener:
    settings: Settings = world.settings.model_copy(
        update={"events_queue_url": url, "model": "tests/tiny", **changes}
    )
    return Listener(settings, world.store, sqs_client(), world.captions)


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
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    world.upload(file, "listen/kept.mp4")
    wait_until(lambda: left(queue_url) >= 1, 10, "the event")

    class Dead(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Dead

    one = listener(world, queue_url)
    monkeypatch.setattr("producer.listen.enqueue", die)
    with pytest.raises(Dead):
        one.poll(0)
    monkeypatch.undo()
    assert left(queue_url) == 1
    assert jobs(world) == []


def test_a_malformed_event_is_left_to_the_dead_letters_and_blocks_nothing(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    sqs_client().send_message(QueueUrl=queue_url, MessageBody="{broken")
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    world.upload(file, "listen/behind.mp4")
    wait_until(lambda: left(queue_url) >= 2, 10, "the events")
    drain(listener(world, queue_url))
    assert [job.video.key for job in jobs(world)] == ["listen/behind.mp4"]
    assert left(queue_url) == 1


def test_a_video_that_is_gone_by_now_is_passed_over(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    world.upload(file, "listen/gone.mp4")
    wait_until(lambda: left(queue_url) >= 1, 10, "the event")
    world.store.delete(world.videos, "listen/gone.mp4")
    drain(listener(world, queue_url))
    assert jobs(world) == []
    assert left(queue_url) == 0


def test_a_mistyped_queue_fails_at_the_sender(world: World) -> None:
    with pytest.raises(Exception, match=r"caption\.tpu"):
        world.captions.send_task("jamak.caption", args=({},), queue="caption.tpu")


def test_what_has_its_caption_is_not_enqueued_again(world: World, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    done, todo = world.upload(file, "enqueue/done.mp4"), world.upload(file, "enqueue/todo.mp4")
    world.store.put(world.output, record_key(world.prefix, world.job(done)), b"{}")
    result = enqueue(world.captions, world.store, world.settings, [done, todo], world.recipe)
    assert (result.enqueued, result.already, result.queue) == (1, 1, "caption.t4")
    assert [job.video.key for job in jobs(world)] == ["enqueue/todo.mp4"]


def test_the_command_listens_and_stops_without_waiting_for_its_poll(
    world: World, queue_url: str, tmp_path: Path
) -> None:
    env = {**os.environ, **world.env, "JAMAK_EVENTS_QUEUE_URL": queue_url}
    with subprocess.Popen([sys.executable, "-m", "producer.cli", "listen"], env=env) as process:
        try:
            file = tmp_path / "a"
            file.write_bytes(b"some bytes")
            world.upload(file, "listen/by command.mp4")
            wait_until(lambda: jobs(world), 30, "the job")
            wait_until(lambda: left(queue_url) == 0, 10, "the end of the event")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S / 2) == 0
        finally:
            process.kill()


def test_an_event_that_cannot_be_taken_does_not_hold_up_the_others(
    world: World, queue_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"bytes")
    for key in ("listen/1.mp4", "listen/2 closed.mp4", "listen/3.mp4"):
        world.upload(file, key)
    wait_until(lambda: left(queue_url) >= 3, 10, "the events")
    head = ObjectStore.head

    def closed(self: ObjectStore, bucket: str, key: str) -> Any:
        if "closed" in key:
            raise Forbidden(f"{key}: access denied")
        return head(self, bucket, key)

    monkeypatch.setattr(ObjectStore, "head", closed)
    drain(listener(world, queue_url))
    assert {job.video.key for job in jobs(world)} == {"listen/1.mp4", "listen/3.mp4"}
    assert left(queue_url) == 1
