"""Passwords of Redis that expire: who is connected stays so, who comes back has the next one."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
import redis

from infra.local.processes import stop
from infra.local.redis import RedisServer, start_redis
from shared.broker import connections, credentials
from shared.broker.apps import leased_queues
from shared.broker.connections import Reach
from shared.broker.credentials import IamTokens, provider_of
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_trainer
from shared.errors import BrokerRefuses, BrokerUnavailable, ConfigError
from shared.settings import Settings
from tests.captioner import Captioner
from tests.rotating import FILE
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

PROVIDER = "tests.rotating:FromFile"


class Rotated:
    """A server, and a file with the credentials of now."""

    def __init__(self, server: RedisServer, file: Path) -> None:
        self.server, self.file = server, file
        self.admin = redis.Redis.from_url(server.url)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server.port}/0"

    def let_in(self, user: str, password: str) -> None:
        """With this password, and no other."""
        rules = ("on", "resetpass", f">{password}", "~*", "+@all")
        self.admin.execute_command("ACL", "SETUSER", user, *rules)

    def cut(self) -> None:
        """As a server does whose logins have expired."""
        for client in self.admin.client_list():
            if client["user"] != "default":
                self.admin.client_kill_filter(_id=client["id"])


@pytest.fixture
def rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotated]:
    file = tmp_path / "login"
    monkeypatch.setenv(FILE, str(file))
    server = start_redis(tmp_path / "redis")
    made = Rotated(server, file)
    made.let_in("first", "1")
    file.write_text("first 1")
    yield made
    made.admin.close()
    server.stop()


def test_connections_stay_when_the_credentials_change(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the server cuts them: the old user is gone, and none of them was opened again."""
    monkeypatch.setattr(connections, "SHOW_AGAIN_S", 0.05)
    queues = LeasedQueues(rotated.url, "jamak:", 30, Reach(credentials=PROVIDER))
    prove_trainer(queues)

    def seen() -> dict[str, str]:
        queues.put("q", ["m"])
        assert queues.take(queues.new_lease(), ["q"])
        clients = rotated.admin.client_list()
        return {one["id"]: one["user"] for one in clients if one["user"] != "default"}

    before = seen()
    assert set(before.values()) == {"first"}
    rotated.file.write_text("second 2")
    for _ in range(4):  # the server does not know them yet: nothing ends
        time.sleep(0.05)
        assert seen() == before
    rotated.let_in("second", "2")
    wait_until(lambda: set(seen().values()) == {"second"}, 2, "the new credentials")
    after = seen()
    assert after.keys() == before.keys()
    rotated.admin.acl_deluser("first")
    assert seen() == after


@pytest.mark.model
def test_a_worker_lives_through_a_rotation(rotated: Rotated, world: World, tmp_path: Path) -> None:
    there = replace(
        world, redis_url=rotated.url, aws={**world.aws, "JAMAK_REDIS_CREDENTIALS": PROVIDER}
    )
    worker = Captioner(there, tmp_path)
    try:
        worker.wait()
        rotated.let_in("first", "2")
        rotated.cut()
        with pytest.raises(redis.AuthenticationError):
            there.queues.redis.ping()
        wait_until(
            lambda: (
                "does not know this user" in (told := worker.process.log.read_text())
                or "invalid username-password" in told
            ),
            30,
            "a worker that is not let in",
        )
        rotated.file.write_text("first 2")
        job = there.job(there.upload(write_clip(tmp_path / "a.mp4", 12), "rotated.mp4"))
        there.send(job)
        assert there.caption(job).text
        wait_until(lambda: there.queues.counts()["in_flight"] == 0, 10, "its acknowledgement")
    finally:
        stop([worker.process], patience_s=20)
    assert worker.process.poll() == 0


def test_a_provider_that_fails_is_told(rotated: Rotated) -> None:
    rotated.file.unlink()
    queues = LeasedQueues(rotated.url, "jamak:", 30, Reach(credentials=PROVIDER))
    with pytest.raises(BrokerUnavailable, match="no credentials") as caught:
        prove_trainer(queues)  # at its start a worker waits for it
    assert "JAMAK_REDIS_CREDENTIALS" in caught.value.cure
    rotated.file.write_text("first wrong")
    with pytest.raises(BrokerRefuses, match="not with this password"):
        prove_trainer(queues)
    rotated.file.write_text("first 1")
    prove_trainer(queues)


@pytest.mark.parametrize(
    ("named", "url", "said"),
    [
        ("elasticache/cache", "redis://user@host", "want a user and TLS"),
        ("memorydb/cluster", "rediss://host", "want a user and TLS"),
        ("elasticache/", "rediss://user@host", "names none"),
        ("vault/x", "rediss://user@host", "names none"),
        ("no.such.module:Class", "redis://host", "No module named"),
        ("tests.rotating:Broken", "redis://host", "the vault is closed"),
        ("tests.rotating:NoProvider", "redis://host", "no CredentialProvider"),
        ("just text", "redis://host", "gives no credentials"),
    ],
)
def test_what_gives_no_credentials_is_refused(named: str, url: str, said: str) -> None:
    settings = Settings(redis_url=url, redis_credentials=named)
    with pytest.raises(ConfigError, match=said):
        leased_queues(settings, "jamak:")


KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "of a role",
    "AWS_DEFAULT_REGION": "ap-northeast-2",
}


@pytest.mark.parametrize(
    ("kind", "service", "more"),
    [
        ("elasticache", "elasticache", {}),
        ("elasticache-serverless", "elasticache", {"ResourceType": ["ServerlessCache"]}),
        ("memorydb", "memorydb", {}),
    ],
)
def test_tokens_of_iam_are_requests_that_are_signed_as_botocore_signs_them(
    kind: str, service: str, more: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda: datetime(2026, 7, 1, tzinfo=UTC)
    )
    user, token = IamTokens(kind, "my-cache", "jamak").get_credentials()
    assert user == "jamak"
    asked = parse_qs(urlsplit(f"https://{token}").query)
    assert token.startswith("my-cache/?Action=connect&User=jamak")
    assert {name: value for name, value in asked.items() if not name.startswith("X-Amz")} == {
        "Action": ["connect"],
        "User": ["jamak"],
        **more,
    }
    assert asked["X-Amz-Expires"] == ["900"]
    query = "&".join(f"{name}={value[0]}" for name, value in {**_said(), **more}.items())
    request = botocore.awsrequest.AWSRequest("GET", f"https://my-cache/?{query}")
    keys = botocore.credentials.Credentials("AKIDEXAMPLE", "secret", "of a role")
    botocore.auth.SigV4QueryAuth(keys, service, "ap-northeast-2", expires=900).add_auth(request)
    assert token == request.url.removeprefix("https://")


def _said() -> dict[str, list[str]]:
    return {"Action": ["connect"], "User": ["jamak"]}


def test_a_token_is_kept_for_ten_minutes_and_made_anew_before_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    now = [datetime(2026, 7, 1, tzinfo=UTC)]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now[0])
    tokens = IamTokens("elasticache", "my-cache", "jamak")
    first = tokens.get_credentials()
    now[0] = datetime(2026, 7, 1, 0, 11, tzinfo=UTC)
    assert tokens.get_credentials() == first
    elapsed = credentials.time.monotonic() + 601
    monkeypatch.setattr(credentials.time, "monotonic", lambda: elapsed)
    assert tokens.get_credentials() != first
    assert credentials.RENEWED_S < credentials.TOKEN_S


def test_without_keys_of_aws_there_are_no_credentials_for_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*KEYS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(credentials.NoCredentials):
        provider_of("elasticache/my-cache", "jamak", tls=True).get_credentials()
