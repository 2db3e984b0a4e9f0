"""A server that is there and lets us not do our work: each fault has its own error and cure."""

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from redis._parsers.base import BaseParser

from infra.local.redis import RedisServer, start_redis
from producer.uploads.listen import dead_letters_of
from shared.broker.apps import leased_queues, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.refusals import meaning
from shared.bucket.refusals import of_client
from shared.bucket.storage import ObjectStore, prove_conditional_put, region_of_queue, sqs_client
from shared.errors import (
    BadCredentials,
    BrokerRefuses,
    BrokerUnavailable,
    ConfigError,
    Forbidden,
    JamakError,
    Missing,
    NoSuchBucket,
    NoSuchQueue,
    QueueUnavailable,
    StoreUnavailable,
    WrongRegion,
)
from shared.settings import Settings
from tests.silent import silent_server
from tests.tls import make_certificate, tls_proxy
from tests.world import World

pytestmark = pytest.mark.integration

NOBODY = "there-is-no-such-bucket-of-ours"


# --- Redis ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """With a password, a user that may do nothing but ask whether it lives, and one that is off."""
    started = start_redis(tmp_path_factory.mktemp("redis"))
    with redis.Redis.from_url(started.url) as admin:
        for user in (("weak", "on", ">pw", "~*", "-@all", "+ping"), ("gone", "off", ">pw")):
            admin.execute_command("ACL", "SETUSER", *user)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def tls(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    with tls_proxy(certificate, key, server.port) as port:
        yield port, certificate


def proved(url: str, ca_file: Path | None = None) -> JamakError:
    """What a process says that starts with this."""
    with pytest.raises(JamakError) as caught:
        LeasedQueues(url, "jamak:", 30, ca_file=ca_file).prove()
    return caught.value


@pytest.mark.parametrize(
    ("user", "database", "said", "cure"),
    [
        (":wrong@", "0", "not with this password", "percent-encode"),
        ("nobody:pw@", "0", "does not know this user", "JAMAK_REDIS_URL"),
        ("gone:pw@", "0", "does not know this user", "JAMAK_REDIS_URL"),
        ("", "0", "wants a password", "user:password@"),
        ("weak:pw@", "0", "no permissions to run the 'del'", "users.acl"),
        (":{password}@", "99", "no database of this number", "redis://host:port/0"),
    ],
)
def test_who_is_not_let_in_hears_why(
    server: RedisServer, user: str, database: str, said: str, cure: str
) -> None:
    login = user.format(password=server.password)
    error = proved(f"redis://{login}127.0.0.1:{server.port}/{database}")
    assert isinstance(error, BrokerRefuses)
    assert said in str(error)
    assert cure in error.cure
    assert server.password not in f"{error} {error.cure}"


def test_tls_and_its_absence_are_told_apart(server: RedisServer, tls: tuple[int, Path]) -> None:
    port, certificate = tls
    login = f":{server.password}@127.0.0.1"
    for url, ca_file, said, cure in (
        (f"redis://{login}:{port}/0", None, "speaks TLS only", "Write rediss://"),
        (f"rediss://{login}:{server.port}/0", None, "does not speak TLS", "Write redis://"),
        (f"rediss://{login}:{port}/0", None, "not trusted", "JAMAK_REDIS_CA_FILE"),
        (f"rediss://{login}:{port}/0", Path(__file__), "no certificate", "PEM"),
    ):
        error = proved(url, ca_file)
        assert isinstance(error, BrokerRefuses), url
        assert said in str(error)
        assert cure in error.cure
    LeasedQueues(f"rediss://{login}:{port}/0", "jamak:", 30, ca_file=certificate).prove()


def test_what_may_come_back_says_how_it_is_away() -> None:
    for url, kind, said in (
        ("redis://127.0.0.1:1/0", BrokerUnavailable, "connection refused"),
        ("redis://no-such-host.invalid/0", BrokerUnavailable, "host name is unknown"),
    ):
        error = proved(url)
        assert isinstance(error, kind), (url, error)
        assert said in str(error)


def test_what_is_no_redis_is_refused() -> None:
    with silent_server(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as web:
        error = proved(f"redis://127.0.0.1:{web.port}/0")
    assert isinstance(error, BrokerRefuses)
    assert "is no Redis" in str(error)


def test_a_redis_that_takes_nothing_says_so(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "jamak:", 30)
    with redis.Redis.from_url(server.url) as admin:
        for setting, value, back, kind, said in (
            ("maxmemory", 1, 0, BrokerUnavailable, "Redis is full"),
            ("min-replicas-to-write", 1, 0, BrokerUnavailable, "replicas"),
        ):
            admin.config_set(setting, value)
            try:
                with pytest.raises(kind, match=said), reaching_redis():
                    queues.put("q", ["m"])
            finally:
                admin.config_set(setting, back)
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(BrokerUnavailable, match="read-only replica"), reaching_redis():
                queues.put("q", ["m"])
        finally:
            admin.execute_command("REPLICAOF", "NO", "ONE")


def test_after_a_failover_the_address_is_asked_again(server: RedisServer) -> None:
    """A connection that is left open leads to the old primary for ever."""
    queues = LeasedQueues(server.url, "failover:", 30)
    taker = queues._taker
    before = queues.redis.client_id(), taker.client_id()
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            for refused in (
                lambda: queues.put("q", ["m"]),
                lambda: queues.take(queues.new_lease(), ["q"]),
            ):
                with pytest.raises(redis.exceptions.ReadOnlyError):
                    refused()
        finally:
            admin.execute_command("REPLICAOF", "NO", "ONE")
    after = queues.redis.client_id(), taker.client_id()
    assert not set(before) & set(after)
    assert queues.put("q", ["m"]) == 1


def test_a_full_redis_drains_by_itself(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "full:", 30)
    queues.put("q", [str(i) for i in range(50)])
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", 1)
        try:
            queues.prove(notes=True)
            for i in range(50):
                delivery = queues.take(queues.new_lease(), ["q"])
                assert delivery is not None
                assert int(delivery.message) == i
                assert queues.beat({"queues": ["q"]}, [delivery.lease]) == [True]
                assert queues.renew(delivery.lease)
                assert queues.begin(delivery.lease)
                assert queues.ack([delivery.lease]) == 1
            assert queues.take(queues.new_lease(), ["q"]) is None
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                queues.put("q", ["more"])
        finally:
            admin.config_set("maxmemory", 0)


def test_a_redis_that_may_throw_jobs_away_is_refused(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "evicted:", 30)
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(BrokerRefuses, match="allkeys-lru") as caught:
                queues.prove()
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in caught.value.cure


def test_a_redis_that_answers_can_be_reached(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "wrong:", 30)
    queues.redis.set("wrong:q", "no list")
    with pytest.raises(BrokerRefuses, match="is asked: WRONGTYPE"), reaching_redis():
        queues.waiting("q")


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("ERR unknown command 'EVALSHA', with args beginning with:", BrokerRefuses, "is asked"),
        ("MOVED 3999 127.0.0.1:6381", BrokerRefuses, "is a cluster"),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailable, "primary is away"),
        ("MASTERDOWN Link with MASTER is down", BrokerUnavailable, "primary is away"),
        ("TRYAGAIN Multiple keys request during rehashing", BrokerUnavailable, "primary is away"),
        ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable, "too few replicas"),
        ("BUSY Redis is busy running a script.", BrokerUnavailable, "busy with a script"),
        ("LOADING Redis is loading the dataset", BrokerUnavailable, "loading its data"),
    ],
)
def test_what_passes_is_told_from_what_somebody_must_change(
    answer: str, kind: type[JamakError], said: str
) -> None:
    error = meaning(BaseParser.parse_error(answer))
    assert isinstance(error, kind)
    assert said in str(error)


def test_verbs_say_the_same_as_processes(server: RedisServer) -> None:
    settings = Settings(redis_url=f"redis://:wrong@127.0.0.1:{server.port}/0")
    with pytest.raises(BrokerRefuses, match="not with this password"), reaching_redis():
        leased_queues(settings, "jamak:").waiting("q")


# --- S3 ------------------------------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_no_missing_object(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    store = ObjectStore()
    for ask in (
        lambda: store.head(NOBODY, "k"),  # its answer has no text that says which
        lambda: store.exists(NOBODY, "k"),
        lambda: store.get(NOBODY, "k"),
        lambda: store.get_range(NOBODY, "k", 0, 1),
        lambda: store.put(NOBODY, "k", b"", if_none_match=True),
        lambda: store.list_page(NOBODY, ""),
        lambda: list(store.folders(NOBODY, "")),
        lambda: store.upload(tmp_path / "a", NOBODY, "k"),
        lambda: store.delete(NOBODY, "k"),
        lambda: prove_conditional_put(store, NOBODY, ""),
    ):
        with pytest.raises(NoSuchBucket, match=f"the bucket s3://{NOBODY} does not exist"):
            ask()
    with pytest.raises(Missing):
        store.head(world.videos, "no such key")
    assert not store.exists(world.videos, "no such key")


def test_a_bucket_is_asked_for_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore()
    asked: list[str] = []

    def note(**about: Any) -> None:
        asked.append(about["event_name"].rpartition(".")[2])

    store._s3.meta.events.register("before-send.s3", note)
    for _ in range(3):
        assert not store.exists(world.videos, "no such key")
    assert asked == ["HeadObject", "ListObjectsV2", "HeadObject", "HeadObject"]


@pytest.fixture
def guarded(world: World) -> Iterator[dict[str, str]]:
    """The credentials of a user, where the server asks for them; its policy lets it only read."""
    endpoint = world.aws["AWS_ENDPOINT_URL"]
    if "JAMAK_TEST_S3_ENDPOINT" in os.environ:
        pytest.skip("only the server of our own can be told to ask for credentials")

    def ask_for_credentials(after: str) -> None:
        request = urllib.request.Request(
            f"{endpoint}/moto-api/reset-auth",
            data=after.encode(),
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request).close()

    iam = boto3.client("iam", endpoint_url=endpoint)
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",'
        ' "Action": ["s3:ListBucket", "s3:GetObject"]}]}'
    )
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    ask_for_credentials("0")
    try:
        yield {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
    finally:
        ask_for_credentials("inf")


def test_credentials_that_are_wrong_are_no_missing_permission(
    world: World, guarded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{world.aws['AWS_ENDPOINT_URL']}/123456789012/queue"
    for changed, said in (
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, "access key is unknown"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret key is not the one"),
    ):
        for name, value in {**guarded, **changed}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        store = ObjectStore()
        for ask in (
            lambda store=store: store.head(world.videos, "k"),
            lambda store=store: store.get(world.videos, "k"),
            lambda store=store: prove_conditional_put(store, world.output, ""),
            lambda: dead_letters_of(sqs_client(), url),
        ):
            with pytest.raises(BadCredentials, match=said):
                ask()
    for name, value in guarded.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    store = ObjectStore()
    with pytest.raises(Missing):
        store.get(world.videos, "no such key")
    with pytest.raises(Forbidden, match="AccessDenied"):
        store.put(world.videos, "k", b"")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        prove_conditional_put(store, world.output, "")
    assert "s3:PutObject" in caught.value.cure


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (400, "ExpiredToken", BadCredentials, "session token has expired"),
        (403, "RequestTimeTooSkewed", BadCredentials, "clock is wrong"),
        (400, "AuthorizationHeaderMalformed", WrongRegion, "another region"),
        (503, "SlowDown", StoreUnavailable, "SlowDown"),
    ],
)
def test_what_the_stand_in_never_answers_is_understood(
    world: World, status: int, code: str, kind: type[JamakError], said: str
) -> None:
    store = ObjectStore(tries=1)

    def answer(request: Any, **_: Any) -> Any:
        body = f"<Error><Code>{code}</Code><Message>expecting 'eu-west-1'</Message></Error>"
        return AWSResponse(request.url, status, {}, RawBody(body.encode()))

    store._s3.meta.events.register("before-send.s3.GetObject", answer)
    with pytest.raises(kind, match=said) as caught:
        store.get(world.videos, "k")
    assert caught.value.cure


class RawBody:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


@pytest.mark.parametrize(
    "error",
    [
        CredentialRetrievalError(provider="iam-role", error_msg="timeout"),
        TokenRetrievalError(provider="sso", error_msg="timeout"),
        UnauthorizedSSOTokenError(),
    ],
)
def test_who_hands_out_credentials_may_be_away_for_now(
    aws: dict[str, str], error: BotoCoreError
) -> None:
    def fail(**_: Any) -> None:
        raise error

    store, sqs = ObjectStore(tries=1), sqs_client(tries=1)
    for client in (store._s3, sqs):
        client.meta.events.register("before-send", fail)
    with pytest.raises(StoreUnavailable, match=re.escape(str(error))) as caught:
        store.get("b", "k")
    assert "role" in caught.value.cure
    with pytest.raises(QueueUnavailable, match=re.escape(str(error))):
        dead_letters_of(sqs, f"{aws['AWS_ENDPOINT_URL']}/1/queue")
    # A process that starts says so and ends: it does not wait for what may never come.
    with pytest.raises(BadCredentials, match=re.escape(str(error))), of_client("S3"):
        raise error


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ENDPOINT_URL", "nonsense", "Invalid endpoint"),
        ("AWS_PROFILE", "nobody", "profile"),
        ("AWS_DEFAULT_REGION", "seoul!", "seoul!"),
    ],
)
def test_aws_settings_that_cannot_be_are_named(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for make in (ObjectStore, sqs_client):
        with pytest.raises(ConfigError, match=said):
            make()


def test_a_store_that_is_away_says_how(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = aws["AWS_ENDPOINT_URL"]
    for endpoint, said in (
        ("http://127.0.0.1:1", "connection refused"),
        ("http://no-such-host.invalid", "host name is unknown"),
        (there.replace("http:", "https:"), "does not speak TLS"),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreUnavailable, match=said) as caught:
            ObjectStore(tries=1).get("b", "k")
        assert "AWS_ENDPOINT_URL" in caught.value.cure
        with pytest.raises(QueueUnavailable, match=said):
            dead_letters_of(sqs_client(tries=1), f"{endpoint}/1/queue")


# --- SQS -----------------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_is_named_with_its_region(aws: dict[str, str]) -> None:
    sqs = sqs_client()
    with pytest.raises(NoSuchQueue, match="there is no such queue"):
        dead_letters_of(sqs, f"{aws['AWS_ENDPOINT_URL']}/123456789012/none")
    with pytest.raises(NoSuchQueue, match="URL says ap-northeast-2, and AWS_DEFAULT"):
        dead_letters_of(sqs, "https://sqs.ap-northeast-2.amazonaws.com/123456789012/none")
    assert region_of_queue("https://ap-northeast-2.queue.amazonaws.com/1/q") == "ap-northeast-2"
    assert region_of_queue("http://127.0.0.1:5000/1/q") is None
