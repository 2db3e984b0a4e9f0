"""The real `celery` command, a real broker, a real S3 API and a real (tiny, trained) model."""

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.demo.captions import caption as true_caption
from infra.demo.clips import Clip, film
from infra.demo.scenes import single
from infra.local.collector import Collector, Seen
from infra.local.metrics import ask
from infra.local.processes import ProcessFailed, stop
from infra.local.stack import DEMO_MODEL
from producer.backlog.backlogs import read_backlog
from producer.backlog.feeder import Feed, feed_round
from producer.backlog.scan import create, scan
from producer.costs.pages import Pages
from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.send import send as enqueue
from producer.jobs.served import VERSION, Needs, needs_of, why_unserved
from shared.broker.apps import CAPTION_TASK
from shared.broker.leased_queues import History
from shared.bucket.keys import record_key
from shared.bucket.videos import video_of
from shared.errors import Missing
from shared.messages import Caption, CaptionJob, Sampling, TrackUsed, Video, decode
from tests.adapters import make_adapter, publish
from tests.captioner import Captioner
from tests.container_edits import pasp, with_box
from tests.telemetry import check_log, check_scrape
from tests.traces import ids, parent_of, tracing_here
from tests.verbs import jamak
from tests.videos import cut, write_clip, write_sound
from tests.waiting import wait_until
from tests.watched import check_prometheus
from tests.world import World
from workers.delivery.first_caption import COLD, STAGES
from workers.video.isolation import FORBIDDEN

pytestmark = [pytest.mark.integration, pytest.mark.model]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


@pytest.fixture(scope="module")
def captioner(
    world: World, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Captioner]:
    traced = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",  # what no test has asked for
    }
    fleet = {
        "JAMAK_TENANTS": tenants(world),
        "JAMAK_RESULTS": "arn:aws:sns:us-east-1:123456789012:results",
    }
    worker = Captioner(world, tmp_path_factory.mktemp("worker"), **traced, **fleet)
    worker.wait()
    yield worker
    check_scrape(worker.port, "captioner")
    stop([worker.process], patience_s=20)
    assert check_log(worker.process.log)


def tenants(world: World) -> str:
    return f"s3://{world.videos}/news/=news:3"


def send(world: World, *videos: Video, **recipe: object) -> list[CaptionJob]:
    jobs = [world.job(video, **recipe) for video in videos]
    world.send(*jobs)
    return jobs


ODD_KEYS = [
    "plain.mp4",
    "한국어/영상 파일.mp4",
    "a b+c%20d#e?f&g.mp4",
    "emoji 🎬.mp4",
    "/leading.mp4",
    "deep/" + "ㄱ" * 300 + ".mp4",
]


def test_any_key_becomes_a_caption_that_knows_how_it_was_made(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    scene = single("black", "red", "circle", "rightwards")
    clip = film(scene, Clip(7, fps=12, duration_s=2.0), tmp_path / "a.mp4")
    jobs = send(world, *(world.upload(clip, key) for key in ODD_KEYS))
    for job in jobs:
        caption = world.caption(job)
        assert caption.text == true_caption(scene)
        assert (caption.status, caption.flags, caption.adapter) == ("ok", (), None)
        assert caption.video == job.video
        assert caption.recipe_id == job.recipe.id
        assert caption.frames.timestamps_s == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=1e-3)
        assert (caption.frames.requested, caption.tokens.visual) == (4, 36)
        assert (caption.card.name, caption.card.device) == ("cpu", "cpu")
        assert len(caption.model.weights_sha256) == 64
        assert {"download", "frames", "generate"} <= set(caption.timings_s)
        assert decode(Caption, world.view(job.video, ".json")) == caption
        assert world.view(job.video, ".vtt")
    wait_until(
        lambda: (
            captioner.metric("jamak_captions_total", **{"class": "cpu", "adapter": ""}) >= len(jobs)
        ),
        10,
        "the count of captions",
    )
    assert captioner.metric("jamak_engine_rows_most") == 8
    assert captioner.metric("jamak_engine_tokens_total", kind="generated") > len(jobs)
    assert captioner.metric("jamak_engine_tokens_total", kind="prompt") > 36 * len(jobs)
    assert captioner.metric("jamak_engine_first_token_seconds_count") >= len(jobs)
    spent = {
        state: captioner.metric("jamak_engine_seconds_total", state=state)
        for state in ("busy", "frames", "idle")
    }
    assert min(spent.values()) > 0
    told = json.loads(ask(captioner.port, "/readyz")[1])
    assert told["engine"]["rows"] == told["engine"]["rows_planned"] == 8
    for what in FORBIDDEN:
        assert told["decoders"][what] == "refused"
        assert captioner.metric("jamak_decoder_refused", what=what) == 1


def test_a_tenants_video_waits_in_its_list_and_its_caption_is_told(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    sharing = replace(world, aws={**world.aws, "JAMAK_TENANTS": tenants(world)})
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "news/a.mp4"))
    sharing.send(job)
    caption = world.caption(job)
    assert world.queues.taken("caption.t4@news") == 1
    record = f"s3://{world.output}/{record_key(world.prefix, job)}"

    def told() -> list[dict[str, Any]]:
        found: Any = world.queues.redis.xrange(f"{world.queues.prefix}results")
        events = [json.loads(fields[b"event"]) for _, fields in found]
        return [event for event in events if event["record"] == record]

    wait_until(told, 20, "the event")
    (event,) = told()
    assert (event["status"], event["tenant"]) == (caption.status, "news")


def test_a_real_prometheus_reads_it_and_evaluates_every_rule(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    check_prometheus(world, captioner.port, tmp_path)


def test_a_trace_says_where_the_time_of_a_caption_went(
    world: World, captioner: Captioner, collector: Collector, tmp_path: Path
) -> None:
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 24), "traced.mp4"))
    with tracing_here() as told:
        enqueue(world.queues, "caption.t4", [job], [time.time() - 2])
        upload, sent = told.only("upload"), told.only("send caption.t4")
    trace_id = f"{sent.context.trace_id:032x}"

    def found() -> list[Seen]:
        return collector.traces().get(trace_id, [])

    wait_until(lambda: bool(found()), 60, "the trace")
    attempt, *stages = found()
    assert (attempt.name, attempt.service) == ("process caption.t4", "jamak-captioner")
    assert attempt.parent_id == f"{sent.context.span_id:016x}"
    assert ids(upload)[1] == parent_of(sent)
    wanted = ["download", "frames", "preprocess", "engine_wait", "prefill", "generate"]
    wanted += ["check", "write", "views"]
    names = [one.name for one in stages if one.name != "wait"]
    assert names == [one for one in wanted if one in names]
    assert set(wanted) - set(names) <= {"preprocess", "check"}  # the shortest, if it had to wait
    assert len(stages) + 3 == 12
    for one in stages:
        assert one.parent_id == attempt.span_id
        assert attempt.began_s <= one.began_s <= one.ended_s <= attempt.ended_s
    caption = world.caption(job)
    facts = attempt.facts
    assert facts["messaging.message.id"] == job.id
    assert facts["jamak.video"] == job.video.uri
    assert facts["jamak.record"] == f"s3://{world.output}/{record_key(world.prefix, job)}"
    assert (facts["jamak.class"], facts["jamak.attempt"]) == ("cpu", 1)
    assert facts["jamak.tokens.generated"] == caption.tokens.generated
    assert tuple(facts["jamak.flags"]) == caption.flags
    took = {one.name: one.facts.get("jamak.seconds", one.ended_s - one.began_s) for one in stages}
    for stage in ("preprocess", "prefill", "generate"):
        assert took[stage] == pytest.approx(caption.timings_s[stage], abs=0.01)
    assert captioner.metric("jamak_spans_total", outcome="exported") >= len(stages)


def test_where_the_time_until_the_first_caption_went(world: World, captioner: Captioner) -> None:
    took = {stage: captioner.metric("jamak_first_caption_seconds", stage=stage) for stage in STAGES}
    assert min(took.values()) > 0
    (worker,) = world.queues.workers()
    cold_s = sum(took[stage] for stage in COLD)
    assert worker.about["cold_start_s"] == pytest.approx(cold_s, abs=0.01)


def test_a_backlog_counts_how_its_videos_end(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 12)
    for number in range(3):
        world.upload(clip, f"backlog/{number}.mp4")
    world.upload(cut(tmp_path / "cut.mp4", clip, 0.5), "backlog/cut.mp4")
    source = f"s3://{world.videos}/backlog/"
    made = create(world.store, world.settings, "films", source, world.recipe, "t4")
    scan(world.store, world.settings, world.queues, made)
    feed_round([Feed(made, world.queues)], HighWaterMarks(world.queues).room)

    def status() -> dict[str, Any]:
        return read_backlog(world.store, world.settings, world.queues, "films")

    wait_until(lambda: status()["state"] == "done", 60, "the end of the backlog")
    told = status()
    assert (told["done"], told["failed"], told["left"]) == (3, {"truncated": 1}, 0)
    (worker,) = world.queues.workers()
    wait_until(lambda: world.queues.workers()[0].about["jobs_per_busy_s"], 20, "a measured rate")
    assert worker.about["card"] == "cpu"
    assert 0 < worker.about["cold_start_s"] < 3600
    assert worker.about["in_hand_of"].keys() <= {"caption.t4.bulk"}
    learned = world.queues.redis.hget(f"{world.queues.prefix}learned", "starts:cpu")
    assert learned and str(worker.about["cold_start_s"]) in learned.decode().split()
    assert why_unserved([worker], "caption.t4.bulk", needs_of(world.recipe)) is None
    other = world.recipe.model_copy(update={"model": "another/model"})
    unserved = why_unserved([worker], "caption.t4.bulk", needs_of(other))
    assert unserved
    assert "live ones serve tests/tiny@1 (1)" in unserved.message
    newer = Needs("tests/tiny@1", VERSION + 1)
    unserved = why_unserved([worker], "caption.t4.bulk", newer)
    assert unserved
    assert unserved.reason == "newer_message"


def test_bad_videos_have_a_typed_reason_and_good_ones_do_not_notice(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 24)
    text = tmp_path / "page.mp4"
    text.write_text("<html>not found</html>")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * 300_000)
    bad = {
        "not_a_video": world.upload(text, "bad/page.mp4"),
        "empty_file": world.upload(empty, "bad/empty.mp4"),
        "no_video_stream": world.upload(write_sound(tmp_path / "s.mp4"), "bad/sound.mp4"),
        "truncated": world.upload(cut(tmp_path / "cut.mp4", clip, 0.5), "bad/cut.mp4"),
        "too_large": world.upload(large, "bad/large.mp4"),
        "gone": world.upload(clip, "bad/gone.mp4").model_copy(
            update={"key": "bad/never-there.mp4"}
        ),
        "overwritten": world.upload(clip, "bad/changed.mp4").model_copy(update={"etag": "0" * 32}),
    }
    good = [world.upload(clip, f"good/{index}.mp4") for index in range(3)]
    jobs = send(world, good[0], *bad.values(), *good[1:])
    for job in jobs:
        if job.video in good:
            assert world.caption(job).status in ("ok", "partial")
    for reason, video in bad.items():
        failure = world.failure(world.job(video))
        assert (failure.reason, failure.status) == (reason, "failed")
        assert failure.cure
        assert failure.attempts == 1
        assert captioner.metric("jamak_caption_failures_total", reason=reason) >= 1
        with pytest.raises(Missing):
            world.store.head(world.output, record_key(world.prefix, world.job(video)))


def test_a_job_that_comes_twice_has_one_record(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 12), "twice.mp4")
    job = world.job(video)
    for _ in range(6):  # more than run at once: some meet in flight, some find the record
        world.captions.send_task(
            CAPTION_TASK, args=(job.model_dump(mode="json"),), queue="caption.t4"
        )
    world.caption(job)
    wait_until(lambda: captioner.metric("jamak_caption_duplicates_total") == 5, 30, "5 duplicates")
    assert world.times_written(record_key(world.prefix, job)).total() == 1
    # With the record there, not even the model is asked.
    before = captioner.metric("jamak_caption_stage_seconds_count", stage="generate")
    world.captions.send_task(CAPTION_TASK, args=(job.model_dump(mode="json"),), queue="caption.t4")
    wait_until(lambda: captioner.metric("jamak_caption_duplicates_total") == 6, 30, "a duplicate")
    assert captioner.metric("jamak_caption_stage_seconds_count", stage="generate") == before


def test_what_is_no_job_is_dropped_and_the_worker_lives(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    for payload in ({"v": 1, "nonsense": True}, [1, 2], "text", None):
        world.captions.send_task(CAPTION_TASK, args=(payload,), queue="caption.t4")
    (job,) = send(world, world.upload(write_clip(tmp_path / "a.mp4", 12), "after-nonsense.mp4"))
    assert world.caption(job).text
    wait_until(
        lambda: captioner.metric("jamak_messages_poisoned_total") == 4,
        10,
        "4 messages set aside",
    )


def test_the_same_number_of_frames_can_be_asked_of_every_card(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 24), "two-frames.mp4")
    (job,) = send(world, video, sampling=Sampling(frames=2))
    assert world.caption(job).frames.decoded == 2
    (job,) = send(world, video, sampling=Sampling(frames=9))
    assert world.failure(job).reason == "does_not_fit"


def test_adapters_are_picked_up_and_rolled_back_without_a_restart(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 24), "adapted.mp4")
    (job,) = send(world, video)
    base = world.caption(job)
    assert base.adapter is None
    folder = make_adapter(DEMO_MODEL, tmp_path / "adapter", seed=4)
    manifest = publish(world.registry, folder, base.model)
    world.registry.activate(base.model.weights_sha256, manifest.version)
    wait_until(lambda: captioner.adapter() == manifest.version, 10, "the adapter")
    world.view(video, ".json")
    recaption = "recaption", video.uri, "--where", "adapter!=active", "--yes", "--json"
    (backlog,) = json.loads(jamak(world, *recaption).stdout)["backlogs"]
    jamak(world, "reconcile", backlog["name"])
    adapted = world.caption(world.job(video, generation=1))
    assert adapted.adapter is not None
    assert adapted.adapter.version == manifest.version
    assert adapted.text != base.text

    world.registry.rollback(base.model.weights_sha256)
    wait_until(lambda: captioner.adapter() == "", 10, "the base")
    (job,) = send(world, video, generation=2)
    again = world.caption(job)
    assert (again.text, again.adapter) == (base.text, None)
    # What was seen in its frames was kept.
    assert captioner.metric("jamak_features_total", outcome="hit") >= 2
    assert captioner.metric("jamak_features_bytes") > 0
    assert adapted.frames == again.frames == base.frames.model_copy(update={"fetched_bytes": 0})

    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    spoilt = publish(world.registry, folder, base.model)
    world.registry.activate(base.model.weights_sha256, spoilt.version)
    wait_until(lambda: captioner.metric("jamak_adapters_refused_total") == 1, 10, "a refusal")
    assert captioner.adapter() == ""
    (job,) = send(world, video, generation=3)
    assert world.caption(job).text == base.text


def test_a_class_can_be_emulated_and_the_worker_stops_cleanly_when_asked(
    world: World, tmp_path: Path
) -> None:
    began = time.monotonic()
    whose = {"JAMAK_TENANTS": f"s3://{world.videos}/=news", "JAMAK_USD_PER_HOUR": "l4=3600"}
    worker = Captioner(world, tmp_path, JAMAK_CARD="l4", JAMAK_DEVICE="cpu", **whose)
    worker.wait()
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 24), "emulated.mp4"))
    world.send(job.model_copy(update={"card": "l4"}))
    caption = world.caption(job)
    assert (caption.frames.decoded, caption.card.name, caption.card.device) == (8, "l4", "cpu")
    assert "emulated" in caption.flags
    worker.process.signal_group(signal.SIGTERM)
    wait_until(lambda: worker.process.poll() is not None, 30, "the end of the worker")
    assert worker.process.poll() == 0
    assert not list(tmp_path.glob("jamak-*"))
    pages = Pages(world.store, world.settings).read(date(2026, 1, 1))
    (page,) = [one for one in pages if one.card == "l4"]  # all of its life is accounted for
    assert (page.closed, page.usd_per_hour) == ("ended", 3600)
    assert page.accounted_s == pytest.approx(page.alive_s, rel=1e-6)
    assert 0 < page.cold_start_s < page.alive_s < time.monotonic() - began
    assert [(one.tenant, one.how, one.jobs) for one in page.spent] == [("news", "captions", 1)]
    assert page.spent[0].seconds > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"JAMAK_CARD": "l4", "JAMAK_DEVICE": "cuda"}, "JAMAK_DEVICE=cpu"),
        ({"JAMAK_MAX_NEW_TOKENS": "2000"}, "1024 positions"),
        ({"JAMAK_OUTPUT": "s3://no-such-bucket-of-ours/"}, "no-such-bucket-of-ours"),
    ],
)
def test_it_refuses_to_start_and_says_why(
    world: World, tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    worker = Captioner(world, tmp_path, **settings)
    with pytest.raises(ProcessFailed, match="exit code 78") as caught:
        worker.wait()
    assert "refusing to start" in str(caught.value)
    assert named in str(caught.value)


def test_what_is_overwritten_on_the_way_is_captioned_and_so_is_what_came_after(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    old, new = single("black", "red", "circle", "still"), single("white", "blue", "star", "still")
    first, second = (
        film(scene, Clip(8, fps=12, duration_s=1.0), tmp_path / str(i))
        for i, scene in enumerate((old, new))
    )
    world.upload(first, "changes.mp4")
    read = video_of(world.store.head(world.videos, "changes.mp4"))
    after = world.upload(second, "changes.mp4")
    (job,) = send(world, read)
    # Nobody has told of the second one.
    assert world.caption(job).text == true_caption(old)
    newest = world.caption(world.job(after))
    assert newest.text == true_caption(new)

    def shown() -> Caption:
        return decode(Caption, world.view(after, ".json"))

    # Both were uploaded in one second, and captioned in any order.
    wait_until(lambda: shown() == newest, 10, "the view of the newest")
    # Where versions are not kept, the old one is a failure with its reason.
    (job,) = send(world, read.model_copy(update={"version_id": None}), generation=1)
    assert world.failure(job).reason == "overwritten"
    assert world.caption(world.job(after, generation=1)).text == true_caption(new)


def test_what_killed_a_worker_alone_is_tried_with_half_its_frames(
    world: World, captioner: Captioner, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 24)
    clip.write_bytes(with_box(clip.read_bytes(), b"avc1", pasp(2, 1)))
    job = world.job(world.upload(clip, "deadly.mp4"))
    queues = world.queues
    world.captions.send_task(
        CAPTION_TASK, args=(job.model_dump(mode="json"),), queue="caption.a100"
    )
    delivery = queues.take(queues.new_lease(), ["caption.a100"])
    assert delivery is not None
    history = History(deaths=2, deaths_alone=1, workers=("a", "b", "c"))
    assert queues.ack([delivery.lease]) == 1
    item = f"1\n{history.dump()}\n{delivery.message.decode()}"
    queues.redis.rpush(f"{queues.prefix}caption.t4:alone", item)
    caption = world.caption(job)
    assert (caption.frames.requested, caption.frames.decoded) == (2, 2)
    assert (caption.frames.track, caption.frames.aspect) == (
        TrackUsed(index=0, of=1, reason="the only one"),
        3.0,
    )
    assert "reduced" in caption.flags
