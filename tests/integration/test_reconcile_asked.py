"""After a loss of Redis: what no backlog and no listing of videos names is found in the bucket."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
import redis

from producer.backlog.enqueue import Enqueued, Enqueuer
from producer.jobs.in_flight import first_argument
from producer.jobs.training import Training, new_job_id
from producer.verbs.bulk import reconcile
from shared.bucket.keys import asked_folder, failure_key
from shared.bucket.records import Records
from shared.errors import Unfinished
from shared.messages import CaptionJob, decode
from tests.backlogs import caption_of, failure_of
from tests.training import make_job
from tests.verbs import inside
from tests.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def place(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Queues and an output of the test's own, and S3 as a server of videos."""
    monkeypatch.setenv("JAMAK_ADDRESSES", json.dumps([world.aws["AWS_ENDPOINT_URL"]]))
    return replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")


def told(world: World, *arguments: str) -> Any:
    return json.loads(inside(world, reconcile, *arguments, "--json").stdout)


def wipe(world: World) -> None:
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}*"):
            client.delete(key)


def enqueued(world: World, name: str) -> CaptionJob:
    """A job for a presigned address, as it is in the queue."""
    world.store.put(world.videos, name, name.encode())
    address = boto3.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": world.videos, "Key": name}
    )
    enqueuer = Enqueuer(world.settings, world.store, world.queues, world.recipe, "t4", False)
    made = enqueuer.take(str(address))
    assert isinstance(made, Enqueued)
    assert made.enqueued == 1
    return waiting(world)[0]


def waiting(world: World) -> list[CaptionJob]:
    with redis.Redis.from_url(world.redis_url) as client:
        items: Any = client.lrange(f"{world.redis_prefix}:caption.t4", 0, -1)
    return [decode(CaptionJob, first_argument(item)) for item in items]


def asked(world: World) -> list[str]:
    return [one.key for one in world.store.list(world.output, asked_folder(world.prefix))]


def test_what_redis_lost_of_addresses_and_trainings_is_sent_again(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [enqueued(place, f"{name}.mp4") for name in "abc"]
    data = f"{place.prefix}manifest.jsonl"
    place.store.put(place.output, data, b"{}")
    training = Training(place.settings, place.store, place.training)
    job = make_job(id=new_job_id(), data=f"s3://{place.output}/{data}")
    training.submit(job)
    wipe(place)
    early = told(place)
    assert (early["in_flight"], early["missing"], early["training"]) == (3, 0, [])

    monkeypatch.setattr("producer.jobs.asked.GRACE", timedelta(0))
    records = Records(place.store, place.settings)
    records.write(jobs[0], caption_of(jobs[0]))
    records.write_failure(jobs[1], failure_of(jobs[1]))
    look = told(place, "--dry-run")
    assert (look["missing"], look["enqueued"], look["training"]) == (1, 0, [job.id])
    assert (len(asked(place)), waiting(place)) == (3, [])

    found = told(place)
    assert (found["done"], found["failed"], found["enqueued"]) == (1, {"truncated": 1}, 1)
    assert (found["rendered"], found["training"]) == (1, [job.id])
    assert waiting(place) == [jobs[2]]  # with its address
    assert training.job(job.id).state == "queued"
    assert len(asked(place)) == 1  # what has ended keeps no secret any more

    again = told(place)
    assert (again["in_flight"], again["missing"], again["training"]) == (1, 0, [])
    assert not place.store.exists(place.output, failure_key(place.prefix, jobs[2]))


def test_what_cannot_be_read_of_it_is_told_and_does_not_keep_the_others(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.jobs.asked.GRACE", timedelta(0))
    jobs = [enqueued(place, f"{name}.mp4") for name in "de"]
    keys = asked(place)
    place.store.put(place.output, keys[0], b'{"v": 99}')
    place.store.put(place.output, f"{place.prefix}training/x/asked.json", b"{")
    wipe(place)
    done = inside(place, reconcile)
    assert isinstance(done.exception, Unfinished)
    assert "2 could not be read" in str(done.exception)
    assert keys[0] in "".join(done.stderr.split())
    assert waiting(place) == [job for job in jobs if job.video.key not in keys[0]]


def test_a_job_for_an_address_is_in_the_bucket_before_it_is_in_redis(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[list[str]] = []
    monkeypatch.setattr("producer.backlog.enqueue.send", lambda *args: there.append(asked(place)))
    monkeypatch.setattr(f"{__name__}.waiting", lambda world: [None])
    enqueued(place, "f.mp4")
    assert [len(keys) for keys in there] == [1]
