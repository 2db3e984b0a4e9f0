"""Passwords of Redis that expire, and the next ones: of AWS IAM, or of a provider that you name.

A provider is asked again and again (shared/broker/connections.py), so it keeps what is still good.
"""

import pkgutil
import threading
import time
from functools import cache
from urllib.parse import urlencode

import redis

from shared.errors import ConfigError

TOKEN_S = 900
"""How long AWS takes a token. A connection that was let in stays for twelve hours after it."""
RENEWED_S = 600
"""After so long the next one is made."""

AWS = {
    "elasticache": ("elasticache", {}),
    "elasticache-serverless": ("elasticache", {"ResourceType": "ServerlessCache"}),
    "memorydb": ("memorydb", {}),
}
"""What stands before the name -> the service that it is signed for, and what the request says."""

_CURE = (
    "Write elasticache/NAME, elasticache-serverless/NAME, memorydb/NAME, or module:Class, a "
    "CredentialProvider of redis-py that Python can import."
)


class NoCredentials(redis.ConnectionError):
    """The provider has none for now."""


class Provider(redis.CredentialProvider):
    """What a provider raises is an error of the connection: its holder tries again."""

    def __init__(self, provider: redis.CredentialProvider) -> None:
        self._provider = provider

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            return self._provider.get_credentials()
        except redis.RedisError:
            raise
        except Exception as error:
            raise NoCredentials(f"there are no credentials: {error!r}") from error


@cache
def provider_of(named: str, user: str | None, *, tls: bool) -> Provider:
    """One for the whole process.

    Args:
        named: as JAMAK_REDIS_CREDENTIALS has it.
        user: that the address names.

    Raises:
        ConfigError: there is none of that name, or the address does not go with it.
    """
    kind, slash, name = named.partition("/")
    if slash:
        if kind not in AWS or not name:
            raise ConfigError(f"JAMAK_REDIS_CREDENTIALS: {named} names none", cure=_CURE)
        if not user or not tls:
            raise ConfigError(
                "JAMAK_REDIS_URL: tokens of AWS IAM want a user and TLS",
                cure="Name a user in it, and write rediss:// or rediss+cluster://.",
            )
        return Provider(IamTokens(kind, name, user))
    try:
        made = pkgutil.resolve_name(named)()
    except Exception as error:
        raise ConfigError(
            f"JAMAK_REDIS_CREDENTIALS: {named} gives no credentials: {error}", cure=_CURE
        ) from error
    if not isinstance(made, redis.CredentialProvider):
        raise ConfigError(
            f"JAMAK_REDIS_CREDENTIALS: {named} is no CredentialProvider of redis-py", cure=_CURE
        )
    return Provider(made)


class IamTokens(redis.CredentialProvider):
    """Passwords for ElastiCache and MemoryDB: a request to connect, signed with AWS's own keys.

    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
    """

    def __init__(self, kind: str, name: str, user: str) -> None:
        self._service, self._more = AWS[kind]
        self._name, self._user = name, user
        self._lock = threading.Lock()
        self._token, self._renew_at = "", float("-inf")

    def get_credentials(self) -> tuple[str, str]:
        """Raises botocore's errors: there are no keys to sign with."""
        with self._lock:
            if time.monotonic() > self._renew_at:
                self._token = self._signed()
                self._renew_at = time.monotonic() + RENEWED_S
            return self._user, self._token

    def _signed(self) -> str:
        import boto3
        from botocore.model import ServiceId
        from botocore.signers import RequestSigner

        session = boto3.Session()
        region, keys = session.region_name, session.get_credentials()
        if keys is None or region is None:
            raise ValueError("AWS has no keys, or no region, for this machine")
        signer = RequestSigner(
            ServiceId(self._service), region, self._service, "v4", keys, session.events
        )
        asked = {"Action": "connect", "User": self._user, **self._more}
        url: str = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"https://{self._name}/?{urlencode(asked)}",
                "body": {},
                "headers": {},
                "context": {},
            },
            operation_name="connect",
            expires_in=TOKEN_S,
            region_name=region,
        )
        return url.removeprefix("https://")
