"""A worker with a canary: whose turn a job is, what its record says, and what is seen of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from producer.bucket.segments import segments_done
from shared import telemetry
from shared.bucket.stored import read
from shared.bucket.trials import TrialPages
from shared.cards import CLASSES, CardChoice
from shared.errors import (
    BadAdapter,
    EmptyCaption,
    InternalError,
    NotFinite,
    OutOfResources,
    StoreUnavailable,
    TooSlow,
)
from shared.messages import AdapterUsed, CaptionJob, ModelIdentity, Sampling
from shared.trials import Observation, TrialPage, arm_of
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
    silent = False
    """So is the base model."""
    said = 0
    """Captions by the canary, of those that count."""
    fails: Exception | None = None
    falls: Exception | None = None
    """Whenever it is asked for a caption."""
    both_fall = False

    def caption(self, *args: Any) -> Answer:
        canary = args[4]
        if self.falls is not None and (canary is not None or self.both_fall):
            raise self.falls
        if canary is None:
            return Answer("" if self.silent else "빨간 원이 움직입니다.", True, 2, 3, 9, None)
        by = AdapterUsed(version=self.tried[-1].version, generation=canary)
        return Answer("" if self.mute else "파란 사각형이 멈춰 있습니다.", True, 2, 3, 9, by)

    def check_adapter(self, version: str, directory: Path) -> Any:
        if self.fails is not None:
            raise self.fails
        return super().check_adapter(version, directory)


class Place:
    """A worker of a base model of its own, whose canary has half of the jobs."""

    def __init__(
        self,
        world: World,
        folder: Path,
        decoders: DecoderPool,
        name: str,
        paired: bool = False,
        pairs: bool = True,
        captioner: "Two | None" = None,
    ) -> None:
        self.world, self.base = world, (name * 64)[:64]
        self.model = ModelIdentity(id="tests/tiny", revision="1", weights_sha256=self.base)
        (folder / "adapter_model.safetensors").write_bytes(name.encode())
        (folder / "adapter_config.json").write_bytes(b"{}")
        self.version = publish(world.registry, folder, self.model).version
        self.captioner = captioner or Two()
        self.pages = TrialPages(world.store, world.output, world.prefix, self.base)
        self.trials = Trials(self.pages, "worker", pairs=pairs, every_s=5)
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

    def jobs(self, **recipe: object) -> dict[str, CaptionJob]:
        """One whose turn is the canary's, and one of the incumbent's."""
        found: dict[str, CaptionJob] = {}
        canary, number = self.pointer.canary, 0
        assert canary is not None
        while len(found) < 2:
            video = self.world.upload(self.clip, f"{self.name}-{number}.mp4")
            job = self.world.job(video, **recipe)
            found.setdefault(arm_of(job.id, self.pointer.generation, canary), job)
            number += 1
        return found

    def seen(self) -> list[Observation]:
        self.trials.write()
        return list(self.pages.read_new(self.pointer.generation, {}).observations)

    def apart(self) -> str:
        """As the worker's page says."""
        self.trials.write()
        key = f"{self.pages.folder(self.pointer.generation)}worker-0.json"
        return read(self.world.store, TrialPage, self.world.output, key).apart


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


def test_nothing_is_captioned_twice_where_nothing_is_kept_of_frames(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    """Whatever the pointer says: it would be twice the work."""
    place = Place(world, tmp_path, decoders, "7", paired=True, pairs=False)
    place.follower.look()
    for job in place.jobs().values():
        assert place.work.run(job, taken(world, job)) == "ok"
    assert sorted((one.arm, one.pair) for one in place.seen()) == [
        ("canary", None),
        ("incumbent", None),
    ]


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


@pytest.mark.parametrize(("arm", "mute"), [("canary", True), ("incumbent", True), ("incumbent", 0)])
def test_of_what_the_incumbent_has_nothing_to_say_both_are_seen_too(
    world: World, decoders: DecoderPool, tmp_path: Path, arm: str, mute: bool
) -> None:
    """Or the canary would be compared by what is left."""
    place = Place(world, tmp_path, decoders, f"8{arm[0]}{int(mute)}", paired=True)
    place.captioner.silent, place.captioner.mute = True, mute
    place.follower.look()
    job = place.jobs()[arm]
    lease = taken(world, job)
    with pytest.raises(EmptyCaption) as nothing:
        place.work.run(job, lease)
    assert place.seen() == []
    assert place.work.fail(job, lease, nothing.value) is False
    seen = {one.arm: one for one in place.seen()}
    assert {name: one.bad for name, one in seen.items()} == {
        "canary": ("empty",) if mute else (),
        "incumbent": ("empty",),
    }
    assert not any(one.published for one in seen.values())
    assert seen["canary"].pair == seen["incumbent"].pair is not None


@pytest.mark.parametrize("arm", ["canary", "incumbent"])
@pytest.mark.parametrize("falls", [NotFinite("NaN"), RuntimeError("a step failed")])
def test_a_canary_that_breaks_the_engine_fails_no_job_and_is_seen(
    world: World, decoders: DecoderPool, tmp_path: Path, arm: str, falls: Exception
) -> None:
    name = f"c{arm[0]}{type(falls).__name__[0]}".lower()
    place = Place(world, tmp_path, decoders, name, paired=True)
    place.captioner.falls = falls
    place.follower.look()
    job = place.jobs()[arm]
    assert place.work.run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert caption.adapter is None
    assert caption.trial is not None
    instead = getattr(falls, "reason", InternalError.reason) if arm == "canary" else ""
    assert (caption.trial.arm, caption.trial.instead) == ("incumbent", instead)
    seen = {one.arm: one for one in place.seen()}
    assert {name: one.bad for name, one in seen.items()} == {
        "canary": ("retried",),
        "incumbent": (),
    }
    assert seen["canary"].pair == seen["incumbent"].pair is not None


@pytest.mark.parametrize("arm", ["canary", "incumbent"])
def test_a_film_that_both_fall_over_is_seen_of_both(
    world: World, decoders: DecoderPool, tmp_path: Path, arm: str
) -> None:
    place = Place(world, tmp_path, decoders, f"d{arm[0]}", paired=True)
    place.captioner.falls, place.captioner.both_fall = NotFinite("NaN"), True
    place.follower.look()
    job = place.jobs()[arm]
    lease = taken(world, job)
    with pytest.raises(NotFinite) as nothing:
        place.work.run(job, lease)
    assert place.work.fail(job, lease, nothing.value) is False
    assert {one.arm: one.bad for one in place.seen()} == {
        "canary": ("retried",),
        "incumbent": ("retried",),
    }


def test_what_the_machine_or_the_film_is_to_blame_for_is_seen_of_nobody(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "e", paired=True)
    place.follower.look()
    place.captioner.both_fall = True
    job = place.jobs()["canary"]
    for error in (RuntimeError("the engine has ended"), TooSlow("out of time")):
        place.captioner.falls, lease = error, taken(world, job)
        with pytest.raises(type(error)):
            place.work.run(job, lease)
    assert place.work.fail(job, lease, TooSlow("out of time")) is False
    assert place.seen() == []


def test_what_could_be_in_pairs_and_is_not_says_so(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    for name, options, pairable in (("9a", {}, True), ("9b", {"segments": "3"}, False)):
        folder = tmp_path / name
        folder.mkdir()
        place = Place(world, folder, decoders, name, paired=True)
        place.follower.look()
        job = place.jobs(sampling=Sampling(**options))["incumbent"]  # type: ignore[arg-type]
        assert place.work.run(job, taken(world, job)) in ("ok", "partial")
        assert {one.pairable for one in place.seen()} == {pairable}


def test_a_canary_that_does_not_fit_stops_nobody(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "4")
    assert refused(place, BadAdapter("half a file")) == {"worker": "bad_adapter: half a file"}


def test_what_is_wrong_with_a_worker_does_not_end_a_trial(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    """Who is refused by one is rolled back for all. But people see why it stays apart."""
    place = Place(world, tmp_path, decoders, "6")
    for error, why in (
        (StoreUnavailable("S3 is away"), "store_unavailable: S3 is away"),
        (OutOfResources("no room beside it"), "out_of_resources: no room beside it"),
    ):
        assert refused(place, error) == {}
        assert place.apart() == why
        assert reasons() == {error.reason}
    place.captioner.fails = None
    place.follower.look()  # it passed
    assert place.apart() == ""
    assert reasons() == set()
    world.registry.end_canary(place.base, by="operator")
    place.pointer = world.registry.begin_canary(
        place.base, place.version, 0.5, paired=False, by="operator"
    )
    assert refused(place, RuntimeError("a fault of ours")) == {}
    assert place.apart() == "internal_error: RuntimeError('a fault of ours')"
    world.registry.end_canary(place.base, by="operator")
    place.follower.look()
    assert reasons() == set()


def reasons() -> set[str]:
    """Why there is no canary here, as the metric says."""
    (family,) = telemetry.CANARY_APART.collect()
    return {one.labels["reason"] for one in family.samples}


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


# --- a long video --------------------------------------------------------------------------------

SEGMENTS = Sampling(segments="3")


class Wordy(Two):
    """Its canary says two segments, and not a third."""

    def __init__(self, third: Exception | str) -> None:
        super().__init__()
        self.third = third

    def caption(self, *args: Any) -> Answer:
        if args[4] is not None:
            self.said += 1
            if self.said == 3:
                if isinstance(self.third, BaseException):
                    raise self.third
                self.mute = not self.third
        return super().caption(*args)

    def answer(self, *args: Any, **options: Any) -> Answer:
        return self.caption(None, *args)


def test_a_long_video_that_another_one_summed_up_is_on_no_side(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    later = AdapterUsed(version="f" * 12, generation=99)

    class Moved(Wordy):
        def answer(self, *args: Any, **options: Any) -> Answer:
            return replace(super().answer(*args, **options), adapter=later)

    place = Place(world, tmp_path, decoders, "c", captioner=Moved(""))
    place.follower.look()
    job = place.jobs(sampling=SEGMENTS)["incumbent"]
    assert place.work.run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert (caption.adapter, caption.trial) == (later, None)
    assert place.seen() == []


@pytest.mark.parametrize("third", ["", NotFinite("its numbers are not finite")])
def test_what_a_canary_cannot_say_to_its_end_is_said_by_the_incumbent_from_the_beginning(
    world: World, decoders: DecoderPool, tmp_path: Path, third: Exception | str
) -> None:
    """All parts of a record are by one adapter."""
    place = Place(world, tmp_path, decoders, "d" if third else "8", captioner=Wordy(third))
    place.follower.look()
    job = place.jobs(sampling=SEGMENTS)["canary"]
    assert place.work.run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert [one.adapter for one in caption.segments] == [None] * 3
    assert caption.trial is not None
    reason, bad = ("not_finite", "retried") if third else (EmptyCaption.reason, "empty")
    assert (caption.trial.arm, caption.trial.instead) == ("incumbent", reason)
    assert [(one.arm, one.bad) for one in place.seen()] == [("canary", (bad,))]


def test_a_canary_says_a_long_video_from_where_a_worker_was_killed(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "9", captioner=Wordy(KeyboardInterrupt()))
    place.follower.look()
    job = place.jobs(sampling=SEGMENTS)["canary"]
    lease = taken(world, job)
    with pytest.raises(KeyboardInterrupt):
        place.work.run(job, lease)
    assert segments_done(world.store, world.settings, job.video) == (2, 3)
    assert place.work.run(job, lease) == "ok"
    caption = world.caption(job)
    assert {one.adapter.version if one.adapter else None for one in caption.segments} == {
        place.version
    }
    assert place.captioner.said == 5  # the one that was killed, the third again, and the whole
    assert [(one.arm, one.bad) for one in place.seen()] == [("canary", ())]


def test_nobody_goes_on_from_what_a_canary_said_whose_trial_is_over(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    place = Place(world, tmp_path, decoders, "a", captioner=Wordy(KeyboardInterrupt()))
    place.follower.look()
    job = place.jobs(sampling=SEGMENTS)["canary"]
    lease = taken(world, job)
    with pytest.raises(KeyboardInterrupt):
        place.work.run(job, lease)
    world.registry.end_canary(place.base, by="watch", why="it was worse")
    place.follower.look()
    assert place.work.run(job, lease) == "ok"
    caption = world.caption(job)
    assert [one.adapter for one in caption.segments] == [None] * 3
    assert caption.trial is None
    assert place.seen() == []


def test_a_long_video_begins_anew_if_its_trial_ends_meanwhile(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    class Left(Wordy):
        """The engine asks for what is in use, once there is no canary."""

        def caption(self, *args: Any) -> Answer:
            is_over = args[4] is not None and self.said == 1
            return super().caption(*args[:4], None) if is_over else super().caption(*args)

    place = Place(world, tmp_path, decoders, "b", captioner=Left(""))
    place.follower.look()
    job = place.jobs(sampling=SEGMENTS)["canary"]
    assert place.work.run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert [one.adapter for one in caption.segments] == [None] * 3
    assert place.seen() == []
