"""A caption's life without Celery, where the model itself must misbehave."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.bucket.keys import failure_key, record_key, view_key
from shared.bucket.records import Records
from shared.errors import BadMessage, EmptyCaption, KillsWorkers, LeaseLost
from shared.messages import CaptionJob, ModelIdentity, Video
from tests.adapters import publish
from tests.videos import write_clip
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.jobs.adapters import AdapterFollower
from workers.jobs.compared import Comparison
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


def test_an_empty_caption_is_a_failure_that_says_so(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    work = work_with(world, Silent(), decoders)
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "silent.mp4"))
    lease = taken(world, job)
    with pytest.raises(EmptyCaption) as caught:
        work.run(job, lease)
    work.fail(job, lease, caught.value)
    failure = world.failure(job)
    assert (failure.reason, failure.flags) == ("empty_caption", ("empty", "emulated"))


def test_who_lost_the_lease_writes_neither_record_nor_failure(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    class Slow(Silent):
        """So slow that somebody else has the message by the time it answers."""

        def caption(self, *args: Any) -> Answer:
            world.queues.release(lease.delivery.lease, None)
            return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)

    work = work_with(world, Slow(), decoders)
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "slow.mp4"))
    lease = taken(world, job)
    with pytest.raises(LeaseLost):
        work.run(job, lease)
    with pytest.raises(LeaseLost):
        work.fail(job, lease, EmptyCaption("too late"))
    for key in (record_key(world.prefix, job), failure_key(world.prefix, job)):
        assert not world.store.exists(world.output, key)


def test_what_has_its_caption_does_not_fail_any_more(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    class Speaking(Silent):
        def caption(self, *args: Any) -> Answer:
            return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)

    work = work_with(world, Speaking(), decoders)
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "captioned.mp4"))
    lease = taken(world, job)
    work.run(job, lease)
    assert lease.done == lease.units > 0
    # Its workers died between the record and its acknowledgement.
    work.fail(job, lease, KillsWorkers("again and again"))
    assert not world.store.exists(world.output, failure_key(world.prefix, job))
    again = taken(world, job)
    assert work.run(job, again) == "duplicate"
    assert again.done == 0


def test_a_pointer_that_cannot_be_read_now_is_followed_later(world: World, tmp_path: Path) -> None:
    base = ModelIdentity(id="m", revision="r", weights_sha256="d" * 64)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    version = publish(world.registry, tmp_path, base).version
    captioner = Silent()
    follower = AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None)
    key = f"{world.prefix}adapters/{base.weights_sha256[:12]}/active.json"
    world.store.put(world.output, key, b"half a poin")
    follower.look()
    assert captioner.adapters == []
    world.store.delete(world.output, key)
    world.registry.activate(base.weights_sha256, version)
    follower.look()
    assert captioner.adapters == [version]


def test_who_comes_second_sees_to_the_views(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    """The first one wrote its record and died before them."""

    class Overtaken(Silent):
        def caption(self, *args: Any) -> Answer:
            answer = Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)
            first = work_with(world, Speaking(answer), decoders)._caption(
                job, lease, Comparison(None)
            )
            assert Records(world.store, world.settings).write(job, first)
            return answer

    class Speaking(Silent):
        def __init__(self, answer: Answer) -> None:
            super().__init__()
            self._answer = answer

        def caption(self, *args: Any) -> Answer:
            return self._answer

    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "overtaken.mp4"))
    lease = taken(world, job)
    assert work_with(world, Overtaken(), decoders).run(job, lease) == "duplicate"
    for ending in (".json", ".vtt"):
        assert world.store.exists(
            world.output, view_key(world.prefix, world.videos, job.video.key, ending)
        )


@pytest.mark.parametrize(
    "claim",
    [
        lambda job, address: job.model_copy(update={"address": address}),
        lambda job, address: job.model_copy(update={"address": job.video.uri}),
        lambda job, address: job.model_copy(update={"address": "nonsense"}),
        lambda job, address: job.model_copy(
            update={"address": address, "video": elsewhere(job, "https:example.com")}
        ),
        lambda job, address: job.model_copy(update={"video": elsewhere(job, "https:example.com")}),
    ],
    ids=["another place", "a bucket", "no address", "another host", "none"],
)
def test_an_address_cannot_stand_for_another_video(
    world: World, decoders: DecoderPool, claim: Callable[[CaptionJob, str], CaptionJob]
) -> None:
    """Whoever may enqueue could put his own film into the view of any video."""
    video = Video(bucket=world.videos, key="mine.mp4", etag="e", size_bytes=10)
    job = claim(world.job(video), "https://example.com/mine.mp4?v=1")
    before = list(world.store.list(world.output, world.prefix))
    with pytest.raises(BadMessage):
        work_with(world, Silent(), decoders).run(job, taken(world, job))
    assert list(world.store.list(world.output, world.prefix)) == before


def elsewhere(job: CaptionJob, bucket: str) -> Video:
    return job.video.model_copy(update={"bucket": bucket})
