"""The settings of the broker: where it is, who we are there, and how long a lease lasts.

Knows how they are written, and nothing of connections.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.redis_url import RedisUrl

PREFIX = "JAMAK_"


class BrokerSettings(BaseSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may hold a password
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="The broker: `redis://user:password@host:port/db`, or `rediss://` for TLS. It "
        "must have `maxmemory-policy noeviction`, and an append-only file. What each role may do "
        "is in `infra/redis/users.acl`. `redis+cluster://host:port,host:port` are nodes of a "
        "cluster, `sentinel://host:port;sentinel://host:port` are sentinels; with TLS "
        "`rediss+cluster://` and `rediss+sentinel://` ([redis.md](redis.md)).",
    )
    redis_prefix: str = Field(
        "jamak",
        description="Prefix of every Redis key. Captions live under `<prefix>:`, training under "
        "`<prefix>-train:`; in a cluster under `{<prefix>}:` and `{<prefix>-train}:`.",
    )
    redis_ca_file: Path | None = Field(
        None, description="CA certificate for `rediss://`; without it the system's store is used."
    )
    redis_master_name: str = Field(
        "mymaster", description="By which name the sentinels know the primary."
    )
    redis_sentinel_username: str | None = Field(
        None, description="The user of the sentinels themselves, if they want one."
    )
    redis_sentinel_password: SecretStr | None = Field(
        None, description="The password of the sentinels themselves, if they want one."
    )
    redis_credentials: str | None = Field(
        None,
        description="Where a password comes from that expires, instead of `JAMAK_REDIS_URL`, which "
        "then names the user only: `elasticache/NAME`, `elasticache-serverless/NAME` or "
        "`memorydb/NAME` are tokens of AWS IAM; `module:Class` is a `CredentialProvider` of "
        "redis-py.",
    )
    visibility_timeout_s: float = Field(
        30.0,
        ge=2,
        description="How long the job of a worker that fell silent stays with it. Each running job "
        "is renewed four times in it, so jobs may take hours. The same for every process.",
    )

    @field_validator("redis_url", mode="before")
    @classmethod
    def _redis_url_names_a_server(cls, value: Any) -> Any:
        RedisUrl.parse(str(value.get_secret_value() if isinstance(value, SecretStr) else value))
        return value

    @field_validator("redis_ca_file")
    @classmethod
    def _redis_ca_file_is_there(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @property
    def redis(self) -> RedisUrl:
        """Where the broker is."""
        return RedisUrl.parse(self.redis_url.get_secret_value())
