"""Frames that were looked at: the next caption of the same video needs no byte, no decoder and no
vision, and is the same as without. With the real model's code, a real store and real decoders."""

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from celery import Celery

from infra.demo.clips import Clip, render, write_film
from infra.demo.scenes import single
from producer.jobs.send import send
from shared import telemetry
from shared.broker.apps import CAPTION_TASK, caption_app, queues_of
from shared.broker.leased_queues import History
from shared.bucket.keys import failure_key, record_key
from shared.bucket.storage import ObjectStore
from shared.cards import CLASSES, CardChoice
from shared.errors import HandedUp, LacksMemory, LeaseLost, NoRoom, Overwritten
from shared.messages import (
    AdapterUsed,
    BacklogLine,
    Caption,
    CaptionJob,
    Colour,
    Decoding,
    Sampling,
    Video,
)
from shared.prompts import BASE_PROMPT
from tests.adapters import make_adapter
from tests.colours import BT2020, GREYS, PQ, X265, colour_film, with_dolby
from tests.fields import MPEG2, field_film, picture, woven
from tests.tiny_model import make_checkpoint
from tests.videos import write_clip
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer, EngineCaptioner
from workers.caption.features import Kept
from workers.delivery.leases import Leases
from workers.jobs import looks
from workers.jobs.caption import CaptionWork
from workers.jobs.looks import Film, Look
from workers.jobs.turns import Turn, Turns
from workers.model.loading import LoadedModel, load_model
from workers.progress import Progress
from workers.tasks import register_caption
from workers.video.pool import DecoderPool, OpenVideo
from workers.video.sampling import Request

pytestmark = [pytest.mark.integration, pytest.mark.model]

SCENES = (
    single("black", "red", "circle", "rightwards"),
    single("white", "blue", "star", "still"),
)


class Counting(DecoderPool):
    """How often a video was opened."""

    opened = 0

    def open(self, *args: Any) -> AbstractContextManager[OpenVideo]:
        self.opened += 1
        return super().open(*args)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Counting]:
    pool = Counting(1)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> LoadedModel:
    return load_model(checkpoint, model_id="tests/tiny", revision="1")


class Worker:
    """What the composition root wires up, without Celery; and what its parts were asked for."""

    def __init__(
        self,
        world: World,
        loaded: LoadedModel,
        decoders: Counting,
        kept: Kept | None = None,
        served: tuple[str, ...] = (),
    ) -> None:
        self._world, self._decoders = world, decoders
        self.captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=2)
        self.asked: Counter[str] = Counter()
        self.sent: list[tuple[CaptionJob, str]] = []
        runner = self.captioner.engine._runner
        see = runner.see

        def noticed(frames: torch.Tensor, pool_stride: int | None = None) -> torch.Tensor:
            self.asked["frames"] += len(frames)
            return see(frames, pool_stride)

        runner.see = noticed  # type: ignore[method-assign]
        asked = self.asked

        class Store(ObjectStore):
            def get_range(self, bucket: str, *args: Any, **kwargs: Any) -> bytes:
                asked["ranges"] += bucket == world.videos
                return super().get_range(bucket, *args, **kwargs)

        self.work = CaptionWork(
            world.settings,
            Store(),
            self.captioner,
            loaded.identity,
            CardChoice(CLASSES["cpu"], "cpu", "float32", "a test"),
            decoders,
            lambda job, queue: self.sent.append((job, queue)),
            lambda: False,
            kept=Kept(1 << 20) if kept is None else kept,
            served=lambda: served,
        )

    def caption(self, job: CaptionJob) -> tuple[Caption, dict[str, int]]:
        """And what it took."""
        self.asked.clear()
        self._decoders.opened = 0
        assert self.work.run(job, taken(self._world, job)) in ("ok", "partial")
        cost = {"videos": self._decoders.opened, **self.asked}
        return self._world.caption(job), {what: count for what, count in cost.items() if count}

    def close(self) -> None:
        self.captioner.engine.audit()
        self.captioner.engine.close()


@pytest.fixture
def worker(world: World, loaded: LoadedModel, decoders: Counting) -> Iterator[Worker]:
    made = Worker(world, loaded, decoders)
    yield made
    made.close()


@pytest.fixture
def cold(world: World, loaded: LoadedModel, decoders: Counting) -> Iterator[Worker]:
    """It keeps nothing."""
    made = Worker(world, loaded, decoders, Kept(0))
    yield made
    made.close()


def told(caption: Caption) -> dict[str, Any]:
    """All that does not say when, of which recipe, and what was fetched for it."""
    said = caption.model_dump(exclude={"timings_s", "created_at", "recipe", "recipe_id"})
    for frames in (said["frames"], *(one["frames"] for one in said["segments"])):
        del frames["fetched_bytes"]
    return said


def damaged(clip: Path) -> Path:
    """Its second half cannot be decoded."""
    body = bytearray(clip.read_bytes())
    start = body.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(body[start - 8 : start - 4])
    half = (start + end) // 2
    body[half:end] = b"\xff" * (end - half)
    clip.write_bytes(body)
    return clip


def hits() -> tuple[float, float]:
    counts = telemetry.FEATURES
    return (counts.labels("hit")._value.get(), counts.labels("miss")._value.get())


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "damaged"])
def test_another_prompt_draw_generation_or_adapter_looks_at_nothing(
    world: World,
    worker: Worker,
    cold: Worker,
    checkpoint: Path,
    tmp_path: Path,
    is_damaged: bool,
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 40)
    video = world.upload(damaged(clip) if is_damaged else clip, f"looks/{is_damaged}.mp4")
    before = hits()
    first, cost = worker.caption(world.job(video))
    assert (cost["videos"], cost["frames"]) == (1, first.frames.decoded)
    assert cost["ranges"]
    assert first.frames.fetched_bytes
    assert bool(first.frames.damage) == ("damaged" in first.flags) == is_damaged
    adapter = worker.captioner.check_adapter("v1", make_adapter(checkpoint, tmp_path, 1))
    prompt = BASE_PROMPT.replace("ASSISTANT:", "짧게. ASSISTANT:")
    drawn = Decoding(max_new_tokens=12, temperature=2.0, language="ko")
    texts = [first.text]
    for use, recipe in (
        (None, {"generation": 1}),
        (None, {"generation": 2, "prompt": prompt}),
        (None, {"generation": 3, "decoding": drawn}),
        (AdapterUsed(version="v1", generation=1), {"generation": 4}),
    ):
        for one in (worker, cold):
            one.captioner.use_adapter(use, adapter)
        again, cost = worker.caption(world.job(video, **recipe))
        assert cost == {}
        assert again.frames.fetched_bytes == 0
        # The same question on the worker that keeps nothing.
        job = world.job(video, **{**recipe, "generation": 10 + recipe["generation"]})  # type: ignore[operator]
        alone, cost = cold.caption(job)
        assert cost["frames"] == first.frames.decoded
        assert told(again) == told(alone)
        texts.append(again.text)
    assert len(set(texts)) >= 4
    assert hits() == (before[0] + 4, before[1] + 5)


def test_other_content_other_frames_and_other_weights_are_looked_at(
    world: World, loaded: LoadedModel, decoders: Counting, tmp_path: Path
) -> None:
    kept = Kept(1 << 20)
    worker = Worker(world, loaded, decoders, kept)
    video = world.upload(write_clip(tmp_path / "a.mp4", 12), "looks/other.mp4")
    worker.caption(world.job(video))
    fewer = Sampling(frames=2)
    _, cost = worker.caption(world.job(video, sampling=fewer))
    assert (cost["videos"], cost["frames"]) == (1, 2)
    assert worker.caption(world.job(video, sampling=fewer, generation=1))[1] == {}
    _, cost = worker.caption(world.job(video, sampling=Sampling(strategy="adaptive")))
    assert cost["videos"] == 1
    worker.close()

    folder = Path(shutil.copytree(loaded.model.config._name_or_path, tmp_path / "another"))
    for file in folder.glob("*.safetensors"):
        file.rename(folder / f"another-{file.name}")  # another digest, which is of names, too
    (folder / "model.safetensors").symlink_to(next(folder.glob("another-*")))
    another = load_model(folder, model_id="tests/tiny", revision="1")
    assert another.identity != loaded.identity
    pooled = load_model(folder, model_id="tests/tiny", revision="1", pool_stride=3)
    for number, model in enumerate((another, pooled)):
        worker = Worker(world, model, decoders, kept)
        _, cost = worker.caption(world.job(video, generation=2 + number))
        assert cost["videos"] == 1
        worker.close()


def test_an_overwritten_video_is_found_whatever_was_kept(
    world: World, worker: Worker, tmp_path: Path
) -> None:
    key = "looks/overwritten.mp4"
    video = world.upload(write_clip(tmp_path / "a.mp4", 12), key)
    worker.caption(world.job(video))
    newer = world.upload(write_clip(tmp_path / "b.mp4", 24), key)
    job = world.job(video, generation=1)
    with pytest.raises(Overwritten):
        worker.work.run(job, taken(world, job))
    assert [one.video.etag for one, _ in worker.sent] == [newer.etag]
    _, cost = worker.caption(world.job(newer))
    assert cost["videos"] == 1
    # By its version it is still there: the bucket says so, and what was kept is of this content.
    found = boto3.client("s3").list_object_versions(Bucket=world.videos, Prefix=key)
    old = next(one for one in found["Versions"] if not one["IsLatest"])
    pinned = Video(**{**video.model_dump(), "version_id": old["VersionId"]})
    assert worker.caption(world.job(pinned, generation=2))[1] == {}


def test_segments_of_a_long_video_are_not_looked_at_again(
    world: World, worker: Worker, cold: Worker, tmp_path: Path
) -> None:
    path = tmp_path / "long.mp4"
    parts = [render(scene, Clip(7, fps=12, duration_s=2.0)) for scene in SCENES]
    write_film(path, torch.cat([torch.from_numpy(one) for one in parts]).numpy(), 12)
    video = world.upload(path, "looks/long.mp4")
    in_parts = Sampling(segments="2")
    first, cost = worker.caption(world.job(video, sampling=in_parts))
    assert cost["videos"] == 1
    assert len(first.segments) == 2
    again, cost = worker.caption(world.job(video, sampling=in_parts, generation=1))
    assert cost == {}
    alone, _ = cold.caption(world.job(video, sampling=in_parts, generation=2))
    assert told(again) == told(alone) == told(first)


# --- when the memory of a card is too small ------------------------------------------------------


def small_card(worker: Worker, patch: pytest.MonkeyPatch, positions: int) -> None:
    """As one that has no memory for a longer prompt."""
    inputs = worker.captioner.engine._runner.inputs

    def lacking(ids: Any, *rest: Any) -> torch.Tensor:
        if len(ids) > positions:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return inputs(ids, *rest)

    patch.setattr(worker.captioner.engine._runner, "inputs", lacking)


def test_what_lacks_memory_alone_gets_fewer_frames_and_says_so(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 40), "looks/less.mp4")
    whole, _ = worker.caption(world.job(video))
    assert (whole.frames.decoded, whole.tokens.visual) == (4, 36)
    with monkeypatch.context() as patch:
        small_card(worker, patch, whole.tokens.prompt + 20)
        pooled, _ = worker.caption(world.job(video, generation=1))
    assert (pooled.frames.decoded, pooled.tokens.visual) == (4, 16)
    assert "reduced" not in pooled.flags
    with monkeypatch.context() as patch:
        small_card(worker, patch, whole.tokens.prompt + 10)
        fewer, _ = worker.caption(world.job(video, generation=2))
    assert (fewer.frames.decoded, fewer.tokens.visual, fewer.frames.requested) == (2, 8, 2)
    assert "reduced" in fewer.flags
    # Of these, too, the features are kept; and of the others nothing is forgotten.
    assert worker.caption(world.job(video, generation=3))[1] == {}
    worker.captioner._room._until = 0.0
    after, cost = worker.caption(world.job(video, generation=4))
    assert (after.tokens.visual, cost) == (36, {})


def test_what_does_not_fit_at_all_goes_to_a_larger_card(
    world: World,
    loaded: LoadedModel,
    decoders: Counting,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """If one takes work; else it fails, and says what to do."""
    video = world.upload(write_clip(tmp_path / "a.mp4", 40), "looks/larger.mp4")
    job = world.job(video, sampling=Sampling(frames=4), generation=7)
    for served in (("caption.t4",), ("caption.t4", "caption.a100", "caption.h100")):
        worker = Worker(world, loaded, decoders, served=served)
        with monkeypatch.context() as patch:
            small_card(worker, patch, 0)
            lease = taken(world, job)
            with pytest.raises(HandedUp if len(served) > 1 else LacksMemory) as error:
                worker.work.run(job, lease)
            if len(served) == 1:
                worker.work.fail(job, lease, error.value)
        worker.close()
    [(moved, queue)] = worker.sent
    assert (moved.card, queue, moved.id) == ("a100", "caption.a100", job.id)
    # One that was not tried has no reason to go; nor has one that workers died with.
    worker = Worker(world, loaded, decoders, served=("caption.a100",))
    with monkeypatch.context() as patch:
        small_card(worker, patch, 0)
        lease = taken(world, job)
        lease.delivery = replace(lease.delivery, history=History(hangs=1, workers=("a",)))
        with pytest.raises(LacksMemory):
            worker.work.run(job, lease)
        with pytest.raises(NoRoom):
            worker.work.run(job, taken(world, job))
    worker.close()
    assert worker.sent == []
    failure = world.failure(job)
    assert failure.reason == "lacks_memory"
    assert "larger card" in failure.cure


def test_a_job_for_a_larger_card_is_in_its_queue_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, decoders: Counting
) -> None:
    """Through the task: its message here is over, and the backlog that it is of hears nothing."""

    class Small(Silent):
        def caption(self, *args: Any) -> Answer:
            raise LacksMemory("memory ran out")

    noted: list[object] = []
    monkeypatch.setattr(Leases, "note", lambda *args: noted.append(args))
    larger = "caption.l4"
    work = work_with(world, Small(), decoders)
    work._card = CardChoice(CLASSES["t4"], "cpu", "float32", "a test")
    work._served = lambda: [larger]
    work._send = lambda job, queue: send(world.queues, queue, [job])
    leases = Leases(world.queues, 1, dict)
    leases.start()
    video = world.upload(write_clip(tmp_path / "a.mp4", 12), "looks/up.mp4")
    line = BacklogLine(name="all", line=3)
    job = world.job(video, generation=9).model_copy(update={"backlog": line})
    world.send(job)
    before = world.queues.counts()
    run_task(leases, work, job)
    assert noted == []
    assert world.queues.counts() == before
    assert world.waiting("caption.t4") == 0
    assert world.waiting(larger) == 1
    moved = world.queues.take(world.queues.new_lease(), [larger])
    assert moved is not None
    assert moved.history == History()
    leases.leave()


# --- jobs of one video that come together --------------------------------------------------------


def together(world: World, worker: Worker, jobs: list[CaptionJob]) -> list[Caption]:
    leases = [taken(world, job) for job in jobs]
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(worker.work.run, jobs, leases))
    return [world.caption(job) for job in jobs]


def test_of_a_pair_that_comes_at_once_one_looks(
    world: World, worker: Worker, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 40), "looks/pair.mp4")
    jobs = [world.job(video, generation=number) for number in range(4)]
    worker._decoders.opened = 0
    worker.asked.clear()
    captions = together(world, worker, jobs)
    assert worker._decoders.opened == 1
    assert worker.asked["frames"] == captions[0].frames.decoded
    assert [one.frames.fetched_bytes > 0 for one in captions].count(True) == 1
    assert len({str(told(one)) for one in captions}) == 1
    # Of a long video the second one follows the first, and may overtake it.
    parts = Sampling(segments="2")
    jobs = [world.job(video, sampling=parts, generation=number) for number in range(3)]
    assert len({str(told(one)) for one in together(world, worker, jobs)}) == 1
    assert worker.work._turns._taken == {}


def test_if_it_fails_the_next_one_looks(
    world: World, worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 40), "looks/fails.mp4")
    jobs = [world.job(video, generation=number) for number in range(3)]
    leases = [taken(world, job) for job in jobs]
    see, calls = worker.captioner.engine._runner.see, iter(range(10))

    def failing(*args: Any) -> torch.Tensor:
        if next(calls) == 0:
            raise KeyError("its own fault")
        return see(*args)

    monkeypatch.setattr(worker.captioner.engine._runner, "see", failing)
    with ThreadPoolExecutor(3) as pool:
        done = [
            pool.submit(worker.work.run, job, lease)
            for job, lease in zip(jobs, leases, strict=True)
        ]
    assert sorted(type(one.exception()) for one in done if one.exception()) == [KeyError]
    assert worker.asked["frames"] == 4


def test_nobody_waits_for_long_nor_with_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, first, second = Turns(), Progress(), Progress()
    with turns.of(first) as one, turns.of(second) as other:
        one.take("a")
        other.take("a", 0.0)
        assert turns._taken["a"] is one
        before = second.pulse
        other.take("a", 0.3)
        first.tick("frames")
        assert second.pulse > before
        assert turns._taken["a"] is one
        other.take("b")
        one.take("b", 0.0)  # so that it has none: it gave up its own
        assert turns._taken == {"b": other}
        second.stop(LeaseLost("lost"))
        one.take("a")
        with pytest.raises(LeaseLost):
            other.take("a")
    assert turns._taken == {}


def test_who_has_a_decoder_does_not_wait_for_one_who_wants_it(
    world: World, worker: Worker, tmp_path: Path
) -> None:
    """With one decoder for all, and a turn that nobody gives up."""
    video = world.upload(write_clip(tmp_path / "a.mp4", 40), "looks/turn.mp4")
    job = world.job(video, sampling=Sampling(segments="2"))
    turns, look = worker.work._turns, Film.look
    stuck = Turn(turns._changed, turns._taken, Progress())

    def taken_before(film: Film, request: Request, sight: str) -> Look:
        if request.window_s and request.window_s[0]:
            film._turn.leave()
            stuck.take((*film._content, request, sight))
        return look(film, request, sight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Film, "look", taken_before)
        patch.setattr(looks, "LONGEST_S", 3600.0)
        worker.caption(job)
    stuck.leave()


def run_task(leases: Leases, work: CaptionWork, job: CaptionJob) -> None:
    """As Celery does, with the next message."""
    app = Celery(set_as_current=False)
    register_caption(app, lambda: leases, lambda: work)
    delivery = leases.receive(["caption.t4"], 5)
    assert delivery is not None
    task = app.tasks[CAPTION_TASK]
    task.push_request(properties={"delivery_tag": delivery.lease})
    task.run(job.model_dump(mode="json"))
    task.pop_request()
    leases.finished(delivery.lease)
    assert leases.flush(5)


def test_a_fatal_error_of_the_device_ends_the_worker_and_writes_nothing(
    world: World,
    loaded: LoadedModel,
    decoders: Counting,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """After an error of CUDA nothing is computed in a process any more."""
    worker, ended = Worker(world, loaded, decoders), []
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "looks/fatal.mp4"))
    world.send(job)
    # Of a job that stands still for so long on a slow machine this is not about.
    patient = world.settings.model_copy(update={"visibility_timeout_s": 600.0})
    queues = queues_of(caption_app(patient))
    leases = Leases(queues, 1, dict)
    leases.start()

    def failing(*args: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name in ("begin", "free", "lengths"):
        monkeypatch.setattr(worker.captioner.engine._runner, name, failing)
    leases.machine.check("device", failing, ended.append)
    leases.machine.check("engine", worker.captioner.prove, ended.append)
    run_task(leases, worker.work, job)
    assert ended[0].startswith("device: CUDA error")
    for key in (record_key(world.prefix, job), failure_key(world.prefix, job)):
        assert not world.store.exists(world.output, key)
    # As this end was played, the message was handed back; else its lease would end.
    back = queues.take(queues.new_lease(), ["caption.t4"])
    assert back is not None
    assert back.history == History()
    # Whoever asks is told, and does not wait.
    with pytest.raises(RuntimeError):
        worker.captioner.answer("USER: ASSISTANT:", Decoding(max_new_tokens=4), Progress())
    leases.leave()


def test_a_record_says_what_was_done_to_the_pictures(
    world: World, worker: Worker, tmp_path: Path
) -> None:
    """Of one in HDR, of one whose colours only Dolby's decoder finds, and of an interlaced one."""
    tags, options = (PQ, BT2020, 9), {"x265-params": X265}
    hdr = colour_film(tmp_path / "hdr.mp4", GREYS, tags, "libx265", options)
    dolby = with_dolby(tmp_path / "dolby.mp4", hdr, 5, 0)
    kind, codec, fields = MPEG2
    both = woven(picture(0), picture(1))
    interlaced = field_film(tmp_path / f"interlaced.{kind}", both, codec, fields, "tff")
    said = []
    for path in (hdr, dolby, interlaced):
        caption, _ = worker.caption(world.job(world.upload(path, f"looks/{path.name}")))
        said.append(("hdr" in caption.flags, caption.frames.colour, caption.frames.deinterlaced))
    assert said == [
        (False, Colour(transfer="pq", primaries="bt2020", mapped=True), 0),
        (True, Colour(transfer="pq", primaries="bt2020", mapped=False), 0),
        (False, None, 2),
    ]
