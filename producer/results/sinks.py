"""How each kind of place is told. Knows nothing of Redis, nor of when it is tried again."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from shared.allowed import Allowed
from shared.broker.told_results import ToTell
from shared.bucket.client import network
from shared.bucket.refusals import of_client
from shared.errors import ConfigError, Forbidden
from shared.settings import Settings
from shared.sinks import Sink, key_of
from shared.web.connections import servers, within

Outcome = Literal["sent", "refused", "again"]
AT_ONCE = 10
"""More take neither SNS nor EventBridge."""
POSTS_AT_ONCE = 8
ANSWER_S = 10.0
MAY_PASS = (408, 425, 429)
"""And what is wrong with the server itself, or with how we are set up: 3xx, 401, 403, 404, 5xx."""
REFUSED = (400, 409, 410, 413, 414, 415, 422)
"""This event and no other."""


class Away(Exception):
    """It takes nothing for now."""


class Teller(Protocol):
    def send(self, some: Sequence[ToTell]) -> list[tuple[Outcome, str]]:
        """What became of each of at most AT_ONCE, and why.

        Raises:
            Away: nothing could be told, and why.
        """


def teller_of(settings: Settings) -> Teller:
    """Raises ConfigError: there is no such place, or it lacks something."""
    sink = Sink.parse(settings.results)
    if sink.kind == "webhook":
        secret = settings.results_secret
        if secret is None:
            raise ConfigError(
                "JAMAK_RESULTS_SECRET is not set",
                cure="Set it to whsec_ and 24 to 64 random bytes in base64: what is told to a "
                "webhook is signed with it.",
            )
        return Webhook(sink.address, key_of(secret.get_secret_value()), settings.addresses)
    return Topic(sink) if sink.kind == "sns" else Bus(sink)


class Topic:
    """Of SNS."""

    def __init__(self, sink: Sink) -> None:
        self._arn, self._client = sink.address, _client("sns", sink.region)

    def send(self, some: Sequence[ToTell]) -> list[tuple[Outcome, str]]:
        entries = [self._entry(str(at), one) for at, one in enumerate(some)]
        with _reaching(self._arn):
            answer = self._client.publish_batch(
                TopicArn=self._arn, PublishBatchRequestEntries=entries
            )
        failed = {one["Id"]: one for one in answer.get("Failed", ())}
        return [
            _became(failed[str(at)].get("SenderFault", False), failed[str(at)].get("Code", ""))
            if str(at) in failed
            else ("sent", "")
            for at in range(len(some))
        ]

    def _entry(self, name: str, one: ToTell) -> dict[str, Any]:
        told = json.loads(one.event)
        entry = {
            "Id": name,
            "Message": one.event,
            "MessageAttributes": {
                what: {"DataType": "String", "StringValue": told[what]}
                for what in ("status", "tenant")
            },
        }
        if self._arn.endswith(".fifo"):
            entry |= {"MessageGroupId": told["tenant"], "MessageDeduplicationId": one.id}
        return entry


class Bus:
    """Of EventBridge."""

    SENDERS_FAULT = ("InvalidArgument", "MalformedDetail", "NotAuthorizedForSource")

    def __init__(self, sink: Sink) -> None:
        self._arn, self._client = sink.address, _client("events", sink.region)

    def send(self, some: Sequence[ToTell]) -> list[tuple[Outcome, str]]:
        entries = [
            {
                "Source": "jamak",
                "DetailType": "Jamak result",
                "Detail": one.event,
                "Resources": [json.loads(one.event)["record"]],
                "EventBusName": self._arn,
            }
            for one in some
        ]
        with _reaching(self._arn):
            answer = self._client.put_events(Entries=entries)
        codes = [one.get("ErrorCode", "") for one in answer["Entries"]]
        return [
            _became(code in self.SENDERS_FAULT, code) if code else ("sent", "") for code in codes
        ]


def _became(refused: bool, code: str) -> tuple[Outcome, str]:
    return ("refused" if refused else "again"), code


class Webhook:
    """Signed as Standard Webhooks say it (standardwebhooks.com): `webhook-id`, `webhook-timestamp`,
    and `webhook-signature`, the HMAC of both and the body.

    Its host is one that the operator named; it has to be a public one, over TLS, or JAMAK_ADDRESSES
    names it, too. It is followed nowhere else.

    Args:
        clock: seconds since 1970.

    Raises:
        ConfigError: it is over no TLS, and its host is not named.
    """

    def __init__(
        self,
        address: str,
        key: bytes,
        addresses: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address, self._key, self._clock = address, key, clock
        try:
            self.name, named = Allowed((*addresses, "https://")).check(address)
        except Forbidden as error:
            raise ConfigError(
                "JAMAK_RESULTS is over no TLS, and its host is not named",
                cure="Use https://; or name its host in JAMAK_ADDRESSES: it is yours.",
            ) from error
        self._servers = servers(public=not named)
        self._pool = ThreadPoolExecutor(POSTS_AT_ONCE, thread_name_prefix="webhook")

    def send(self, some: Sequence[ToTell]) -> list[tuple[Outcome, str]]:
        found = list(self._pool.map(self._post, some))
        if all(outcome == "again" for outcome, _ in found):
            raise Away(found[0][1])
        return found

    def _post(self, one: ToTell) -> tuple[Outcome, str]:
        name = json.loads(one.event)["id"]
        at, body = str(int(self._clock())), one.event.encode()
        try:
            with within(ANSWER_S):
                answer = self._servers.request(
                    "POST",
                    self._address,
                    body=body,
                    headers={
                        "Content-Type": "application/json",
                        "User-Agent": "jamak",
                        "webhook-id": name,
                        "webhook-timestamp": at,
                        "webhook-signature": signature(self._key, name, at, body),
                    },
                    redirect=False,
                    preload_content=False,
                )
                answer.close()
                answer.release_conn()
        except Forbidden as error:
            return "again", str(error)
        except urllib3.exceptions.HTTPError as error:
            return "again", f"{self.name}: {type(error).__name__}"
        if 200 <= answer.status < 300:
            return "sent", ""
        refused = answer.status in REFUSED and answer.status not in MAY_PASS
        return ("refused" if refused else "again"), f"{self.name}: HTTP {answer.status}"


def signature(key: bytes, name: str, at: str, body: bytes) -> str:
    told = b"%s.%s.%s" % (name.encode(), at.encode(), body)
    return "v1," + base64.b64encode(hmac.digest(key, told, hashlib.sha256)).decode()


def _client(service: Literal["sns", "events"], region: str) -> Any:
    """Raises ConfigError: the AWS settings are wrong."""
    import boto3

    with of_client("SNS" if service == "sns" else "EventBridge"):
        return boto3.client(service, region_name=region, config=network(2))


@contextmanager
def _reaching(arn: str) -> Iterator[None]:
    """Whatever AWS says to the whole request: it is asked again, for nothing may be lost by a right
    that somebody took away."""
    try:
        yield
    except ClientError as error:
        raise Away(f"{arn}: {error.response.get('Error', {}).get('Code', 'error')}") from error
    except BotoCoreError as error:
        raise Away(f"{arn}: {type(error).__name__}") from error
