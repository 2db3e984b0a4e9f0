"""Where results are told, and how what goes there is signed."""

import base64

import pytest

from producer.results.sinks import Webhook, signature
from shared.errors import ConfigError
from shared.settings import load_settings
from shared.sinks import Sink, key_of, shown_sink

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("text", "kind", "region"),
    [
        ("arn:aws:sns:eu-west-1:123456789012:captions", "sns", "eu-west-1"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:captions.fifo", "sns", "cn-north-1"),
        ("arn:aws:events:us-east-1:123456789012:event-bus/default", "events", "us-east-1"),
        ("https://hooks.example.com:8443/a?token=x", "webhook", ""),
    ],
)
def test_a_topic_a_bus_or_an_address(text: str, kind: str, region: str) -> None:
    sink = Sink.parse(text)
    assert (sink.kind, sink.region, sink.address) == (kind, region, text)
    assert "token" not in shown_sink(text)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:sqs:eu-west-1:123456789012:captions",
        "arn:aws:sns:eu-west-1:12:captions",
        "s3://bucket/",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "file:///etc/passwd",
    ],
)
def test_what_is_none_of_them_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_RESULTS", text)
    with pytest.raises(ConfigError, match=r"JAMAK_RESULTS: .*; write arn:aws:sns"):
        load_settings()


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!"])
def test_a_secret_that_anybody_could_guess_is_refused(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAMAK_RESULTS_SECRET", secret)
    with pytest.raises(ConfigError, match="JAMAK_RESULTS_SECRET: it is not") as caught:
        load_settings()
    assert secret not in str(caught.value) or secret in ("secret", "whsec_")


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of standardwebhooks.com's own libraries."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("address", ["http://example.com/", "http://10.0.0.1/"])
def test_without_tls_its_host_has_to_be_named(address: str) -> None:
    key = key_of(SECRET)
    with pytest.raises(ConfigError, match="over no TLS"):
        Webhook(address, key, ())
    Webhook(address, key, (address,))
