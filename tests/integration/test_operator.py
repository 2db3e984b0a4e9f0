"""The operator's commands for backlogs and failures, as people and programs run them."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import redis
from pyarrow import parquet

from infra.local.metrics import is_ready, read_metrics
from infra.local.ports import free_port
from producer.backlog.backlogs import StillGoing
from producer.backlog.manifest import SHARD_LINES
from producer.backlog.scan import NoVideos
from producer.bucket.captions import NoCaption
from producer.verbs.backlog import backlog
from producer.verbs.bulk import enqueue
from producer.verbs.captions import show, upload
from producer.verbs.failures import failures
from producer.verbs.get import get
from shared.bucket.keys import failure_key, parse_uri
from shared.bucket.records import Records
from shared.errors import BrokerRefuses, ConfigError, NoSuchBucket, Unfinished
from shared.messages import Caption, Video
from tests.backlogs import QUEUE, caption_of, failure_of, fill, work
from tests.telemetry import check_log, check_scrape
from tests.verbs import inside, jamak
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

_numbers = count()


@pytest.fixture
def name(world: World) -> Iterator[str]:
    """Of a backlog, and of the prefix that its videos have. Nothing else is in flight."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(*(f"{world.redis_prefix}:{key}" for key in (QUEUE, "caption.t4")))
    yield f"op{next(_numbers)}"


def told(world: World, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = jamak(world, *arguments, "--json", code=code)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_backlog_from_its_start_to_its_end(world: World, name: str) -> None:
    fill(world, name, 12)
    source = f"s3://{world.videos}/{name}/"
    plan = told(world, "backlog", "plan", source)
    assert (plan["videos"], plan["left"], plan["classes"]) == (12, 12, [])
    assert "rate not measured" in jamak(world, "backlog", "plan", source).stdout
    assert world.waiting(QUEUE) == 0
    assert told(world, "backlog", "start", name, source)["fed"] == 0
    assert "already" in jamak(world, "backlog", "start", name, source, code=2).stderr
    jamak(world, "backlog", "pause", name)
    assert told(world, "backlog", "status", name)["state"] == "paused"
    jamak(world, "backlog", "resume", name)
    assert told(world, "reconcile", name)["videos"] == 0  # nothing was fed, so it feeds
    assert world.waiting(QUEUE) == 12
    work(world, failing={3})
    done = told(world, "backlog", "status", name, "--watch")
    assert (done["state"], done["done"], done["failed"]) == ("done", 11, {"truncated": 1})
    shown = jamak(world, "backlog", "status", name).stdout
    assert "100%" in shown
    assert "failed: truncated" in shown
    assert name in jamak(world, "backlog", "list").stdout
    assert name in {one["name"] for one in told(world, "backlog", "list")["backlogs"]}
    again = told(world, "reconcile", source)
    assert (again["done"], again["failed"], again["enqueued"]) == (11, {"truncated": 1}, 0)
    assert told(world, "backlog", "cancel", name) == {"name": name, "withdrawn": 0}


def fed(name: str, port: int) -> list[float]:
    """How many of its videos are enqueued, as the feeder's metrics say it."""
    samples = [one for one in read_metrics(port) if one.name == "jamak_backlog_fed_videos"]
    return [one.value for one in samples if one.labels == {"backlog": name}]


def test_the_feeder_runs_until_it_is_stopped(world: World, name: str, tmp_path: Path) -> None:
    fill(world, name, 5)
    jamak(world, "backlog", "start", name, f"s3://{world.videos}/{name}/")
    port, command = free_port(), [sys.executable, "-m", "producer.cli", "feed"]
    env = {**os.environ, **world.env, "JAMAK_METRICS_PORT": str(port)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=log) as feeder,
    ):
        try:
            wait_until(lambda: is_ready(port) or feeder.poll() is not None, 60, "to be ready")
            assert told(world, "backlog", "status", name)["videos"] == 5
            while world.waiting(QUEUE) < 5:
                assert feeder.poll() is None
            check_scrape(port, "feeder")
            assert fed(name, port) == [5]
            feeder.terminate()
            assert feeder.wait(10) == 0
        finally:
            feeder.kill()
    said = {one["event"] for one in check_log(tmp_path / "log")}
    assert said == {"answering probes", "feeding", "fed"}
    assert told(world, "backlog", "status", name)["fed"] == 5


def test_a_feeder_names_the_variable_of_a_bucket_that_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAMAK_METRICS_PORT", str(free_port()))
    done = jamak(replace(world, output="no-such-bucket-of-ours"), "feed", code=78)
    assert "no-such-bucket-of-ours does not exist (named by JAMAK_OUTPUT)" in done.stderr


def test_enqueueing_a_prefix_is_a_backlog_with_a_name_of_its_own(world: World, name: str) -> None:
    videos = fill(world, name, 4)
    source = f"s3://{world.videos}/{name}/"
    assert told(world, "enqueue", source, "--dry-run")["enqueued"] == 4
    done = told(world, "enqueue", source, videos[0].uri)
    assert (done["enqueued"], done["already"], done["refused"]) == (5, 0, {})
    assert (world.waiting(QUEUE), world.waiting("caption.t4")) == (4, 1)
    (made,) = done["backlogs"]
    assert told(world, "backlog", "status", made)["videos"] == 4
    # One that is not there does not keep the others.
    mixed = told(world, "enqueue", f"s3://{world.videos}/nowhere/", videos[1].uri, code=1)
    assert (mixed["enqueued"], list(mixed["refused"])) == (1, [f"s3://{world.videos}/nowhere/"])


def test_failures_are_listed_shown_and_sent_again(world: World, name: str) -> None:
    videos = fill(world, name, 6)
    records = Records(world.store, world.settings)
    reasons = ["truncated", "truncated", "gone", "too_slow"]
    for video, reason in zip(videos, reasons, strict=False):
        records.write_failure(world.job(video), failure_of(world.job(video), reason))
    records.write(world.job(videos[2]), caption_of(world.job(videos[2])))  # it has one by now
    where = f"s3://{world.videos}/{name}/"
    listed = told(world, "failures", "list", where)
    assert (listed["count"], listed["by_reason"]) == (3, {"truncated": 2, "too_slow": 1})
    assert "truncated 2" in jamak(world, "failures", "list", where).stdout
    only = told(world, "failures", "list", where, "--reason", "too_slow", "--since", "1h")
    assert [one["video"]["key"] for one in only["failures"]] == [videos[3].key]
    assert told(world, "failures", "list", where, "--until", "1h")["count"] == 0
    assert told(world, "failures", "list", where, "--since", "2999-01-01")["count"] == 0
    for no_time in ("soon", "999999999d", f"{10**400}h", "²d"):
        assert "no time" in jamak(world, "failures", "list", "--since", no_time, code=2).stderr
    shown = jamak(world, "failures", "show", videos[0].uri).stdout
    assert "cut off" in shown
    assert "upload it again" in shown
    dry = told(world, "failures", "redrive", where, "--reason", "truncated")
    assert (dry["count"], dry["sent"], world.waiting(QUEUE)) == (2, False, 0)
    assert told(world, "failures", "redrive", where, "--reason", "truncated", "--go")["sent"]
    assert not world.store.exists(world.output, failure_key(world.prefix, world.job(videos[0])))
    assert {job.video for job in work(world)} == {videos[0], videos[1]}
    assert told(world, "failures", "list", where)["by_reason"] == {"too_slow": 1}


def test_what_is_sent_again_counts_for_its_backlog(world: World, name: str) -> None:
    fill(world, name, 3)
    source = f"s3://{world.videos}/{name}/"
    jamak(world, "backlog", "start", name, source)
    told(world, "reconcile", name)
    work(world, failing={1})
    assert told(world, "backlog", "status", name)["failed"] == {"truncated": 1}
    told(world, "failures", "redrive", source, "--go")
    work(world)
    done = told(world, "backlog", "status", name)
    assert (done["done"], done["failed"], done["left"]) == (3, {}, 0)


def test_a_reason_that_no_failure_has_is_refused(world: World) -> None:
    for verb in ("list", "redrive"):
        with pytest.raises(ConfigError, match="did you mean truncated"):
            inside(world, failures, verb, "--reason", "truncate")


def test_a_mistaken_argument_is_named(world: World) -> None:
    for verb, arguments in (
        (failures, ["list", "films"]),
        (show, ["films"]),
        (get, ["s3:/films/a.mp4"]),
        (upload, [__file__, "films"]),
        (backlog, ["plan", "films"]),
    ):
        with pytest.raises(ConfigError, match=r"^(WHERE|URIS?|TO|SOURCE): "):
            inside(world, verb, *arguments)


def test_nobody_is_asked_where_nobody_can_answer(world: World, name: str) -> None:
    fill(world, name, 1)
    inside(world, backlog, "start", name, f"s3://{world.videos}/{name}/")
    with pytest.raises(ConfigError, match="nobody can be asked"):
        inside(world, backlog, "delete", name)
    with pytest.raises(StillGoing):
        inside(world, backlog, "delete", name, "--yes")
    done = inside(world, backlog, "delete", name, "--yes", "--force", "--json")
    assert json.loads(done.stdout) == {"name": name, "deleted": True}
    with pytest.raises(NoVideos):
        inside(world, backlog, "start", name, f"s3://{world.videos}/{name}-empty/")
    assert name not in inside(world, backlog, "list").stdout


def captioned(world: World, video: Video) -> Caption:
    job = world.job(video)
    records, caption = Records(world.store, world.settings), caption_of(job)
    records.write(job, caption)
    records.render(caption)
    return caption


def test_views_have_their_charset_and_show_tells_where_they_lie(world: World, name: str) -> None:
    (video,) = fill(world, name, 1)
    captioned(world, video)
    told = json.loads(inside(world, show, video.uri, "--json").stdout)
    kinds = {}
    for uri in (*told["views"], told["record"]):
        bucket, key = parse_uri(uri)
        kinds[key.rpartition(".")[2]] = boto3.client("s3").head_object(Bucket=bucket, Key=key)[
            "ContentType"
        ]
    assert kinds == {
        "json": "application/json; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
    }
    shown = "".join(inside(world, show, video.uri).stdout.split())
    for uri in (*told["views"], told["record"]):
        assert uri in shown


def test_a_caption_comes_as_it_is(world: World, name: str, tmp_path: Path) -> None:
    videos = fill(world, name, 3)
    caption = captioned(world, videos[0])
    views = f"captions/{world.videos}/{videos[0].key}"
    for form in ("vtt", "srt", "json"):
        got = inside(world, get, videos[0].uri, "--format", form).stdout_bytes
        assert got == world.store.get(world.output, f"{world.prefix}{views}.{form}")
    assert inside(world, get, videos[0].uri).stdout_bytes == f"{caption.text}\n".encode()
    file = tmp_path / "new" / "a.txt"
    assert inside(world, get, videos[0].uri, "--out", str(file)).stdout_bytes == b""
    assert file.read_text() == f"{caption.text}\n"
    # What has none says why, and nothing comes out.
    with pytest.raises(NoCaption, match="no caption yet"):
        inside(world, get, videos[1].uri)
    broken = world.job(videos[2])
    Records(world.store, world.settings).write_failure(broken, failure_of(broken))
    with pytest.raises(NoCaption, match="truncated: cut off"):
        inside(world, get, videos[2].uri)
    with pytest.raises(ConfigError, match="does not exist"):
        inside(world, get, f"s3://{world.videos}/{name}/never.mp4")


def test_captions_of_a_prefix_are_mirrored(world: World, name: str, tmp_path: Path) -> None:
    videos = fill(world, name, 4)
    away = f"{name}/../../../out.mp4"
    long = f"{name}/{'ㄱ' * 330}.mp4"
    videos += [videos[0].model_copy(update={"key": key}) for key in (away, long)]
    for video in (*videos[:3], *videos[4:]):
        captioned(world, video)
    # Of another prefix: one of them lies where all keys lie that are too long.
    (other,) = fill(world, f"{name}-other", 1)
    for key in (other.key, f"{name}-other/{'ㄱ' * 330}.mp4"):
        captioned(world, other.model_copy(update={"key": key}))
    prefix = f"s3://{world.videos}/{name}/"
    with pytest.raises(ConfigError, match="--out"):
        inside(world, get, prefix)
    done = inside(world, get, prefix, "--format", "srt", "--out", str(tmp_path))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.srt")}
    expected = {f"{world.videos}/{video.key}.srt" for video in videos[:3]}
    expected.add(f"{world.videos}/{name}/%2E%2E/%2E%2E/%2E%2E/out.mp4.srt")
    assert files == expected
    # The name of one is too long for a file: it is told, and the others are there.
    assert done.exit_code == 1
    assert done.stderr.count("cannot be written") == 1
    assert "4 captions" in done.stdout
    mixed = inside(world, get, videos[0].uri, videos[3].uri, "--out", str(tmp_path))
    assert mixed.exit_code == 1
    assert "no caption yet" in mixed.stderr
    assert (tmp_path / world.videos / f"{videos[0].key}.txt").exists()
    nothing = inside(world, get, f"{prefix}nowhere/", "--out", str(tmp_path))
    assert (nothing.exit_code, "there is no caption under" in nothing.stderr) == (1, True)


def test_what_must_be_configured_first_is_no_matter_of_one_address(
    world: World, name: str, tmp_path: Path
) -> None:
    (video,) = fill(world, name, 1)
    host = urlsplit(world.redis_url).netloc.rpartition("@")[2]
    stranger = urlsplit(world.redis_url)._replace(netloc=f"nobody:pw@{host}").geturl()
    with pytest.raises(BrokerRefuses):
        inside(replace(world, redis_url=stranger), enqueue, video.uri)
    nowhere = replace(world, output="no-such-bucket-of-ours")
    for uri in (video.uri, f"s3://{world.videos}/{name}/"):
        with pytest.raises(NoSuchBucket):
            inside(nowhere, get, uri, video.uri, "--out", str(tmp_path))
    # One of a bucket that is not there does not keep the others.
    done = inside(world, enqueue, "s3://no-such-bucket-of-ours/a.mp4", video.uri, "--json")
    assert isinstance(done.exception, Unfinished)
    assert done.exception.told["enqueued"] == 1


def test_a_view_that_cannot_be_read_does_not_keep_the_others(
    world: World, name: str, tmp_path: Path
) -> None:
    videos = fill(world, name, 4)
    for video in videos:
        captioned(world, video)
    folder = f"{world.prefix}captions/"
    views = [f"{folder}{video.bucket}/{video.key}.json" for video in videos[:2]]
    for view, body in zip(views, (b"{", b'{"v": 99}'), strict=True):
        world.store.put(world.output, view, body)
    done = inside(world, get, f"s3://{world.videos}/{name}/", "--out", str(tmp_path))
    assert (done.exit_code, len(list(tmp_path.rglob("*.txt")))) == (1, 2)
    said = "".join(done.stderr.split())
    assert all(f"s3://{world.output}/{view}:" in said for view in views)
    assert "there is no caption" not in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_captions_are_exported_and_an_export_goes_on(
    world: World, name: str, form: str, tmp_path: Path
) -> None:
    name = f"{name}-{form}"
    videos = fill(world, name, 5)
    jamak(world, "backlog", "start", name, f"s3://{world.videos}/{name}/")
    told(world, "reconcile", name)
    work(world, 3)
    to = str(tmp_path / "set")
    done = told(world, "export", name, "--to", to, "--format", form)
    counts = {"parts": 1, "kept": 0, "emptied": 0, "captions": 3, "videos": 5}
    assert done == {**counts, "unread": []}
    work(world)
    done = told(world, "export", name, "--to", to, "--format", form)
    assert (done["parts"], done["captions"]) == (1, 5)  # it was not whole
    done = told(world, "export", name, "--to", to, "--format", form)
    assert (done["parts"], done["kept"]) == (0, 1)
    (part,) = (tmp_path / "set").glob("part-*")
    if form == "jsonl":
        rows = [json.loads(line) for line in gzip.decompress(part.read_bytes()).splitlines()]
        told_of = {row["video"]["key"]: row["text"] for row in rows}
    else:
        table = parquet.read_table(part).to_pylist()
        told_of = {row["key"]: row["text"] for row in table}
    assert told_of == {video.key: f"{video.key}의 자막" for video in videos}
    # Of a prefix: what the views show, into a bucket.
    away = f"s3://{world.output}/{world.prefix}sets/{name}"
    done = told(world, "export", f"s3://{world.videos}/{name}/", "--to", away, "--format", form)
    assert (done["parts"], done["captions"]) == (1, 5)
    assert len(list(world.store.list(world.output, f"{world.prefix}sets/{name}/part-"))) == 1


def test_a_shard_is_a_multiple_of_a_byte_of_its_bitmap() -> None:
    assert SHARD_LINES % 8 == 0
