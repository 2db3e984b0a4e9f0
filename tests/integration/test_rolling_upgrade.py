"""This version and the next one side by side, in the order of an upgrade and of a way back."""

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from producer.backlog.backlogs import read_all
from producer.backlog.feeder import Feed, Feeder
from producer.backlog.manifest import Backlog, Manifest, backlog_names
from producer.backlog.scan import create, scan_new
from producer.jobs.send import send
from shared.broker.apps import CAPTION_TASK
from shared.broker.backlog_progress import fed_of
from shared.broker.transport import checked
from shared.bucket.keys import view_key
from shared.bucket.records import VIEWS, Records
from shared.bucket.registry import ADAPTER_FILES, Registry
from shared.errors import NewerObject
from shared.messages import Caption, CaptionJob, ModelIdentity, Video
from tests.adapters import publish
from tests.backlogs import caption_of, fill
from tests.next_version import next_of, upgraded
from tests.work import Silent
from tests.world import World
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.jobs.adapters import AdapterFollower
from workers.tasks import register_caption

pytestmark = pytest.mark.integration

QUEUE = "caption.t4"
NEXT = Caption.model_fields["v"].default + 1


@pytest.fixture
def place(world: World) -> World:
    """Queues and an output of each test's own."""
    return replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")


class Worker:
    """Of the version that it is made in."""

    def __init__(self, world: World) -> None:
        self.leases = Leases(world.queues, 1, dict)
        self.ran: list[str] = []
        app = Celery(set_as_current=False)
        register_caption(app, lambda: self.leases, lambda: self)  # type: ignore[arg-type, return-value]
        self._task = app.tasks[CAPTION_TASK]

    def run(self, job: CaptionJob, lease: Lease) -> None:
        self.ran.append(job.video.key)

    def work(self) -> bool:
        """One message, whatever becomes of it."""
        delivery = self.leases.receive([QUEUE], 0.01)
        if delivery is None:
            return False
        args, _, _ = json.loads(checked(delivery)["body"])
        self._task.push_request(properties={"delivery_tag": delivery.lease})
        try:
            self._task.run(*args)
        finally:
            self._task.pop_request()
        self.leases.finished(delivery.lease)
        assert self.leases.flush(10)
        return True


def jobs(world: World, name: str) -> list[CaptionJob]:
    return [
        world.job(Video(bucket=world.videos, key=f"{name}{n}.mp4", etag="e", size_bytes=1))
        for n in range(3)
    ]


def of_the_next(job: CaptionJob) -> CaptionJob:
    told = job.model_dump() | {"v": CaptionJob.model_fields["v"].default + 1}
    return next_of(CaptionJob)(**told)  # type: ignore[return-value]


def test_jobs_of_both_versions_are_done_once_each(
    place: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listeners of both send what was uploaded, and workers of both take it."""
    monkeypatch.setattr("workers.tasks.HAND_ON_S", 0.0)
    ours, theirs = jobs(place, "ours"), [of_the_next(job) for job in jobs(place, "theirs")]
    for one, other in zip(ours, theirs, strict=True):
        send(place.queues, QUEUE, [other, one])
    old = Worker(place)
    with upgraded():
        new = Worker(place)
    for _ in range(3):
        old.work()  # also what is none of its messages
    while new.work():
        old.work()
    while old.work() or new.work():
        pass
    assert sorted(old.ran + new.ran) == sorted(job.video.key for job in [*ours, *theirs])
    assert not {job.video.key for job in theirs} & set(old.ran)
    assert place.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}


def test_what_both_versions_captioned_is_shown_and_kept(place: World) -> None:
    one, two, three = jobs(place, "film")
    first, second = caption_of(one), caption_of(two)
    records = Records(place.store, place.settings)
    records.write(one, first)
    records.render(first)
    with upgraded():
        assert records.find(one) is not None  # the next version reads ours,
        newer = next_of(Caption)(**caption_of(one).model_dump() | {"v": NEXT})
        records.render(newer)  # type: ignore[arg-type]  # and renders over it
        records.write(three, newer)  # type: ignore[arg-type]
    keys = [view_key(place.prefix, place.videos, one.video.key, ending) for ending in VIEWS]
    before = [place.store.get(place.output, key) for key in keys]
    records.render(first)  # set back: what is newer stays,
    assert [place.store.get(place.output, key) for key in keys] == before
    with pytest.raises(NewerObject):
        records.find(three)
    assert records.exists(three)  # is not captioned again,
    assert records.write(two, second)  # and its neighbours go on
    with upgraded():
        records.render(first)  # upgraded again: of one video, the latest caption
        assert records.show(place.videos, one.video.key).v == NEXT


def test_backlogs_of_both_versions_are_fed_by_whoever_can_read_them(place: World) -> None:
    fill(place, place.redis_prefix, 3)
    source = f"s3://{place.videos}/{place.redis_prefix}/"

    def started(name: str) -> None:
        made = create(place.store, place.settings, name, source, place.recipe, "t4")
        scan_new(place.store, place.settings, place.queues, made)

    def fed() -> dict[str, int]:
        feeder = Feeder(
            lambda: list(backlog_names(place.store, place.settings)),
            lambda names: fed_of(place.queues, names),
            lambda name: Feed(Backlog(place.store, place.settings, name), place.queues),
            lambda queue: 100,
            lambda pause_s: True,
        )
        feeder.round()
        listed = read_all(place.store, place.settings, place.queues)
        return {one["name"]: one.get("fed", -1) for one in listed}

    with upgraded():
        started("theirs")
    manifest = place.store.get(place.output, f"{place.prefix}backlogs/theirs/manifest.json")
    assert json.loads(manifest)["v"] == Manifest.model_fields["v"].default + 1
    started("ours")
    assert fed() == {"ours": 3, "theirs": -1}
    assert place.store.get(place.output, f"{place.prefix}backlogs/theirs/manifest.json") == manifest
    with upgraded():
        assert fed() == {"ours": 3, "theirs": 3}


def test_an_adapter_whose_manifest_is_newer_is_refused_and_remembered(
    place: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = ModelIdentity(id="m", revision="r", weights_sha256="b" * 64)
    digest, versions = base.weights_sha256, []
    for content in (b"one", b"two"):
        for name in ADAPTER_FILES:
            (tmp_path / name).write_bytes(content)
        versions.append(publish(place.registry, tmp_path, base).version)
    captioner = Silent()
    follower = AdapterFollower(place.registry, captioner, digest, 60, None)
    place.registry.activate(digest, versions[0])
    assert follower.look()
    key = f"{place.prefix}adapters/{digest[:12]}/{versions[1]}/manifest.json"
    ours = json.loads(place.store.get(place.output, key))
    place.registry.activate(digest, versions[1])
    place.store.put(place.output, key, json.dumps({**ours, "v": ours["v"] + 1}).encode())
    assert follower.look()  # a worker that starts does not wait for it, either
    place.store.put(place.output, key, json.dumps(ours).encode())
    place.registry.activate(digest, versions[1])
    assert follower.look()
    assert captioner.adapters == versions[:1]
    place.registry.activate(digest, versions[0])
    assert follower.look()
    assert captioner.adapters == [versions[0]] * 2


def test_adapters_of_both_versions_are_followed_by_whoever_can_read_the_pointer(
    place: World, tmp_path: Path
) -> None:
    base = ModelIdentity(id="m", revision="r", weights_sha256="a" * 64)
    digest, versions = base.weights_sha256, []
    for content in (b"one", b"two"):
        for name in ADAPTER_FILES:
            (tmp_path / name).write_bytes(content)
        versions.append(publish(place.registry, tmp_path, base).version)
    registry: Registry = place.registry
    captioners: dict[str, Any] = {"old": Silent(), "new": Silent()}
    old, new = (AdapterFollower(registry, one, digest, 60, None) for one in captioners.values())
    registry.activate(digest, versions[0])
    old.look()
    with upgraded():
        new.look()  # ours
        registry.activate(digest, versions[1])
        new.look()
    assert not old.look()  # theirs: what is in use stays in use
    for move in (registry.activate, registry.rollback):
        with pytest.raises(NewerObject):  # and nobody writes over what cannot be read
            move(digest, versions[0])
    with upgraded():
        assert registry.rollback(digest).version == versions[0]
        new.look()
    assert captioners["old"].adapters == versions[:1]
    assert captioners["new"].adapters == [versions[0], versions[1], versions[0]]
