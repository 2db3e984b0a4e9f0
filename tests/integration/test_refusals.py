"""An S3 or SQS that is there and lets us not do our work: each fault has its own error and cure."""

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from producer.uploads.listen import dead_letters_of
from shared.bucket.refusals import of_client
from shared.bucket.storage import ObjectStore, region_of_queue, sqs_client
from shared.errors import (
    BadCredentials,
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
from shared.settings import Output
from tests.world import World

pytestmark = pytest.mark.integration

NOBODY = "there-is-no-such-bucket-of-ours"


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
        lambda: store.prove(Output(NOBODY, "")),
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
            lambda store=store: store.prove(Output(world.output, "")),
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
        store.prove(Output(world.output, ""))
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
