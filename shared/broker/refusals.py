"""What Redis's errors mean: what somebody must change, and what may come back by itself.

Knows the errors of redis-py, and two questions by which a port says whether it speaks TLS.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError

from shared.broker.connections import SentinelRefuses
from shared.broker.credentials import NoCredentials
from shared.errors import BrokerFails, BrokerRefuses, BrokerUnavailable
from shared.redis_url import RedisUrl
from shared.unreachable import causes, why_unreachable

PROBE_S = 2.0
NOEVICTION = "noeviction"

_PASSWORD = "Check the user and the password in JAMAK_REDIS_URL; percent-encode special characters."  # noqa: S105
_CLOSED = "it closed the connection", "Check that Redis is healthy, and whether the port wants TLS."
_MEMORY = "Give it more memory, or look at what else is in it; `maxmemory-policy` is noeviction."

_FULL, _REPLICA = "Redis is full and takes nothing more", "this Redis is a read-only replica"
_PRIMARY = "Name the primary in JAMAK_REDIS_URL."

_REFUSALS: tuple[tuple[type[Exception], str, str, str], ...] = (
    # Class of the error, a part of its message, what it means, what to do.
    (
        SentinelRefuses,
        "",
        "a sentinel does not let us in",
        "Check JAMAK_REDIS_SENTINEL_USERNAME and JAMAK_REDIS_SENTINEL_PASSWORD: the user and the "
        "password of the sentinels, which are not those of Redis.",
    ),
    (
        redis.AuthenticationError,
        "required",
        "Redis wants a password, and JAMAK_REDIS_URL has none",
        "Write redis://user:password@host:port/db.",
    ),
    (
        redis.AuthenticationError,
        "",
        "Redis does not know this user, or not with this password",
        _PASSWORD,
    ),
    (
        redis.exceptions.NoPermissionError,
        "",
        "Redis does not let this user do its work",
        "Grant what infra/redis/users.acl has for this role, under JAMAK_REDIS_PREFIX.",
    ),
    (
        redis.ResponseError,  # of a script
        "no permissions",
        "Redis does not let this user do its work",
        "Grant what infra/redis/users.acl has for this role, under JAMAK_REDIS_PREFIX.",
    ),
    (
        redis.ResponseError,  # the same before Redis 7.2, which does not say what it is
        "user executing the script",
        "Redis does not let this user do its work",
        "Grant what infra/redis/users.acl has for this role, under JAMAK_REDIS_PREFIX.",
    ),
    (
        redis.ResponseError,
        "nknown command",
        "Redis does not know, or does not allow, a command that we need",
        "Use Redis from 6.2 on or Valkey; a managed one must allow scripts (EVALSHA).",
    ),
    (
        redis.exceptions.InvalidResponse,
        "",
        "what listens there is no Redis",
        "Check the host and the port in JAMAK_REDIS_URL.",
    ),
    (
        redis.ResponseError,
        "DB index",
        "Redis has no database of this number",
        "Check the number at the end of JAMAK_REDIS_URL: redis://host:port/0.",
    ),
    (
        redis.exceptions.AskError,  # MOVED, too
        "",
        "this Redis is a cluster, and JAMAK_REDIS_URL speaks of one server",
        "Write redis+cluster:// in JAMAK_REDIS_URL, or rediss+cluster:// for TLS.",
    ),
    (
        redis.ResponseError,
        "cluster support disabled",
        "this Redis is no cluster",
        "Write redis:// in JAMAK_REDIS_URL, or rediss:// for TLS.",
    ),
    (
        redis.ResponseError,
        "SELECT is not allowed",
        "a cluster has no other databases",
        "Leave the number at the end of JAMAK_REDIS_URL out.",
    ),
    (
        redis.ResponseError,
        "No such master",
        "the sentinels know no primary of this name",
        "Name it in JAMAK_REDIS_MASTER_NAME.",
    ),
    (
        redis.ResponseError,
        "protected mode",
        "this Redis is in protected mode and takes no remote connections",
        "Give it a password, and that to JAMAK_REDIS_URL.",
    ),
)

_FOR_NOW: tuple[tuple[type[Exception], str, str, str], ...] = (
    (redis.exceptions.OutOfMemoryError, "", _FULL, _MEMORY),
    (redis.ResponseError, "OOM command not allowed", _FULL, _MEMORY),  # Redis 6, of a script
    (redis.exceptions.ReadOnlyError, "", _REPLICA, _PRIMARY),
    (redis.ResponseError, "READONLY", _REPLICA, _PRIMARY),  # Redis 6, of a script
    # A failover, at this very moment.
    (redis.exceptions.NoScriptError, "", "this is another Redis by now", "Wait for it."),
    (redis.ResponseError, "UNBLOCKED", "this is another Redis by now", "Wait for it."),
    (redis.exceptions.BusyLoadingError, "", "Redis is loading its data", "Wait for it."),
    (
        redis.ConnectionError,
        "max number of clients",
        "Redis takes no more connections",
        "Raise its `maxclients`.",
    ),
    (
        redis.ResponseError,
        "MISCONF",
        "Redis cannot save what it is given, and so takes nothing",
        "Look at its log, and at its disk.",
    ),
    (
        redis.ResponseError,
        "NOREPLICAS",
        "Redis has too few replicas, and so takes nothing",
        "Look at its replicas, and at its `min-replicas-to-write`.",
    ),
    (redis.ResponseError, "BUSY ", "Redis is busy with a script", "Wait for it."),
    (redis.exceptions.ClusterDownError, "", "Redis's primary is away", "Wait for it."),
    (redis.exceptions.TryAgainError, "", "Redis's primary is away", "Wait for it."),
    (
        MasterNotFoundError,
        "",
        "no sentinel names a primary that is up",
        "Wait for it; if it stays so, look at the sentinels' logs.",
    ),
    (
        NoCredentials,
        "",
        "there are no credentials for Redis",
        "Check JAMAK_REDIS_CREDENTIALS, and for AWS the role of this machine.",
    ),
)


def check_policy(memory: Mapping[str, Any]) -> str:
    """What a Redis throws away when it is full: nothing, or it is no broker.

    Args:
        memory: what `INFO memory` says.

    Raises:
        BrokerRefuses: it may throw jobs away.
    """
    policy = str(memory.get("maxmemory_policy", NOEVICTION))
    if policy != NOEVICTION:
        raise BrokerRefuses(
            f"maxmemory-policy is {policy}: Redis may throw jobs away",
            cure="CONFIG SET maxmemory-policy noeviction, and the same in its configuration.",
        )
    return policy


def not_allowed(refused: Mapping[str, redis.ResponseError], prefix: str) -> BrokerRefuses | None:
    """What a user would have to be granted; None = nothing.

    Args:
        refused: what Redis said to each command that failed, for whatever reason.
        prefix: of the keys on which they were tried.
    """
    forbidden = {
        name: str(error)
        for name, error in sorted(refused.items())
        if isinstance(error, redis.exceptions.NoPermissionError)
    }
    # A user may have one of these commands for a key of its own: then the others say what it lacks.
    if forbidden and all("key" in said.lower() for said in forbidden.values()):
        return BrokerRefuses(
            f"Redis gives this user no permission for keys that begin with {prefix}",
            cure=f"Grant it ~{prefix}*, as infra/redis/users.acl does for this role.",
        )
    if forbidden:
        return BrokerRefuses(
            f"Redis gives this user no permission to run {', '.join(forbidden)}",
            cure=f"Grant it +{' +'.join(forbidden)}, as infra/redis/users.acl does for this role.",
        )
    unknown = [name for name, error in refused.items() if "nknown command" in str(error)]
    if unknown:
        error = meaning(refused[unknown[0]])
        return BrokerRefuses(str(error), cure=error.cure)
    return None


def passes(error: redis.ResponseError) -> bool:
    """Whether the same may be taken later, of itself: the server is full, or not the primary."""
    told = meaning(error)
    return isinstance(told, BrokerUnavailable) and not isinstance(told, BrokerFails)


def is_full(error: redis.ResponseError) -> bool:
    return _FULL in str(meaning(error))


def meaning(error: BaseException, url: str | None = None) -> BrokerRefuses | BrokerUnavailable:
    """Args:
    error: of redis-py, or what was raised for it.
    url: of the Redis; with it we may ask there once more, where the error leaves it open.
    """
    bottom = next((one for one in causes(error) if isinstance(one, redis.RedisError)), error)
    for kind, part, what, cure in _REFUSALS:
        if isinstance(bottom, kind) and part in str(bottom):
            return BrokerRefuses(f"{what}: {bottom}", cure=cure)
    for kind, part, what, cure in _FOR_NOW:
        if isinstance(bottom, kind) and part in str(bottom):
            return BrokerUnavailable(f"{what}: {bottom}", cure=cure)
    if isinstance(bottom, redis.ResponseError):  # it answers, so it can be reached
        return BrokerFails(f"Redis does not do what it is asked: {bottom}")
    return _unreachable(bottom, url)


def _unreachable(error: BaseException, url: str | None) -> BrokerRefuses | BrokerUnavailable:
    last = list(causes(error))[-1]
    if isinstance(last, ssl.SSLCertVerificationError):
        return BrokerRefuses(
            f"Redis's certificate is not trusted: {last.verify_message}",
            cure="Name the CA's certificate in JAMAK_REDIS_CA_FILE, and in JAMAK_REDIS_URL the "
            "host by the name that is in Redis's certificate.",
        )
    if isinstance(last, ssl.SSLError) and last.library == "X509":
        return BrokerRefuses(
            f"JAMAK_REDIS_CA_FILE holds no certificate: {last}", cure="It has to be a PEM file."
        )
    wrong_tls = _wrong_tls(last, url)
    if wrong_tls is not None:
        return wrong_tls
    what, cure = why_unreachable(error) or _CLOSED
    return BrokerUnavailable(
        f"Redis cannot be reached: {what} ({error})",
        cure=f"{cure} It is named by JAMAK_REDIS_URL (redis:// or, for TLS, rediss://).".strip(),
    )


def _wrong_tls(last: BaseException, url: str | None) -> BrokerRefuses | None:
    if isinstance(last, ssl.SSLError):
        tls: bool | None = False
    elif url is not None and not isinstance(last, ConnectionRefusedError | socket.gaierror):
        tls = speaks_tls(url)
    else:
        tls = None
    asked = RedisUrl.parse(url).tls if url else True
    if tls is False and asked:
        return BrokerRefuses(
            "this port of Redis does not speak TLS",
            cure="Write redis:// in JAMAK_REDIS_URL, or name the port that has TLS.",
        )
    if tls is True and not asked:
        return BrokerRefuses(
            "this port of Redis speaks TLS only", cure="Write rediss:// in JAMAK_REDIS_URL."
        )
    return None


def speaks_tls(url: str) -> bool | None:
    """Whether a port speaks TLS; None: it does not say."""
    place = RedisUrl.parse(url).places[0]
    with suppress(OSError), socket.create_connection(place, PROBE_S) as plain:
        plain.settimeout(PROBE_S)
        plain.sendall(b"PING\r\n")
        if plain.recv(1) in (b"+", b"-"):
            return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
    with suppress(OSError), socket.create_connection(place, PROBE_S) as plain:
        plain.settimeout(PROBE_S)
        with context.wrap_socket(plain):
            return True
    return None
