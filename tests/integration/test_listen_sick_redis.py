"""A Redis that refuses what the listener sends: uploads stay in SQS, and no delivery is wasted."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.local.redis import RedisServer, start_redis
from producer.uploads.listen import Listener
from producer.uploads.sqs import sqs_client
from shared.broker.leased_queues import LeasedQueues
from shared.errors import BrokerUnavailable
from tests.integration.test_listen import arn_of, buried, drain, jobs, left, listener, tell
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

UPLOADS = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = start_redis(tmp_path / "redis")
    yield started
    started.stop()


@pytest.fixture
def sick(world: World, server: RedisServer) -> World:
    return replace(world, redis_url=server.url)


@pytest.fixture
def queue_url() -> Iterator[str]:
    """Two deliveries, and a message is buried."""
    sqs = sqs_client()
    name = f"jamak-test-{uuid.uuid4().hex[:8]}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    redrive = f'{{"deadLetterTargetArn": "{arn_of(dead)}", "maxReceiveCount": 2}}'
    url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    yield url
    for one in (url, dead):
        sqs.delete_queue(QueueUrl=one)


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_nothing_is_received_that_could_not_be_sent(
    sick: World, queue_url: str, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    for number in range(UPLOADS):
        tell(queue_url, bucket="b", key=f"{number}.mp4", eTag="e", size=1)
    asked, polls = [], []
    prove, poll = LeasedQueues.prove_writes, Listener.poll

    def counted(self: LeasedQueues, queue: str) -> None:
        asked.append(queue)
        prove(self, queue)

    def polled(self: Listener, wait_s: int) -> int:
        polls.append(wait_s)
        return poll(self, 0)

    monkeypatch.setattr(LeasedQueues, "prove_writes", counted)
    monkeypatch.setattr(Listener, "poll", polled)
    monkeypatch.setattr("producer.uploads.listen.LOOK_AGAIN_S", 0.05)
    one = listener(sick, queue_url)
    with redis.Redis.from_url(sick.redis_url) as admin:
        admin.config_set(setting, 1)
        running = threading.Thread(target=one.run)
        running.start()
        try:
            wait_until(lambda: len(asked) > 5 or polls, 30, "several looks")
            assert not polls
            assert "Redis" in str(one.health.ready())
            admin.config_set(setting, 0)
            wait_until(lambda: left(queue_url) == 0, 30, "the events to be taken")
        finally:
            one._stopping.set()
            running.join()
    assert len(jobs(sick)) == UPLOADS
    assert buried(queue_url) == []
    assert set(asked) == {"caption.t4"}


def test_what_cannot_be_sent_is_handed_back_at_once_and_buried_once(
    sick: World, queue_url: str
) -> None:
    tell(queue_url, bucket="b", key="a.mp4", eTag="e", size=1)
    sqs_client().send_message(QueueUrl=queue_url, MessageBody="{broken")
    one = listener(sick, queue_url)
    with redis.Redis.from_url(sick.redis_url) as admin:
        admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerUnavailable, match="full"):
            drain(one)
        assert left(queue_url) == 1
        admin.config_set("maxmemory", 0)
    drain(one)  # SQS would hide it for half a minute
    assert [job.video.key for job in jobs(sick)] == ["a.mp4"]
    assert left(queue_url) == 0
    assert [body for body, _ in buried(queue_url)] == ["{broken"]


def test_a_probe_leaves_nothing_in_the_queue(sick: World) -> None:
    sick.queues.put("caption.t4", ["m"])
    sick.queues.prove_writes("caption.t4")
    assert sick.queues.waiting("caption.t4") == 1
    found: Any = sick.queues.redis.keys("*")
    lists = sorted(key.decode().rpartition(":")[2] for key in found if b":put:" not in key)
    assert lists == ["caption.t4", "wake"]
