"""An S3 or SQS that is there and lets us not do our work: each fault has its own error and cure."""

import io
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.exceptions
import botocore.parsers
import pytest
import urllib3
from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from producer.uploads.sqs import dead_letters_of, region_of_queue, sqs_client
from shared.bucket.answers import meaning
from shared.bucket.refusals import of_client
from shared.bucket.storage import ObjectStore
from shared.errors import (
    Archived,
    BadCredentials,
    ConfigError,
    Encrypted,
    Forbidden,
    JamakError,
    Missing,
    NoSuchBucket,
    NoSuchQueue,
    QueueUnavailable,
    Retry,
    StoreRefuses,
    StoreUnavailable,
    WrongRegion,
)
from shared.settings import Output
from tests.faults import RawBody
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

    store.client.s3.meta.events.register("before-send.s3", note)
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


def answering(
    store: ObjectStore, operation: str, status: int, body: str = "", **headers: str
) -> None:
    def answer(request: Any, **_: Any) -> Any:
        return AWSResponse(request.url, status, headers, RawBody(body.encode()))

    store.client.s3.meta.events.register(f"before-send.s3.{operation}", answer)


def words(code: str, message: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


KMS = "User: u is not authorized to perform: kms:Decrypt on resource: k"
SSE_C = "The object was stored using a form of Server Side Encryption. The correct parameters …"


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "cure"),
    [
        (400, "ExpiredToken", "", BadCredentials, "Log in again"),
        (403, "RequestTimeTooSkewed", "", BadCredentials, "NTP"),
        (400, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'", WrongRegion, "region"),
        (301, "PermanentRedirect", "", WrongRegion, "region"),
        (307, "TemporaryRedirect", "", StoreUnavailable, "answers"),
        (503, "SlowDown", "", StoreUnavailable, "limits"),
        (400, "RequestTimeout", "", StoreUnavailable, "answers"),
        (507, "InsufficientStorage", "", StoreUnavailable, "answers"),
        (409, "OperationAborted", "", StoreUnavailable, "answers"),
        (400, "BadDigest", "", StoreUnavailable, "answers"),
        (403, "InvalidObjectState", "not valid for its storage class", Archived, "Restore it"),
        (400, "KMS.DisabledException", "k is disabled", Encrypted, "Enable the key"),
        (400, "KMS.ThrottlingException", "", StoreUnavailable, "answers"),
        (403, "AccessDenied", KMS, Forbidden, "kms:Decrypt"),
        (400, "InvalidRequest", SSE_C, Encrypted, "SSE-KMS"),
        (403, "QuotaExceeded", "", Forbidden, "quota"),
        (405, "MethodNotAllowed", "", Missing, "gone"),
        (404, "NoSuchVersion", "", Missing, "gone"),
        (501, "NotImplemented", "", StoreRefuses, "words of the store"),
        (400, "KeyTooLongError", "", StoreRefuses, "words of the store"),
    ],
)
def test_what_the_stand_in_never_answers_is_understood(
    world: World, status: int, code: str, message: str, kind: type[JamakError], cure: str
) -> None:
    store = ObjectStore(tries=1)
    answering(store, "GetObject", status, words(code, message))
    # The answer to a HEAD has no text; without one, the text of the same GET counts.
    answering(store, "HeadObject", status)
    asking: list[Callable[[], object]] = [lambda: store.get(world.videos, "k")]
    if status in (400, 403):
        asking.append(lambda: store.head(world.videos, "k"))
    for ask in asking:
        with pytest.raises(kind) as caught:
            ask()
        assert type(caught.value) is kind
        assert cure in caught.value.cure
        assert caught.value.place == (world.videos, "k")


LOGIN = "<html><body><p>Log in first<br></body></html>"


@pytest.mark.parametrize("body", [LOGIN, "<html><body>Log in first</body></html>", "", "{}"])
@pytest.mark.parametrize("status", [200, 302, 303])
def test_who_answers_in_the_place_of_s3_is_no_s3(world: World, status: int, body: str) -> None:
    store = ObjectStore(tries=1)
    answering(store, "*", status, body, Location="https://login.example/")
    for ask in (
        lambda: store.head(world.videos, "k"),
        lambda: store.get(world.videos, "k"),
        lambda: store.put(world.videos, "k", b"", if_none_match=True),
        lambda: store.list_page(world.videos, ""),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert caught.value.cure


def every(module: ModuleType) -> list[Exception]:
    """One error of each kind that a library may raise, with something in each of its fields."""

    class Fields(dict[str, Any]):
        def __missing__(self, name: str) -> str:
            return f"some {name}"

    found: list[Exception] = []
    for kind in vars(module).values():
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            continue
        if issubclass(kind, Warning) or not kind.__module__.startswith(module.__name__):
            continue
        error = kind.__new__(kind, "what it says")
        error.__dict__.update(partial=0, expected=1, length=b"", response=io.BytesIO())
        error.args = (str(getattr(kind, "fmt", "what it says")).format_map(Fields()),)
        if issubclass(kind, ClientError):
            error = kind({"Error": {"Code": "Unheard", "Message": "of"}}, "GetObject")
        found.append(error)
    return found


@pytest.mark.parametrize("module", [botocore.exceptions, botocore.parsers, urllib3.exceptions])
def test_no_error_of_a_library_goes_further_in(
    aws: dict[str, str], module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also none that a newer version brings."""
    store, sqs = ObjectStore(tries=1), sqs_client(tries=1)
    errors = every(module)
    assert len(errors) >= {"botocore.parsers": 1}.get(module.__name__, 25)
    for error in errors:

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        # Whether botocore would try it again is not the question.
        monkeypatch.setattr(store.client.s3, "_make_api_call", fail)
        monkeypatch.setattr(sqs, "_make_api_call", fail)
        with pytest.raises(JamakError) as caught:
            store.get("b", "k")
        assert caught.value.cure, error
        assert caught.value.place == ("b", "k")
        with pytest.raises(JamakError) as caught:
            dead_letters_of(sqs, f"{aws['AWS_ENDPOINT_URL']}/1/queue")
        assert caught.value.cure, error


def test_what_may_pass_is_tried_again_and_a_setting_is_not() -> None:
    """By name: what a newer botocore adds is looked at by whoever upgrades it."""
    again = {
        type(error).__name__
        for error in every(botocore.exceptions)
        if isinstance(meaning("w", "b", error, writing=False), Retry)
    }
    assert again == {
        "AwsChunkedWrapperError",
        "CapacityNotAvailableError",
        "ChecksumError",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "CredentialRetrievalError",
        "EndpointConnectionError",
        "FlexibleChecksumError",
        "HTTPClientError",
        "IncompleteReadError",
        "LoginAuthorizationCodeError",
        "LoginError",
        "LoginInsufficientPermissions",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "MetadataRetrievalError",
        "MissingServiceIdError",
        "PaginationError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        "SSLError",
        "SSOError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UndefinedModelAttributeError",
        "UnseekableStreamError",
    }


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
    for client in (store.client.s3, sqs):
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
