"""A long video, segment by segment: each captioned once, whoever dies or drains on the way."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import redis

from infra.demo.captions import caption as true_caption
from infra.demo.clips import Clip, render, write_film
from infra.demo.scenes import single
from infra.local.processes import stop
from shared.broker.leased_queues import Delivery
from shared.bucket.keys import part_key
from shared.errors import (
    Draining,
    EmptyCaption,
    LacksMemory,
    NotAVideo,
    NotFinite,
    Reject,
    StoreUnavailable,
    TooSlow,
)
from shared.messages import (
    AdapterUsed,
    Caption,
    CaptionJob,
    Cuts,
    Decoding,
    Sampling,
    Segment,
    TokensUsed,
    TrackUsed,
    decode,
)
from tests.captioner import Captioner
from tests.decoders import decoder_processes
from tests.verbs import jamak
from tests.waiting import wait_until
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.caption.frames import Plan
from workers.delivery.leases import Leases
from workers.jobs.describe import COSTLY
from workers.jobs.parts import Parts
from workers.progress import Progress
from workers.video import pool as pool_module
from workers.video import process
from workers.video.pool import DecoderPool, OpenVideo
from workers.video.shape import Frames

pytestmark = [pytest.mark.integration, pytest.mark.model]

SCENES = (
    single("black", "red", "circle", "rightwards"),
    single("white", "blue", "star", "still"),
    single("gray", "yellow", "square", "downwards"),
)
LENGTHS_S = (3.0, 4.0, 2.5)
MANY = 30


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    clips = [Clip(7, fps=12, duration_s=length) for length in LENGTHS_S]
    parts = [render(scene, clip) for scene, clip in zip(SCENES, clips, strict=True)]
    write_film(path, np.concatenate(parts), 12)
    return path


@pytest.fixture
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


def job_of(world: World, path: Path, key: str, segments: str) -> CaptionJob:
    return world.job(world.upload(path, key), sampling=Sampling(segments=segments))


class Counting(Silent):
    """Says which caption it is; `dies_at` ends it as a killed worker ends."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__()
        self.captions = 0
        self.questions: list[str] = []
        self._dies_at = dies_at

    def caption(
        self,
        frames: Frames,
        prompt: str,
        decoding: Decoding,
        progress: Progress,
        canary: int | None = None,
    ) -> Answer:
        self.captions += 1
        if self.captions == self._dies_at:
            raise KeyboardInterrupt
        return Answer(f"{self.captions}번째 장면입니다.", True, 2, 3, 9, None)

    def answer(
        self, prompt: str, decoding: Decoding, progress: Progress, canary: int | None = None
    ) -> Answer:
        self.questions.append(prompt)
        return Answer("모두 모아 보면 이렇습니다.", True, 0, 3, 9, None)


def decoder_process() -> psutil.Process:
    """The one that has the video: a copy of the one that stands by."""
    (process,) = decoder_processes()
    return process


def test_real_workers_caption_part_by_part_and_one_that_is_killed_is_gone_on_from(
    world: World, tmp_path: Path, long_video: Path
) -> None:
    first = Captioner(world, tmp_path, JAMAK_VISIBILITY_TIMEOUT_S="6")
    first.wait()
    film = job_of(world, long_video, "long/film.mp4", "3")
    world.send(film)
    check_film(world, world.caption(film))
    job = job_of(world, long_video, "long/killed.mp4", str(MANY))
    folder = part_key(world.prefix, job, "cuts").removesuffix("cuts.json")

    def parts() -> int:
        return sum(1 for _ in world.store.list(world.output, folder))

    world.send(job)
    wait_until(lambda: parts() > 3, 30, "its first segments")
    os.killpg(first.process.pid, signal.SIGKILL)
    wait_until(lambda: first.process.poll() is not None, 10, "its end")
    done = parts() - 1
    assert done < MANY
    second = Captioner(world, tmp_path, JAMAK_VISIBILITY_TIMEOUT_S="6")
    second.wait()
    caption = world.caption(job)
    stop([second.process], patience_s=20)
    assert len(caption.segments) == MANY
    assert all(one.text for one in caption.segments)
    assert world.times_written(folder).total() == MANY + 1
    lines = second.process.log.read_text().splitlines()
    told = [json.loads(line) for line in lines if '"event":"segment"' in line.replace(" ", "")]
    assert [line["number"] for line in told] == [*range(done, MANY)]


def check_film(world: World, caption: Caption) -> None:
    """Its parts have captions and times of their own, in the record and in the views."""
    assert [one.text for one in caption.segments] == [true_caption(scene) for scene in SCENES]
    assert [one.start_s for one in caption.segments] == pytest.approx([0.0, 3.0, 7.0], abs=0.2)
    assert caption.segments[-1].end_s == caption.duration_s == pytest.approx(9.5)
    assert all(one.frames.decoded == 4 for one in caption.segments)
    assert caption.frames.decoded == len(caption.frames.timestamps_s) == 12
    assert caption.frames.track == TrackUsed(index=0, of=1, reason="the only one")
    assert caption.frames.track == caption.segments[0].frames.track
    assert caption.frames.aspect == caption.segments[0].frames.aspect is not None
    assert list(caption.frames.timestamps_s) == sorted(caption.frames.timestamps_s)
    assert caption.text  # its worth cannot be judged with a model of eight colours
    assert "scene changes" in caption.parting
    subtitles = world.view(caption.video, ".srt").decode()
    assert subtitles.count("-->") == 3
    assert true_caption(SCENES[2]) in subtitles
    assert world.view(caption.video, ".vtt").decode().count("-->") == 3


def test_a_worker_that_died_is_gone_on_from(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    job = job_of(world, long_video, "long/died.mp4", "3")
    lease = taken(world, job)
    first, second = Counting(dies_at=3), Counting()
    with pytest.raises(KeyboardInterrupt):
        work_with(world, first, decoders).run(job, lease)
    assert work_with(world, second, decoders).run(job, lease) == "ok"
    assert second.captions == 1
    caption = world.caption(job)
    said = ["1번째 장면입니다.", "2번째 장면입니다.", "1번째 장면입니다."]
    assert [one.text for one in caption.segments] == said
    assert caption.text == "모두 모아 보면 이렇습니다."
    assert all(text in second.questions[0] for text in said)
    for name in ("cuts", "0000", "0001", "0002"):
        assert world.times_written(part_key(world.prefix, job, name)).total() == 1
    cuts = decode(Cuts, world.store.get(world.output, part_key(world.prefix, job, "cuts")))
    assert len(cuts.segments_s) == 3


def test_a_worker_that_drains_hands_back_between_segments(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    job = job_of(world, long_video, "long/drained.mp4", "3")
    lease = taken(world, job)
    first, second = Counting(), Counting()
    with pytest.raises(Draining):
        work_with(world, first, decoders, draining=lambda: first.captions == 1).run(job, lease)
    # The one that it was at is in the bucket.
    part = world.store.get(world.output, part_key(world.prefix, job, "0000"))
    assert decode(Segment, part).text == "1번째 장면입니다."
    far = jamak(world, "show", f"s3://{world.videos}/long/drained.mp4", code=1).stderr
    assert "1 of 3 segments" in far
    assert work_with(world, second, decoders).run(job, lease) == "ok"
    assert (first.captions, second.captions) == (1, 2)


def test_one_segment_that_cannot_be_described_does_not_keep_the_others_from_it(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    class Tired(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            return Answer("", True, 2, 3, 0, None) if self.captions == 2 else answer

    job = job_of(world, long_video, "long/tired.mp4", "3")
    assert work_with(world, Tired(), decoders).run(job, taken(world, job)) == "partial"
    caption = world.caption(job)
    assert [one.flags for one in caption.segments] == [(), ("empty",), ()]
    assert "empty" in caption.flags


def test_whose_caption_it_is_does_not_depend_on_where_nothing_was_said(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    used = AdapterUsed(version="a" * 12, generation=3)

    class Adapted(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            return replace(answer, adapter=used, text="" if self.captions == 3 else answer.text)

        def answer(self, *args: object) -> Answer:
            # Of a model that cannot sum up.
            return replace(super().answer(*args), adapter=None, text="")  # type: ignore[arg-type]

    job = job_of(world, long_video, "long/adapted.mp4", "3")
    assert work_with(world, Adapted(), decoders).run(job, taken(world, job)) == "partial"
    caption = world.caption(job)
    assert [one.adapter for one in caption.segments] == [used, used, None]
    assert caption.adapter == used


def test_what_is_wrong_with_the_summary_is_told_of_the_whole(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    class Rambling(Counting):
        def answer(self, *args: object) -> Answer:
            return Answer("모두 모아", False, 0, 3, 9, None, heard="모두 \ufffd모아")

    job = job_of(world, long_video, "long/rambling.mp4", "3")
    assert work_with(world, Rambling(), decoders).run(job, taken(world, job)) == "partial"
    caption = world.caption(job)
    assert [one.flags for one in caption.segments] == [(), (), ()]
    assert caption.text == "모두 모아"
    assert caption.flags[:2] == ("truncated", "garbled")


def test_a_video_of_which_nothing_can_be_said_fails(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    job = job_of(world, long_video, "long/silent.mp4", "3")
    with pytest.raises(EmptyCaption):
        work_with(world, Silent(), decoders).run(job, taken(world, job))
    again = Counting()  # sent again, with an adapter that is not mute
    assert work_with(world, again, decoders).run(job, taken(world, job)) == "ok"
    assert again.captions == 3


def test_a_part_without_text_is_made_anew(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    """Also one that an older version kept."""

    class Dying(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            return replace(answer, text="") if self.captions == 1 else answer

    job = job_of(world, long_video, "long/anew.mp4", "3")
    with pytest.raises(KeyboardInterrupt):
        work_with(world, Dying(dies_at=3), decoders).run(job, taken(world, job))
    key = part_key(world.prefix, job, "0000")
    assert world.times_written(key).total() == 0
    kept = decode(Segment, world.store.get(world.output, part_key(world.prefix, job, "0001")))
    older = kept.model_copy(update={"text": "", "flags": ("empty",)})
    world.store.put(world.output, key, older.model_dump_json().encode())
    after = Counting()
    assert work_with(world, after, decoders).run(job, taken(world, job)) == "ok"
    assert after.captions == 2
    assert all(one.text for one in world.caption(job).segments)
    assert decode(Segment, world.store.get(world.output, key)).text == "1번째 장면입니다."


NOT_FINITE = "the model's numbers for it are not finite"


@pytest.mark.parametrize("spoilt", [{2}, {1, 2, 3}])
def test_numbers_that_are_not_finite_cost_only_their_segment(
    world: World, long_video: Path, decoders: DecoderPool, spoilt: set[int]
) -> None:
    class Spoilt(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            if self.captions in spoilt:
                raise NotFinite(NOT_FINITE)
            return answer

    job = job_of(world, long_video, f"long/spoilt-{len(spoilt)}.mp4", "3")
    work = work_with(world, Spoilt(), decoders)
    if len(spoilt) == 3:
        with pytest.raises(NotFinite):
            work.run(job, taken(world, job))
        return
    assert work.run(job, taken(world, job)) == "partial"
    caption = world.caption(job)
    assert [one.flags for one in caption.segments] == [(), ("empty",), ()]
    assert caption.segments[1].frames.damage == NOT_FINITE
    assert "empty" in caption.flags


@pytest.mark.parametrize("error", [NotFinite, LacksMemory, TooSlow])
def test_a_whole_that_cannot_be_summed_up_is_its_parts(
    world: World, long_video: Path, decoders: DecoderPool, error: type[Reject]
) -> None:
    class Tired(Counting):
        def answer(self, *args: object) -> Answer:
            if error is not TooSlow:
                raise error("not now")
            lease.progress.ends_at = 0.0
            lease.progress.tick("generate")
            raise AssertionError("it is late")

    job = job_of(world, long_video, f"long/whole-{error.reason}.mp4", "3")
    lease = taken(world, job)
    assert work_with(world, Tired(), decoders).run(job, lease) == "partial"
    caption = world.caption(job)
    assert caption.text == "1번째 장면입니다. 2번째 장면입니다. 3번째 장면입니다."
    assert caption.flags == ("empty", "emulated")
    assert [one.flags for one in caption.segments] == [(), (), ()]


def test_a_record_is_by_whoever_summed_it_up(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    """Its segments may be by the adapter before; and the tokens are of all that was asked."""
    first, second = (AdapterUsed(version=name * 12, generation=3) for name in "ab")

    class Adapted(Counting):
        def __init__(self, used: AdapterUsed, dies_at: int | None = None) -> None:
            super().__init__(dies_at)
            self._used = used

        def caption(self, *args: object) -> Answer:
            return replace(super().caption(*args), adapter=self._used)  # type: ignore[arg-type]

        def answer(self, *args: object) -> Answer:
            if self._used == first:
                raise KeyboardInterrupt
            return replace(super().answer(*args), adapter=self._used)  # type: ignore[arg-type]

    job = job_of(world, long_video, "long/summed-up.mp4", "3")
    lease = taken(world, job)
    with pytest.raises(KeyboardInterrupt):
        work_with(world, Adapted(first), decoders).run(job, lease)
    assert work_with(world, Adapted(second), decoders).run(job, lease) == "ok"
    caption = world.caption(job)
    assert [one.adapter for one in caption.segments] == [first] * 3
    assert caption.adapter == second
    assert caption.tokens == TokensUsed(visual=6, prompt=4 * 3, generated=4 * 9)


def test_fewer_frames_are_told_of_whoever_ends_the_video(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    class Small(Counting):
        def plan(self, *args: object) -> Plan:
            return Plan(frames=1, visual_tokens=1, reason="memory ran out", reduced=True)

    job = job_of(world, long_video, "long/reduced.mp4", "3")
    lease = taken(world, job)
    with pytest.raises(KeyboardInterrupt):
        work_with(world, Small(dies_at=3), decoders).run(job, lease)
    assert work_with(world, Counting(), decoders).run(job, lease) == "ok"
    caption = world.caption(job)
    assert [one.flags for one in caption.segments] == [("reduced",), ("reduced",), ()]
    assert caption.flags == ("reduced", "emulated")


def test_a_segment_whose_decoder_is_stopped_costs_only_itself(
    world: World, long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SILENT_S", 0.5)

    class Stalling(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            if self.captions == 1:
                decoder_process().suspend()
            return answer

    pool = DecoderPool(1)
    job = job_of(world, long_video, "long/stalled.mp4", "3")
    assert work_with(world, Stalling(), pool).run(job, taken(world, job)) == "partial"
    caption = world.caption(job)
    assert [one.flags for one in caption.segments] == [(), ("damaged",), ()]
    assert "killed" in caption.segments[1].frames.damage
    pool.close()


@pytest.mark.parametrize("count", [2, 4])
def test_a_video_that_stops_its_decoders_again_and_again_is_rejected(
    world: World, long_video: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """As all of its segments do, or several. Who follows the cure gets all of them."""
    kept, stalled = OpenVideo._reopen, list[OpenVideo]()

    def stalling(video: OpenVideo) -> None:
        kept(video)
        stalled.append(video)
        (copy,) = psutil.Process(video.decoder.pid).children()
        copy.suspend()

    pool = DecoderPool(1)
    job = job_of(world, long_video, f"long/stalls-{count}.mp4", str(count))
    parts = Parts(world.store, world.settings, job)
    parts.cuts(lambda: Cuts(segments_s=tuple((i, i + 1.0) for i in range(count)), reason="a test"))
    with monkeypatch.context() as patch:
        patch.setattr(process, "SILENT_S", 0.5)
        patch.setattr(OpenVideo, "_reopen", stalling)
        with pytest.raises(TooSlow, match="killed"):
            work_with(world, Counting(), pool).run(job, taken(world, job))
    assert len(stalled) == min(count, COSTLY)
    for number in range(count):
        name = part_key(world.prefix, job, f"{number:04d}")
        assert world.times_written(name).total() == 0
    assert work_with(world, Counting(), pool).run(job, taken(world, job)) == "ok"
    assert all(one.text for one in world.caption(job).segments)
    pool.close()


def test_a_job_that_is_out_of_time_writes_no_segment_for_it(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    class Slow(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            if self.captions == 2:
                progress.ends_at = 0.0
                progress.tick("generate")
            return answer

    job = job_of(world, long_video, "long/late.mp4", "3")
    lease = taken(world, job)
    progress = lease.progress
    with pytest.raises(TooSlow, match="not done in time"):
        work_with(world, Slow(), decoders).run(job, lease)
    assert world.times_written(part_key(world.prefix, job, "0001")).total() == 0
    assert lease.done == pytest.approx(lease.units / 3)  # one of its segments was made


def test_a_video_of_which_nothing_can_be_seen_is_not_a_video(
    world: World, long_video: Path, tmp_path: Path, decoders: DecoderPool
) -> None:
    body = bytearray(long_video.read_bytes())
    start = body.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(body[start - 8 : start - 4])
    body[start:end] = bytes(end - start)
    blank = tmp_path / "blank.mp4"
    blank.write_bytes(body)
    job = job_of(world, blank, "long/blank.mp4", "3")
    with pytest.raises(NotAVideo, match="3 segments"):
        work_with(world, Counting(), decoders).run(job, taken(world, job))


def test_what_is_here_is_not_fetched_again_for_the_next_segment(
    world: World, long_video: Path, decoders: DecoderPool
) -> None:
    job = job_of(world, long_video, "long/once.mp4", "3")
    assert work_with(world, Counting(), decoders).run(job, taken(world, job)) == "ok"
    caption = world.caption(job)
    assert caption.frames.fetched_bytes == long_video.stat().st_size
    assert [one.frames.fetched_bytes for one in caption.segments[1:]] == [0, 0]


def hour(path: Path) -> Path:
    """One hour: a minute, encoded once, over and over; every third minute it is another scene."""
    minute = path.with_name("minute.mp4")
    pictures = render(SCENES[0], Clip(7, fps=5, duration_s=60.0))
    pictures[100:200] = render(SCENES[1], Clip(8, fps=5, duration_s=20.0))
    write_film(minute, pictures, 5)
    with av.open(str(minute)) as origin:
        source = origin.streams.video[0]
        packets = [one for one in origin.demux(source) if one.dts is not None]
        length = round(60 / source.time_base)
        with av.open(str(path), "w") as container:
            stream = container.add_stream_from_template(source)
            for repeat in range(60):
                for one in packets:
                    packet = av.Packet(bytes(one))
                    packet.pts, packet.dts = (at + repeat * length for at in (one.pts, one.dts))
                    packet.is_keyframe = one.is_keyframe
                    packet.stream, packet.time_base = stream, source.time_base
                    container.mux(packet)
    return path


def test_an_hour_is_captioned_within_bounds(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hour(tmp_path / "hour.mp4")
    sizes: list[int] = []

    class Measuring(Counting):
        def caption(self, *args: object) -> Answer:
            (decoder,) = (child for child in psutil.Process().children() if child.pid == pids[-1])
            sizes.append(decoder.memory_info().rss)
            return super().caption(*args)  # type: ignore[arg-type]

    pids: list[int] = []
    made = pool_module.Decoder

    class Known(made):  # type: ignore[misc, valid-type]
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            pids.append(self.pid)

    monkeypatch.setattr(pool_module, "Decoder", Known)
    pool = DecoderPool(1)
    job = job_of(world, path, "long/hour.mp4", "auto")
    captioner = Measuring()
    lease = taken(world, job)
    assert work_with(world, captioner, pool).run(job, lease) == "ok"
    caption = world.caption(job)
    assert caption.duration_s == pytest.approx(3600, abs=1)
    assert 60 <= len(caption.segments) == captioner.captions <= 120
    assert len(captioner.questions) == 1
    # A cut is where the scene changes: 20 s, or 40 s, after a full minute.
    starts = [one.start_s % 60 for one in caption.segments[1:]]
    assert np.mean([min(abs(at - place) for place in (0, 20, 40, 60)) < 0.5 for at in starts]) > 0.9
    assert max(sizes) < 256 << 20
    assert len(pids) == 1
    pool.close()


def attempt_after(world: World, job: CaptionJob, work: object) -> int:
    """Through the task, once; which attempt the next worker's is."""
    from celery import Celery

    from shared.broker.apps import CAPTION_TASK
    from workers.tasks import register_caption

    # What other tests have taken comes back when its lease ends.
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}*"):
            client.delete(key)
    world.send(job)
    leases = Leases(world.queues, 1, dict)
    app = Celery(set_as_current=False)
    register_caption(app, lambda: leases, lambda: work)  # type: ignore[arg-type, return-value]
    delivery = leases.receive(["caption.t4"], 5)
    assert delivery is not None
    task = app.tasks[CAPTION_TASK]
    task.push_request(properties={"delivery_tag": delivery.lease})
    task.run(job.model_dump(mode="json"))
    assert leases.flush(5)
    taker = Leases(world.queues, 1, dict)
    came: list[Delivery] = []
    wait_until(
        lambda: came.extend(filter(None, [taker.receive(["caption.t4"], 1)])) or came, 20, "it"
    )
    return came[0].history.attempt


def test_what_is_handed_back_has_cost_no_attempt(world: World, long_video: Path) -> None:
    class Ending:
        def run(self, job: CaptionJob, lease: object) -> str:
            raise Draining("the rest is for the next worker")

    job = job_of(world, long_video, "long/handed-back.mp4", "3")
    assert attempt_after(world, job, Ending()) == 1


@pytest.mark.parametrize(("at", "attempt"), [(1, 2), (2, 1)])
def test_an_attempt_that_got_on_costs_none(
    world: World, long_video: Path, decoders: DecoderPool, at: int, attempt: int
) -> None:
    class Unlucky(Counting):
        def caption(self, *args: object) -> Answer:
            answer = super().caption(*args)  # type: ignore[arg-type]
            if self.captions == at:
                raise StoreUnavailable("503")
            return answer

    job = job_of(world, long_video, f"long/unlucky-{at}.mp4", "3")
    Parts(world.store, world.settings, job).cuts(
        lambda: Cuts(segments_s=((0.0, 3.0), (3.0, 7.0), (7.0, 9.5)), reason="a test")
    )
    assert attempt_after(world, job, work_with(world, Unlucky(), decoders)) == attempt
