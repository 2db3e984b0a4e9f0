"""`jamak recaption`: just the captions that are meant, counted first, and once each."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import redis

from producer.backlog import backlogs, feeder, manifest, recaption, scan
from producer.backlog import captioned as captioned_source
from producer.backlog.captioned import Kind
from producer.backlog.manifest import Backlog, backlog_names
from producer.backlog.recaption import backlog_of
from producer.backlog.where import parse
from producer.bucket import reconcile
from producer.verbs.bulk import reconcile as reconciling
from producer.verbs.recaption import recaption as verb
from shared.bucket.keys import record_key, view_key
from shared.bucket.records import Records
from shared.errors import DamagedObject, Unfinished, UsageError
from shared.messages import AdapterUsed, Caption, CaptionJob, Flag, ModelIdentity, Video
from tests.adapters import publish
from tests.backlogs import QUEUE, caption_of, failure_of, fill, take_all
from tests.terminal import Screen, jamak_here
from tests.verbs import inside, jamak
from tests.world import World

pytestmark = pytest.mark.integration

BASE = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="e" * 64)
SHARD = 8

_numbers = count()


@pytest.fixture
def name(world: World) -> Iterator[str]:
    """The prefix of some videos. Nothing else is in flight."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(*(f"{world.redis_prefix}:{key}" for key in (QUEUE, "delayed", "unacked")))
    yield f"re{next(_numbers)}"


@pytest.fixture(scope="module")
def versions(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two adapters: the one that was in use, and the one that is."""
    folder, found = tmp_path_factory.mktemp("adapters"), []
    (folder / "adapter_config.json").write_bytes(b"{}")
    for content in (b"old", b"new"):
        (folder / "adapter_model.safetensors").write_bytes(content)
        found.append(publish(world.registry, folder, BASE).version)
        world.registry.activate(BASE.weights_sha256, found[-1])
    return found[0], found[1]


def by(
    job: CaptionJob, version: str | None, flags: tuple[Flag, ...] = (), again: bool = False
) -> Caption:
    adapter = AdapterUsed(version=version, generation=1) if version else None
    told = caption_of(job).model_copy(update={"model": BASE, "adapter": adapter, "flags": flags})
    return told.model_copy(update={"text": f"{told.text} 다시"}) if again else told


def captioned(
    world: World, videos: list[Video], version: str | None, *flags: Flag, **recipe: Any
) -> None:
    records = Records(world.store, world.settings)
    for video in videos:
        job = world.job(video, **recipe)
        records.write(job, by(job, version, flags))
        records.render(by(job, version, flags))


def told(world: World, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = jamak(world, "recaption", *arguments, "--json", code=code)
    return dict(json.loads(done.stdout))


def made(world: World, *arguments: str) -> dict[str, Any]:
    """The same in this process."""
    done = inside(world, verb, *arguments, "--yes", "--json")
    assert done.exception is None, done.exception
    return dict(json.loads(done.stdout))


def under(world: World, name: str) -> str:
    return f"s3://{world.videos}/{name}/"


def work(world: World, version: str | None, most: int = 10**6) -> list[CaptionJob]:
    """Do what waits, as a worker with this adapter does."""
    records, done = Records(world.store, world.settings), []
    for delivery, job in take_all(world, most):
        caption = by(job, version, again=True)
        assert records.write(job, caption), "it was made before"
        records.render(caption)
        world.queues.ack([delivery.lease])
        done.append(job)
    return done


def fed(world: World, backlog: str) -> None:
    one = feeder.Feed(Backlog(world.store, world.settings, backlog), world.queues)
    while feeder.feed_round([one], lambda queue: 10**6):
        pass
    one.save()


def test_just_what_is_not_by_the_adapter_in_use_is_made_again(
    world: World, versions: tuple[str, str], name: str
) -> None:
    old, new = versions
    videos = fill(world, name, 12)
    captioned(world, videos[:5], old)
    captioned(world, videos[5:9], new)
    captioned(world, videos[9:], None)
    asked = "--where", "adapter!=active", under(world, name)
    before = set(backlog_names(world.store, world.settings))
    plan = told(world, *asked)
    (group,) = plan["groups"]
    assert (plan["looked_at"], plan["left"], plan["backlogs"]) == (12, 8, [])
    assert (group["recipe"], group["generation"]) == (world.recipe.id, 1)
    assert plan["usd"] == group["offer"]["usd"] > 0
    said = jamak(world, "recaption", *asked).stdout
    assert "to do: 8" in said
    assert "nothing was made: --yes does it" in said
    assert set(backlog_names(world.store, world.settings)) == before
    (backlog,) = told(world, *asked, "--yes")["backlogs"]
    assert backlog["videos"] == 8
    (again,) = told(world, *asked)["groups"]
    assert (again["backlog"], again["listed"]) == (backlog["name"], True)
    jamak(world, "reconcile", backlog["name"])
    jobs = work(world, new)
    assert {job.video for job in jobs} == {*videos[:5], *videos[9:]}
    assert {job.recipe for job in jobs} == {world.recipe.model_copy(update={"generation": 1})}
    records = Records(world.store, world.settings)
    shown = [records.show(video.bucket, video.key) for video in videos]
    assert {one.adapter.version for one in shown if one.adapter} == {new}
    assert [one.recipe.generation for one in shown] == [1] * 5 + [0] * 4 + [1] * 3
    jamak(world, "reconcile", backlog["name"])  # counts what was done
    assert told(world, *asked)["left"] == 0
    assert "nothing is to be captioned again" in jamak(world, "recaption", *asked, "--yes").stdout


def test_on_a_terminal_it_asks(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in world.env.items():
        monkeypatch.setenv(variable, value)
    captioned(world, fill(world, name, 2), None)
    for answer, code, made_now in (("n", 1, 0), ("y", 0, 1)):
        keyboard = Screen("utf-8", True)
        keyboard.write(f"{answer}\n")
        keyboard.seek(0)
        monkeypatch.setattr(sys, "stdin", keyboard)
        done = jamak_here(monkeypatch, "recaption", under(world, name), "--where", "adapter=none")
        assert (done.code, "Caption 2 videos again?" in done.err) == (code, True)
        names = backlog_names(world.store, world.settings)
        assert sum(is_of(world, one, name) for one in names) == made_now


def test_what_is_on_trial_is_as_right_as_what_is_in_use(
    world: World, versions: tuple[str, str], name: str
) -> None:
    old, new = versions
    captioned(world, fill(world, name, 2)[:1], old)
    asked = "--where", "adapter!=active", under(world, name)
    assert made(world, "--where", f"adapter={old[:7]}", under(world, name))["left"] == 1
    world.registry.begin_canary(BASE.weights_sha256, old, 0.1, paired=False, by="operator")
    try:
        assert made(world, *asked)["left"] == 0
    finally:
        world.registry.end_canary(BASE.weights_sha256, by="operator")
    assert world.registry.pointer(BASE.weights_sha256).version == new


def test_each_is_asked_for_as_it_was_one_generation_further(
    world: World, versions: tuple[str, str], name: str
) -> None:
    """Other prompts, other generations, and a revision that no worker has any more."""
    videos = fill(world, name, 6)
    other = {"prompt": f"{world.recipe.prompt} ", "revision": "0"}
    captioned(world, videos[:2], versions[0])
    captioned(world, videos[2:5], versions[0], generation=3, **other)
    captioned(world, videos[5:], versions[1])
    done = made(world, "--where", "adapter!=active", "--where", "card=cpu", under(world, name))
    for backlog in done["backlogs"]:
        fed(world, backlog["name"])
    asked = {job.video.key: job.recipe for job in work(world, versions[1])}
    first = world.recipe.model_copy(update={"generation": 1})
    second = world.recipe.model_copy(update={"generation": 4, "prompt": other["prompt"]})
    assert asked == {
        **{one.key: first for one in videos[:2]},
        **{one.key: second for one in videos[2:5]},
    }


def test_too_many_recipes_are_refused_before_anything_is_made(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recaption, "MOST_RECIPES", 1)
    videos = fill(world, name, 2)
    captioned(world, videos[:1], None)
    captioned(world, videos[1:], None, generation=1)
    with pytest.raises(UsageError, match="more than 1 recipes"):
        inside(world, verb, "--where", "status=ok", under(world, name), "--yes")
    ours = f"recipe={world.recipe.id}"
    assert made(world, "--where", ours, under(world, name))["left"] == 1


@pytest.mark.parametrize("many", [1, 100])
def test_videos_that_are_there_no_more_are_named_and_left_alone(
    world: World, name: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are listed or asked for one by one."""
    monkeypatch.setattr(captioned_source, "MANY", many)
    videos = fill(world, name, 4)
    captioned(world, videos, None, "repetitive")
    gone, other, *rest = videos
    world.store.delete(gone.bucket, gone.key)
    world.store.put(other.bucket, other.key, b"another video")
    asked = "--where", "flag=repetitive", under(world, name)
    done = inside(world, verb, *asked)
    assert gone.uri in done.stderr
    assert other.uri in done.stderr
    plan = made(world, *asked)
    assert plan["named"] == {"vanished": [gone.uri], "replaced": [other.uri]}
    (backlog,) = plan["backlogs"]
    found, _ = Backlog(world.store, world.settings, backlog["name"]).manifest()
    assert (found.lines, found.skipped) == (2, {"vanished": 1, "replaced": 1})
    fed(world, backlog["name"])
    assert {job.video for job in work(world, None)} == set(rest)


def test_a_caption_that_became_right_meanwhile_is_left_alone(
    world: World, versions: tuple[str, str], name: str
) -> None:
    """After it was counted: by another recipe, by this one, and one that cannot be made."""
    old, new = versions
    videos = fill(world, name, 5)
    captioned(world, videos, old)
    kind = Kind(parse("adapter!=active"), under(world, name))
    plan = recaption.count(world.store, world.settings, world.queues, kind)
    assert plan.left == 5
    captioned(world, videos[:1], new, prompt=f"{world.recipe.prompt} ", generation=1)
    records = Records(world.store, world.settings)
    job = world.job(videos[1], generation=1)
    records.write(job, by(job, new))  # its view is not rendered yet
    job = world.job(videos[2], generation=1)
    records.write_failure(job, failure_of(job))
    backlog = backlog_of(world.store, world.settings, kind, plan.groups[0])
    scan.scan(world.store, world.settings, world.queues, backlog)
    fed(world, backlog.name)
    assert {job.video for job in work(world, new)} == set(videos[3:])


def test_interrupted_and_started_again_it_goes_on(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was made meanwhile is meant all the same."""
    for module in (manifest, scan, feeder, reconcile, backlogs, recaption):
        monkeypatch.setattr(module, "SHARD_LINES", SHARD)
    videos = fill(world, name, 3 * SHARD + 2)
    captioned(world, videos, None)
    asked = "--where", "status=ok", under(world, name)
    written = Backlog.write_shard

    def cut(backlog: Backlog, number: int, some: list[Video]) -> str:
        if number == 2:
            raise KeyboardInterrupt
        return written(backlog, number, some)

    with monkeypatch.context() as patch:
        patch.setattr(Backlog, "write_shard", cut)
        assert inside(world, verb, *asked, "--yes", "--json").exit_code == 130
    (begun,) = (
        one for one in backlog_names(world.store, world.settings) if is_of(world, one, name)
    )
    fed(world, begun)
    first = work(world, None, most=5)
    assert len(first) == 5
    plan = made(world, *asked)
    assert plan["made_lately"] == {begun: 5}
    assert [one["name"] for one in plan["backlogs"]] == [begun]
    fed(world, begun)
    # What was in a shard already is there once.
    second = work(world, None)
    assert sorted(job.video.key for job in [*first, *second]) == sorted(one.key for one in videos)
    inside(world, reconciling, begun)  # counts what was done
    # Now that it is over, the same question is a new one.
    again = made(world, *asked)
    assert [one["generation"] for one in again["groups"]] == [2]


def is_of(world: World, backlog: str, name: str) -> bool:
    found, _ = Backlog(world.store, world.settings, backlog).manifest()
    return f"/{name}/" in found.source


def test_one_that_cannot_be_read_is_named_and_stops_no_other(
    world: World, versions: tuple[str, str], name: str
) -> None:
    videos = fill(world, name, 3)
    captioned(world, videos, None)
    spoilt = view_key(world.prefix, videos[0].bucket, videos[0].key, ".json")
    world.store.put(world.output, spoilt, b"{")
    done = inside(world, verb, "--where", "status=ok", under(world, name), "--yes")
    assert isinstance(done.exception, Unfinished)
    assert done.exception.told["unreadable"][0]["message"].startswith(
        f"s3://{world.output}/{spoilt} is damaged"
    )
    (backlog,) = done.exception.told["backlogs"]
    assert backlog["videos"] == 2
    pointer = f"{world.prefix}adapters/{BASE.weights_sha256[:12]}/active.json"
    before = world.store.get(world.output, pointer)
    world.store.put(world.output, pointer, b"{")
    try:  # all captions would seem to be of another adapter
        with pytest.raises(DamagedObject, match=r"active\.json"):
            inside(world, verb, "--where", "adapter!=active", under(world, name), "--yes")
    finally:
        world.store.put(world.output, pointer, before)


def test_long_keys_are_found_and_others_are_not(world: World, name: str) -> None:
    long = [f"{name}/{'긴-이름-' * 30}{number}.mp4" for number in range(2)]
    short = f"{name}/a.mp4"
    videos = []
    for key in (*long, short, f"{name}x/b.mp4", f"{'가' * 90}.mp4"):
        world.store.put(world.videos, key, key.encode())
        info = world.store.head(world.videos, key)
        video = Video(bucket=world.videos, key=key, etag=info.etag, size_bytes=info.size_bytes)
        videos.append(video)
    captioned(world, videos, None)
    assert "/~/" in view_key(world.prefix, world.videos, long[0], ".json")
    assert "/~/" in record_key(world.prefix, world.job(videos[0]))
    kind = Kind(parse("status=ok"), f"s3://{world.videos}/{name}/")
    plan = recaption.count(world.store, world.settings, world.queues, kind)
    assert (plan.left, plan.looked_at) == (3, 4)
    # Of all videos of all buckets each is there once.
    everything = recaption.count(world.store, world.settings, world.queues, replace(kind, under=""))
    assert everything.looked_at == len(
        [
            one
            for one in world.store.list(world.output, f"{world.prefix}captions/")
            if one.key.endswith(".json")
        ]
    )
