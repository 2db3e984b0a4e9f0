"""A worker with a canary: whose turn a job is, what its record says, and what is seen of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.bucket.trials import TrialPages
from shared.cards import CLASSES, CardChoice
from shared.errors import BadAdapter, EmptyCaption, StoreUnavailable
from shared.messages import AdapterUsed, CaptionJob, ModelIdentity
from shared.trials import Observation, arm_of
from tests.adapters import publish
from tests.videos import write_clip
from tests.work import Silent, never, taken
from tests.world import World
from workers.caption.captioner import Answer
from workers.jobs.adapters import AdapterFollower
from workers.jobs.caption import CaptionWork
from workers.jobs.trials import Trials
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration

CARD = CardChoice(CLASSES["l4"], "cpu", "float32", "a test")


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


class Two(Silent):
    """The base model, and beside it a canary."""

    mute = False
    fails: Exception | None = None

    def caption(self, *args: Any) -> Answer:
        canary = args[4]
        if canary is None:
            return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)
        by = AdapterUsed(version=self.tried[-1].version, generation=canary)
        return Answer("" if self.mute else "파란 사각형이 멈춰 있습니다.", True, 2, 3, 9, by)

    def check_adapter(self, version: str, directory: Path) -> Any:
        if self.fails is not None:
            raise self.fails
        return super().check_adapter(version, directory)


class Place:
    """A worker of a base model of its own, whose canary has half of the jobs."""

    def __init__(
        self, world: World, folder: Path, decoders: DecoderPool, name: str, paired: bool = False
    ) -> None:
        self.world, self.base = world, (name * 64)[:64]
        self.model = ModelIdentity(id="tests/tiny", revision="1", weights_sha256=self.base)
        (folder / "adapter_model.safetensors").write_bytes(name.encode())
        (folder / "adapter_config.json").write_bytes(b"{}")
        self.version = publish(world.registry, folder, self.model).version
        self.captioner = Two()
        self.pages = TrialPages(world.store, world.output, world.prefix, self.base)
        self.trials = Trials(self.pages, "worker")
        self.follower = AdapterFollower(
            world.registry, self.captioner, self.base, 60, None, trials=self.trials
        )
        self.work = CaptionWork(
            world.settings,
            world.store,
            self.captioner,
            self.model,
            CARD,
            decoders,
            never,
            lambda: False,
            trials=self.trials,
        )
        self.pointer = world.registry.begin_canary(
            self.base, self.version, 0.5, paired=paired, by="operator"
        )
        self.clip, self.name = write_clip(folder / "a.mp4", 12), name

    def jobs(self) -> dict[str, CaptionJob]:
        """One whose turn is the canary's, and one of the incumbent's."""
        found: dict[str, CaptionJob] = {}
        canary, number = self.pointer.canary, 0
        assert canary is not None
        while len(found) < 2:
            job = self.world.job(self.world.upload(self.clip, f"{self.name}-{number}.mp4"))
            found.setdefault(arm_of(job.id, self.pointer.generation, canary), job)
            number += 1
        return found

    def seen(self) -> list[Observation]:
        self.trials.write()
        return list(self.pages.read_new(self.pointer.generation, {}).observations)


def test_each_job_is_captioned_by_whose_turn_it_is_and_seen_once(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "1")
    place.follower.look()
    for arm, job in place.jobs().items():
        assert place.work.run(job, taken(world, job)) == "ok"
        caption = world.caption(job)
        assert caption.trial is not None
        assert (caption.trial.arm, caption.trial.instead) == (arm, "")
        assert caption.trial.generation == place.pointer.generation
        by = caption.adapter.version if caption.adapter else None
        assert by == (place.version if arm == "canary" else None)
        # Delivered again, it is not seen again.
        assert place.work.run(job, taken(world, job)) == "duplicate"
    assert sorted((one.arm, one.published, one.bad) for one in place.seen()) == [
        ("canary", True, ()),
        ("incumbent", True, ()),
    ]


def test_in_pairs_one_caption_is_published_and_both_are_seen(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "2", paired=True)
    place.follower.look()
    job = place.jobs()["incumbent"]
    assert place.work.run(job, taken(world, job)) == "ok"
    assert world.caption(job).adapter is None
    seen = place.seen()
    assert {(one.arm, one.published) for one in seen} == {("incumbent", True), ("canary", False)}
    (pair,) = {one.pair for one in seen}
    assert pair is not None


def test_what_a_canary_owes_the_incumbent_makes_good(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "3")
    place.captioner.mute = True
    place.follower.look()
    job = place.jobs()["canary"]
    assert place.work.run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert caption.adapter is None
    assert caption.trial is not None
    assert (caption.trial.arm, caption.trial.instead) == ("incumbent", EmptyCaption.reason)
    assert [(one.arm, one.bad) for one in place.seen()] == [("canary", ("empty",))]


def test_a_canary_that_does_not_fit_stops_nobody(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "4")
    assert refused(place, BadAdapter("half a file")) == {"worker": "bad_adapter: half a file"}


def test_what_is_wrong_with_a_worker_does_not_end_a_trial(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    """Who is refused by one is rolled back for all."""
    place = Place(world, tmp_path, decoders, "6")
    assert refused(place, StoreUnavailable("S3 is away")) == {}
    assert refused(place, RuntimeError("no memory on the device")) == {}


def refused(place: Place, error: Exception) -> dict[str, str]:
    """Worker -> why, once its captioner failed so with the canary."""
    place.captioner.fails = error
    assert place.follower.look()
    job = place.jobs()["canary"]
    place.work.run(job, taken(place.world, job))
    caption = place.world.caption(job)
    assert (caption.adapter, caption.trial) == (None, None)
    place.trials.write()
    news = place.pages.read_new(place.pointer.generation, {})
    assert news.observations == ()
    return news.refused


def test_after_the_end_of_a_trial_what_is_in_use_captions_all(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "5")
    place.follower.look()
    world.registry.end_canary(place.base, by="watch", why="it was worse")
    place.follower.look()
    job = place.jobs()["canary"]
    assert place.work.run(job, taken(world, job)) == "ok"
    assert (world.caption(job).adapter, world.caption(job).trial) == (None, None)
    assert place.seen() == []
