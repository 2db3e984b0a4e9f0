"""Guarantees that no other test would notice the loss of, on a real Redis and a real S3 API: see
benchmarks.mutants."""

import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.worker.request import Request
from kombu import Message

from producer.bucket.failures import redrive
from producer.bucket.reconcile import Reconciler
from producer.jobs.send import queue_of
from shared.broker.apps import CAPTION_TASK
from shared.broker.leased_queues import History
from shared.broker.transport import rendered
from shared.bucket.keys import failure_key, view_key
from shared.bucket.records import VIEWS, Records
from shared.bucket.registry import ADAPTER_FILES, Registry
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.errors import BadAdapter, Encrypted, JamakError, KillsWorkers, StoreUnavailable
from shared.messages import CaptionJob, ModelIdentity, Video
from shared.training import Pointer
from tests.adapters import publish
from tests.backlogs import caption_of, failure_of
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.delivery.scratch import Scratch
from workers.jobs.adapters import AdapterFollower
from workers.model.adapter_files import Adapter
from workers.tasks import MAX_ATTEMPTS, register_caption
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration


@pytest.fixture
def job(world: World, request: pytest.FixtureRequest) -> CaptionJob:
    """Of a video that is not there: it must not even be looked for."""
    key = f"{request.node.name}.mp4"
    return world.job(Video(bucket=world.videos, key=key, etag="0" * 32, size_bytes=1))


@pytest.fixture
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)  # starts none before it is asked
    yield pool
    pool.close()


def test_a_message_is_acknowledged_after_its_work(world: World) -> None:
    """By Celery's own hand: nothing is left of what was acknowledged before, if its worker dies."""
    leases, seen = Leases(world.queues, 1, dict), []
    app = world.captions
    app.conf.broker_transport_options["leases"] = leases

    @app.task(name=CAPTION_TASK, shared=False)  # or every later app would have it, too
    def work() -> None:
        seen.append((leases.flush(5), world.queues.counts()["in_flight"]))

    def execute(message: Message) -> None:
        Request(message, app=app, task=work, on_ack=message.ack_log_error).execute()

    world.queues.put("caption.t4", [rendered(CAPTION_TASK, "a name", "")])
    with (
        app.connection_for_read() as connection,
        app.amqp.TaskConsumer(connection.channel(), on_message=execute),
    ):
        connection.drain_events(timeout=5)
    assert leases.flush(5)
    assert (seen, world.queues.counts()["in_flight"]) == ([(True, 1)], 0)


def test_what_has_its_record_is_not_captioned_again(
    world: World, decoders: DecoderPool, job: CaptionJob
) -> None:
    assert Records(world.store, world.settings).write(job, caption_of(job))
    assert work_with(world, Silent(), decoders).run(job, taken(world, job)) == "duplicate"


@pytest.mark.parametrize("ending", VIEWS)
def test_a_view_that_is_overtaken_shows_the_newer_one(
    world: World, job: CaptionJob, ending: str
) -> None:
    oldest, older, newer = (
        caption_of(job).model_copy(
            update={"text": text, "created_at": datetime(2026, 1, day, tzinfo=UTC)}
        )
        for day, text in enumerate(("첫째", "둘째", "셋째"), start=1)
    )
    records = Records(world.store, world.settings)
    records.render(oldest)

    class Overtaken(ObjectStore):
        """Before it writes the view with this ending, somebody renders the newer caption."""

        def put(self, bucket: str, key: str, body: bytes, **options: Any) -> str:
            if key.endswith(ending) and not overtaken:
                overtaken.append(key)
                records.render(newer)
            return super().put(bucket, key, body, **options)

    overtaken: list[str] = []
    Records(Overtaken(), world.settings).render(older)
    assert overtaken
    for each in VIEWS:
        key = view_key(world.prefix, job.video.bucket, job.video.key, each)
        assert "셋째" in world.store.get(world.output, key).decode(), each


@pytest.mark.parametrize("ending", [".srt", ".json"])
def test_whoever_was_killed_between_views_leaves_no_disagreement(
    world: World, decoders: DecoderPool, job: CaptionJob, ending: str
) -> None:
    """The worker of an older caption is overtaken, and dies; its message comes again."""
    newer_job = world.job(job.video, generation=1)
    older = caption_of(job).model_copy(update={"text": "옛 자막"})
    newer = caption_of(newer_job).model_copy(
        update={"text": "새 자막", "last_modified": older.last_modified}
    )
    records = Records(world.store, world.settings)
    assert records.write(job, older)
    assert records.write(newer_job, newer)

    class Killed(BaseException):
        pass

    class Dying(ObjectStore):
        def put(self, bucket: str, key: str, body: bytes, **options: Any) -> str:
            if key.endswith(".vtt"):
                records.render(newer)
            if key.endswith(ending):
                raise Killed
            return super().put(bucket, key, body, **options)

    with pytest.raises(Killed):
        Records(Dying(), world.settings).render(older)
    assert work_with(world, Silent(), decoders).run(job, taken(world, job)) == "duplicate"
    for each in VIEWS:
        key = view_key(world.prefix, job.video.bucket, job.video.key, each)
        assert "새 자막" in world.store.get(world.output, key).decode(), each


def test_a_job_that_is_given_up_with_its_record_there_is_shown(
    world: World, decoders: DecoderPool, job: CaptionJob
) -> None:
    """Its workers died after the record and before the views."""
    assert Records(world.store, world.settings).write(job, caption_of(job))
    work = work_with(world, Silent(), decoders)
    assert work.fail(job, taken(world, job), KillsWorkers("3 workers died with it")) is True
    assert Records(world.store, world.settings).show(job.video.bucket, job.video.key)
    assert not world.store.exists(world.output, failure_key(world.prefix, job))


def test_views_show_what_the_bucket_holds_now(world: World, tmp_path: Path) -> None:
    """A, then B, then A again: its job finds the older record, and its views come back. Who missed
    that event, or reads the views of B last, is healed by `reconcile`."""
    records, file, key = Records(world.store, world.settings), tmp_path / "a", "back.mp4"
    captions = []
    for content in (b"A", b"B"):
        file.write_bytes(content)
        job = world.job(world.upload(file, key))
        modified = world.store.head(world.videos, key).last_modified
        captions.append(
            caption_of(job).model_copy(
                update={
                    "last_modified": modified + timedelta(seconds=len(captions)),
                    "created_at": modified + timedelta(seconds=len(captions)),
                }
            )
        )
        records.write(job, captions[-1])
        records.render(captions[-1])
    a, b = captions
    file.write_bytes(b"A")
    again = world.upload(file, key)
    records.render(a)
    assert records.show(world.videos, key).video.etag == a.video.etag
    records.render(b)  # a straggler
    assert records.show(world.videos, key).video.etag == a.video.etag
    # Somebody wrote the views of B all the same.
    for ending, (_, render) in VIEWS.items():
        view = view_key(world.prefix, world.videos, key, ending)
        world.store.put(world.output, view, render(b))
    reconciler = Reconciler(world.settings, world.store, world.queues, lambda queue: 100)
    told = reconciler.videos([again], world.recipe, "t4", "caption.t4")
    assert (told.done, told.rendered, told.missing) == (1, 1, 0)
    assert records.show(world.videos, key).video.etag == a.video.etag
    assert reconciler.videos([again], world.recipe, "t4", "caption.t4").rendered == 1  # no more
    # B has its caption and is not to be shown: nothing is rendered, and none is counted.
    replaced = Reconciler(world.settings, world.store, world.queues, lambda queue: 100)
    told = replaced.videos([b.video], world.recipe, "t4", "caption.t4")
    assert (told.done, told.rendered) == (1, 0)


def test_a_video_that_cannot_be_looked_at_any_more_keeps_no_views_back(
    world: World, job: CaptionJob
) -> None:
    """Somebody encrypted or archived what lies under its key; its caption is written already."""
    newer = job.model_copy(update={"video": job.video.model_copy(update={"etag": "1" * 32})})
    Records(world.store, world.settings).render(caption_of(newer))

    class Refusing(ObjectStore):
        def head(self, bucket: str, key: str, **pin: Any) -> ObjectInfo:
            raise Encrypted("with a key that only its owner has")

    later = caption_of(job).model_copy(update={"created_at": datetime(2099, 1, 1, tzinfo=UTC)})
    records = Records(Refusing(), world.settings)
    assert records.render(later)
    assert records.show(world.videos, job.video.key).video == job.video


def test_a_job_that_failed_is_not_missing(world: World, job: CaptionJob) -> None:
    Records(world.store, world.settings).write_failure(job, failure_of(job, "truncated"))
    queue = queue_of("t4", bulk=True)
    reconciler = Reconciler(world.settings, world.store, world.queues, lambda queue: 100)
    before = world.waiting(queue)
    told = reconciler.videos([job.video], job.recipe, "t4", queue)
    assert (told.failed, told.missing, told.enqueued) == ({"truncated": 1}, 0, 0)
    assert world.waiting(queue) == before


def test_a_failure_goes_before_its_job_is_sent_again(world: World, job: CaptionJob) -> None:
    """Whatever happens in between, reconcile finds the job missing."""
    failure = failure_of(job, "truncated")
    assert Records(world.store, world.settings).write_failure(job, failure)
    key = failure_key(world.prefix, job)
    queue, there = queue_of("t4", bulk=True), []
    before = world.waiting(queue)

    def room(queue: str) -> int:
        there.append(world.store.exists(world.output, key))
        return 1

    redrive(world.store, world.settings, world.queues, [failure], room)
    assert there == [False]
    assert world.waiting(queue) == before + 1


def test_what_was_lost_on_the_last_try_has_no_failure(world: World, job: CaptionJob) -> None:
    """Whoever has the message now will say how it ends."""
    failures: list[JamakError] = []

    class Lost:
        def run(self, job: CaptionJob, lease: Lease) -> None:
            lease.lose()
            lease.progress.tick("download")

        def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> None:
            failures.append(error)

    leases = Leases(world.queues, 1, dict)
    app = Celery(set_as_current=False)
    register_caption(app, lambda: leases, Lost)  # type: ignore[arg-type, return-value]
    payload = job.model_dump(mode="json")
    item = f"0\n{History(attempt=MAX_ATTEMPTS).dump()}\n{json.dumps(payload)}"
    world.queues.redis.lpush(f"{world.queues.prefix}caption.h100", item)
    delivery = leases.receive(["caption.h100"], 5)
    assert delivery is not None
    task = app.tasks[CAPTION_TASK]
    task.push_request(properties={"delivery_tag": delivery.lease})
    try:
        task.run(payload)
    finally:
        task.pop_request()
    assert failures == []


def published(
    world: World, folder: Path, digit: str, content: bytes = b"content"
) -> tuple[ModelIdentity, str]:
    """An adapter that is the one in use, of a base of its own."""
    base = ModelIdentity(id="m", revision="r", weights_sha256=digit * 64)
    folder.mkdir(exist_ok=True)
    for name in ADAPTER_FILES:
        (folder / name).write_bytes(content)
    version = publish(world.registry, folder, base).version
    world.registry.activate(base.weights_sha256, version)
    return base, version


def test_an_adapter_that_cannot_be_fetched_now_is_fetched_later(
    world: World, tmp_path: Path
) -> None:
    base, version = published(world, tmp_path, "e")
    captioner = Silent()
    follower = AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None)
    key = f"{world.prefix}adapters/{base.weights_sha256[:12]}/{version}/manifest.json"
    manifest = world.store.get(world.output, key)
    world.store.delete(world.output, key)
    follower.look()
    assert captioner.adapters == []
    world.store.put(world.output, key, manifest)
    follower.look()
    assert captioner.adapters == [version]


def test_nothing_is_captioned_before_the_pointer_was_followed_once(
    world: World, tmp_path: Path
) -> None:
    base, version = published(world, tmp_path, "1")
    looks = []

    class Away(Registry):
        def pointer(self, base_sha256: str) -> Pointer:
            looks.append(base_sha256)
            if len(looks) < 4:
                raise StoreUnavailable("it does not answer")
            return super().pointer(base_sha256)

    captioner = Silent()
    away = Away(world.store, world.output, world.prefix)
    follower = AdapterFollower(away, captioner, base.weights_sha256, 0.01, None)
    follower.start()
    assert captioner.adapters == [version]
    assert len(looks) >= 4
    follower.stop()


def test_a_pointer_that_was_deleted_and_set_again_is_followed(world: World, tmp_path: Path) -> None:
    base, one = published(world, tmp_path / "one", "2")
    captioner = Silent()
    follower = AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None)
    follower.look()
    key = f"{world.prefix}adapters/{base.weights_sha256[:12]}/active.json"
    world.store.delete(world.output, key)
    _, other = published(world, tmp_path / "other", "2", b"other content")
    assert world.registry.pointer(base.weights_sha256).generation == 1
    follower.look()
    world.store.delete(world.output, key)
    follower.look()
    assert captioner.adapters == [one, other, None]


def test_an_adapter_is_followed_although_its_folder_was_removed(
    world: World, tmp_path: Path
) -> None:
    """As whoever cleans a machine's temporary files does it."""
    base, version = published(world, tmp_path / "one", "6")
    scratch = Scratch(tmp_path / "scratch")
    captioner = Silent()
    follower = AdapterFollower(
        world.registry, captioner, base.weights_sha256, 60, scratch.folder, scratch.prove
    )
    shutil.rmtree(tmp_path / "scratch")
    assert not follower.look()
    assert follower.look()
    assert captioner.adapters == [version]


def test_a_refused_adapter_is_not_used(world: World, tmp_path: Path) -> None:
    class Choosy(Silent):
        def check_adapter(self, version: str, directory: Path) -> Adapter:
            raise BadAdapter("of another shape")

    base, _ = published(world, tmp_path, "f")
    captioner = Choosy()
    AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None).look()
    assert captioner.adapters == []


def test_a_version_that_does_not_fit_is_fetched_once(world: World, tmp_path: Path) -> None:
    fetched = []

    class Choosy(Silent):
        def check_adapter(self, version: str, directory: Path) -> Adapter:
            fetched.append(version)
            raise BadAdapter("of another shape")

    base, version = published(world, tmp_path, "9")
    captioner = Choosy()
    follower = AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None)
    for _ in range(3):
        follower.look()
        world.registry.activate(base.weights_sha256, version)  # the pointer moves, to the same
    assert fetched == [version]
    assert captioner.adapters == []


def test_who_finds_nothing_waits_to_be_woken(world: World) -> None:
    """Hundreds of idle workers that only ask would keep Redis busy."""
    leases = Leases(world.queues, 1, dict)
    began = time.monotonic()
    assert leases.receive(["caption.a100"], 0.4) is None
    assert time.monotonic() - began > 0.3
