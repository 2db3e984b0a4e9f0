"""`jamak doctor`: what it finds, where something is wrong too, and that it ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from typer import Typer
from typer.testing import CliRunner

from infra.local.redis import RedisServer, start_redis
from infra.local.stack import DEMO_MODEL
from producer.verbs import checks
from producer.verbs.checks import Doubt, Found, cached_model, clock_of_redis, clock_of_s3
from producer.verbs.doctor import doctor, look
from shared.broker.leased_queues import LeasedQueues
from shared.broker.told_results import Results
from shared.errors import ConfigError
from shared.settings import Settings
from tests.redis_users import USERS, add_user
from tests.silent import silent_server
from tests.topologies import cluster
from tests.verbs import jamak
from tests.world import World

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Configured as a broker must be, with the users of infra/redis."""
    started = start_redis(tmp_path_factory.mktemp("redis"))
    with redis.Redis.from_url(started.url) as admin:
        for role in ("producer", "operator", "worker", "trainer", "retrainer", "autoscaler"):
            add_user(admin, f"jamak-{role}", USERS[f"jamak-{role}"])
    yield started
    started.stop()


@pytest.fixture
def env(world: World, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All is well."""
    changed = {"JAMAK_REDIS_URL": server.url, "JAMAK_REDIS_PREFIX": "jamak"}
    for name, value in {**world.env, **changed, "JAMAK_MODEL_PATH": str(DEMO_MODEL)}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def looked(code: int) -> dict[str, Found]:
    """By the name of the check."""
    app = Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == code, done.output
    told = json.loads(done.stdout)
    assert told["ok"] == (code == 0)
    return {one["check"].split(" s3://")[0]: Found(**one) for one in told["checks"]}


ALL = {
    "settings",
    "redis",
    "redis user",
    "redis maxmemory-policy",
    "redis append-only file",
    "bucket",
    "store",
    "events queue",
    "model",
    "card",
    "clock and S3",
    "clock and Redis",
}


def test_where_all_is_well_nothing_fails_and_nothing_changes(
    env: pytest.MonkeyPatch, world: World, server: RedisServer
) -> None:
    found = looked(0)
    assert set(found) == ALL
    assert {one.status for one in found.values()} == {"ok"}
    assert "captioner, trainer, producer" in found["redis user"].found
    rows = {one.check.rpartition("/ ")[2] for one in look() if one.check.startswith("store ")}
    assert rows == {
        *("If-None-Match", "If-Match", "ranged reads", "list order", "key length", "checksums")
    }
    assert "llava_next_video" in found["model"].found
    with redis.Redis.from_url(server.url) as client:
        left = {key: client.ttl(key) for key in client.scan_iter("jamak*")}
    # What sweeps look at, and what ends by itself.
    kept = (b":run", b":clock")
    assert all(key.endswith(kept) or 0 <= ttl <= 1 for key, ttl in left.items()), left
    written = [one.key for one in world.store.list(world.output, world.prefix)]
    assert all(key.startswith(f"{world.prefix}probes/") for key in written)


def test_the_command_shows_lines_and_names_what_is_wrong(
    env: pytest.MonkeyPatch, world: World
) -> None:
    wrong = World(world.videos, "there-is-no-such-bucket", world.redis_url, world.aws, "jamak")
    done = jamak(wrong, "doctor", code=78)
    lines = {line.split("\t")[1]: line.split("\t") for line in done.stdout.splitlines()}
    status, _, said, cure = lines["bucket s3://there-is-no-such-bucket/jamak/out/"]
    assert status == "failed"
    assert said == "the bucket s3://there-is-no-such-bucket does not exist (named by JAMAK_OUTPUT)"
    assert cure
    assert lines["redis"][0] == "ok"


@pytest.mark.parametrize(
    ("role", "may", "lacks"),
    [
        ("producer", "may be producer", "not operator"),
        ("operator", "operator (also jamak train)", "not captioner"),
        ("worker", "may be captioner", "not trainer"),
        ("trainer", "may be trainer", "not captioner"),
        ("retrainer", "may be retrainer", "not operator"),
        ("autoscaler", "may be reader", "not producer"),
    ],
)
def test_a_user_for_a_role_is_enough(
    env: pytest.MonkeyPatch, server: RedisServer, role: str, may: str, lacks: str
) -> None:
    login = f"jamak-{role}:change-me-{role}"
    env.setenv("JAMAK_REDIS_URL", f"redis://{login}@127.0.0.1:{server.port}/0")
    user = looked(0)["redis user"]
    assert user.status == "warning"
    assert may in user.found
    assert lacks in user.found
    assert "permission" in user.found.lower()


def test_every_redis_fault_is_found(env: pytest.MonkeyPatch, server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.config_set("appendonly", "no")
        try:
            found = looked(78)
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("appendonly", "yes")
    assert "allkeys-lru" in found["redis maxmemory-policy"].found
    assert found["redis append-only file"].status == "failed"
    assert found["redis"].status == "ok"
    env.setenv("JAMAK_REDIS_URL", f"redis://:wrong@127.0.0.1:{server.port}/0")
    found = looked(78)
    assert "not with this password" in found["redis"].found
    assert found["bucket"].status == "ok"


def test_servers_that_never_answer_do_not_hold_it_up(env: pytest.MonkeyPatch) -> None:
    env.setattr(checks, "LONGEST_S", 6.0)  # shorter than botocore's patience
    with silent_server() as silent:
        env.setenv("JAMAK_REDIS_URL", f"redis://127.0.0.1:{silent.port}/0")
        env.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.port}")
        env.setenv("JAMAK_EVENTS_QUEUE_URL", f"http://127.0.0.1:{silent.port}/1/queue")
        found = looked(78)
    assert set(found) == ALL
    fine = {name for name, one in found.items() if one.status == "ok"}
    assert fine == {"settings", "model", "card"}
    assert found["events queue"].found == "no answer within 6 s"
    assert "does not answer in time" in found["clock and Redis"].found


def test_faults_of_settings_keep_no_other_check(env: pytest.MonkeyPatch) -> None:
    env.setenv("JAMAK_OUTPUT", "captions")
    env.setenv("JAMAK_OUTPTS", "s3://a/")
    app = Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, ["--json"])
    told: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    said = [(one["status"], one["found"]) for one in told if one["check"] == "settings"]
    assert said[0] == (
        "warning",
        "JAMAK_OUTPTS is no setting of Jamak: did you mean JAMAK_OUTPUTS?",
    )
    assert said[1][0] == "failed"
    assert "JAMAK_OUTPUT" in said[1][1]
    names = {one["check"] for one in told}
    assert {"redis", "model", "card"} <= names
    assert not any("s3://" in name for name in names)  # they would be others


def test_the_queue_of_events_is_looked_at(env: pytest.MonkeyPatch, world: World) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="doctor")["QueueUrl"]
    env.setenv("JAMAK_EVENTS_QUEUE_URL", url)
    assert "no dead-letter queue" in looked(78)["events queue"].found
    env.setenv("JAMAK_EVENTS_QUEUE_URL", f"{url}-that-is-not-there")
    assert "there is no such queue" in looked(78)["events queue"].found
    sqs.delete_queue(QueueUrl=url)


def test_who_is_told_of_results_is_looked_at(env: pytest.MonkeyPatch, server: RedisServer) -> None:
    env.setenv("JAMAK_RESULTS", "https://hooks.example.com/x?token=secret")
    found = {one.check: one for one in look()}["results"]
    assert (found.status, "JAMAK_RESULTS_SECRET is not set" in found.found) == ("warning", True)
    env.setenv("JAMAK_RESULTS_SECRET", f"whsec_{'A' * 32}")
    found = {one.check: one for one in look()}["results"]
    assert found == Found("results", "ok", "0 wait to be told to https://hooks.example.com/x")
    Results(LeasedQueues(server.url, "jamak:", 30)).say("HTTP 503")
    found = {one.check: one for one in look()}["results"]
    assert (found.status, "HTTP 503" in found.found) == ("warning", True)


def test_a_model_is_found_where_the_hub_keeps_it(tmp_path: Path) -> None:
    settings = Settings(model="org/name", model_revision="main")
    env = {"HF_HUB_CACHE": str(tmp_path)}
    with pytest.raises(Doubt, match="not cached"):
        checks.model_is_there(settings, env)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE"):
        checks.model_is_there(settings, {**env, "HF_HUB_OFFLINE": "1"})
    folder = tmp_path / "models--org--name"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert cached_model(settings, env) == snapshot
    assert cached_model(settings.model_copy(update={"model_revision": "abc"}), env) == snapshot
    for content, said in ((None, "No such file"), ("{", "readable"), ("{}", "model_type")):
        if content is not None:
            (snapshot / "config.json").write_text(content)
        with pytest.raises(ConfigError, match=f"(?s)config.json.*{said}|{said}.*config.json"):
            checks.model_is_there(settings, env)
    (snapshot / "config.json").write_text('{"model_type": "llava_next_video"}')
    with pytest.raises(ConfigError, match="safetensors"):
        checks.model_is_there(settings, env)
    (snapshot / "model.safetensors").write_bytes(b"x" * 2048)
    assert "2.0 KiB" in checks.model_is_there(settings, env)


def test_a_clock_that_is_off_is_found(env: pytest.MonkeyPatch, world: World) -> None:
    settings = world.settings
    with redis.Redis.from_url(world.redis_url) as client:
        now = client.time()[0]
    for clock in (clock_of_s3, clock_of_redis):
        assert "this clock is" in clock(settings, lambda: now + 1.0)
        with pytest.raises(Doubt, match="ahead of"):
            clock(settings, lambda: now + 100.0)
        with pytest.raises(Doubt, match="behind"):
            clock(settings, lambda: now - 100.0)
    with pytest.raises(ConfigError, match="S3 refuses"):
        clock_of_s3(settings, lambda: now + 1000.0)


def test_sentinels_and_nodes_that_disagree_are_told(
    env: pytest.MonkeyPatch, server: RedisServer, tmp_path: Path
) -> None:
    with cluster(tmp_path, primaries=1) as one:
        (node,) = one.nodes
        left_keys = ("jamak:caption.t4", "jamak-train:train")
        for key in left_keys:
            node.client.lpush(key, "left")
        env.setenv("JAMAK_REDIS_URL", one.url())
        found = looked(0)
        assert "1 of 1 say that the primary of {jamak}: is" in found["redis primary"].found
        left = found["redis keys without a hash tag"]
        assert (left.status, left.found[:10]) == ("warning", "2 messages")
        assert "jamak reconcile" in left.cure
        for key in left_keys:
            node.client.delete(key)
        env.setenv("JAMAK_REDIS_URL", f"{one.url().removesuffix('/0')},127.0.0.1:1")
        found = looked(0)
        assert found["redis keys without a hash tag"].found == "none"
        assert found["redis primary"].status == "warning"
        assert "127.0.0.1:1 names none" in found["redis primary"].found
    env.setenv("JAMAK_REDIS_URL", "sentinel://127.0.0.1:1;sentinel://127.0.0.1:2")
    found = looked(78)
    assert found["redis primary"].status == "failed"
    assert "connection refused" in found["redis primary"].found
    env.setenv("JAMAK_REDIS_URL", f"rediss://jamak@127.0.0.1:{server.port}")
    env.setenv("JAMAK_REDIS_CREDENTIALS", "vault/secret")
    found = looked(78)
    assert "elasticache/NAME" in found["redis"].cure
