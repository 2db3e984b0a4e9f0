"""Connections to the broker that find the primary, and are let in again before they expire.

All keys of a prefix lie on one server, also in a cluster: its primary. Behind sentinels and in a
cluster that server changes; so each new connection asks where it is, and one that was told that it
is no longer the right one is closed. What is sent is never sent twice by itself. Knows nothing of
what is kept there.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MasterDownError, ReadOnlyError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError

from shared import telemetry
from shared.broker.credentials import provider_of
from shared.broker_settings import BrokerSettings
from shared.redis_url import Place, RedisUrl

TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": 5,
    "socket_timeout": 5,
    "socket_keepalive": True,
}
LOOK_TIMEOUT_S = 2
"""Of a question to a sentinel or to a node: there are others."""
SHOW_AGAIN_S = 10.0
"""How often a connection asks whether its credentials are still those of its provider."""
MOST_NODES = 1000
"""Of a cluster, remembered."""
_IN_SCRIPT = re.compile(r"-([A-Z]{2,20} .*)", re.DOTALL)

Find = Callable[[], Place]
Ask = Callable[[Place], tuple[list[Place], list[Place]]]
"""The primary, if this place knows one, and what other places may be asked."""

log = telemetry.get_logger("jamak.redis")


class SentinelRefuses(redis.AuthenticationError):
    """A sentinel does not let us in; its password is not that of Redis."""


class TooFewReplicas(redis.ResponseError):
    """A primary that writes nothing: perhaps its replicas have another one by now."""


@dataclass(frozen=True)
class Reach:
    """How the servers of an address are reached, besides what the address says."""

    ca_file: Path | None = None
    """CA certificate, of TLS."""
    master_name: str = "mymaster"
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    credentials: str | None = None
    """Where a password comes from that expires (shared/broker/credentials.py)."""

    @classmethod
    def of(cls, settings: BrokerSettings) -> "Reach":
        password = settings.redis_sentinel_password
        return cls(
            settings.redis_ca_file,
            settings.redis_master_name,
            settings.redis_sentinel_username,
            password.get_secret_value() if password else None,
            settings.redis_credentials,
        )


def connected(url: RedisUrl, prefix: str, reach: Reach, *, single: bool = False) -> redis.Redis:
    """A client of the server that has the keys of a prefix. It connects when it is used.

    Args:
        single: with one connection, which is there at once.

    Raises:
        ConfigError: there are no such credentials.
        redis.RedisError: with `single`, it cannot be reached.
    """
    how = _login(url, reach)
    if url.kind != "server":
        how["find"] = primary_of(url, prefix, reach)
    # Nor is any of these tried again: the connection is closed, for another server is the primary.
    elsewhere = [ReadOnlyError, TooFewReplicas, AskError, ClusterDownError, MasterDownError]
    return redis.Redis.from_url(
        url.of_one(url.places[0], login=reach.credentials is None),
        connection_class=SecureLink if url.tls else Link,
        health_check_interval=10,
        # No retries in here: a command that was sent may have been executed, and each caller
        # knows what that means for it.
        retry=Retry(NoBackoff(), 0),
        retry_on_error=elsewhere,
        single_connection_client=single,
        **TIMEOUTS,
        **how,
    )


def primary_of(url: RedisUrl, prefix: str, reach: Reach) -> Find:
    """Who says where the primary is. Raises redis.RedisError: nobody does."""
    return Finder(url.places, _asked(url, prefix, reach))


def named_by(url: RedisUrl, prefix: str, reach: Reach) -> dict[Place, Place | redis.RedisError]:
    """Which primary each of the sentinels or nodes of an address names, or why it names none."""
    ask = _asked(url, prefix, reach)
    named: dict[Place, Place | redis.RedisError] = {}
    for place in url.places:
        try:
            found, _ = ask(place)
            named[place] = found[0] if found else ClusterDownError("it names none")
        except redis.RedisError as error:
            named[place] = error
    return named


def _asked(url: RedisUrl, prefix: str, reach: Reach) -> Ask:
    if url.kind == "sentinels":
        return lambda place: ([_ask_sentinel(url, place, reach)], [])
    slot = key_slot(prefix.encode())
    return lambda place: _ask_node(url, place, reach, slot)


class Finder:
    """Asks one place after the other, each time another one first: one may be wrong for long."""

    def __init__(self, places: Sequence[Place], ask: Ask) -> None:
        self._ask = ask
        self._places = deque(places, maxlen=MOST_NODES)
        self._named = set(places)
        """Those that the settings name are never forgotten."""
        self._lock = threading.Lock()

    def __call__(self) -> Place:
        with self._lock:
            self._places.rotate(-1)
            places = [self._places[-1], *list(self._places)[:-1]]
        failure: redis.RedisError = MasterNotFoundError("nobody names a primary that is up")
        for place in places:
            try:
                found, others = self._ask(place)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                failure = error
                continue
            self._remember(others)
            if found:
                return found[0]
        raise failure

    def _remember(self, others: list[Place]) -> None:
        with self._lock:
            known = set(others) | self._named
            gone = [place for place in self._places if place not in known] if others else []
            for place in gone:
                self._places.remove(place)
            self._places.extend(place for place in others if place not in self._places)


def _ask_sentinel(url: RedisUrl, place: Place, reach: Reach) -> Place:
    login = {"username": reach.sentinel_username, "password": reach.sentinel_password}
    try:
        with _asking(url, place, {**_tls(url, reach), **login}, login=False) as client:
            told: Any = client.execute_command("SENTINEL MASTER", reach.master_name)
    except redis.AuthenticationError as error:
        raise SentinelRefuses(*error.args) from error
    if told["is_sdown"] or told["is_odown"] or not told["is_master"]:
        raise MasterNotFoundError(f"the primary {reach.master_name} is down")
    return told["ip"], int(told["port"])


def _ask_node(
    url: RedisUrl, place: Place, reach: Reach, slot: int
) -> tuple[list[Place], list[Place]]:
    with _asking(url, place, _login(url, reach), login=reach.credentials is None) as client:
        ranges: Any = client.execute_command("CLUSTER SLOTS")
    found: list[Place] = []
    others: dict[Place, None] = {}
    for first, last, *nodes in ranges:
        # A node that has no host is the one that was asked.
        places = [(node[0].decode() if node[0] else place[0], int(node[1])) for node in nodes]
        others |= dict.fromkeys(places)
        if first <= slot <= last:
            found.append(places[0])
    return found, list(others)


def _asking(url: RedisUrl, place: Place, how: dict[str, Any], *, login: bool) -> redis.Redis:
    return redis.Redis.from_url(
        url.of_one(place, login=login).rpartition("/")[0],  # a sentinel has no database
        retry=Retry(NoBackoff(), 0),
        single_connection_client=False,
        **{**TIMEOUTS, "socket_connect_timeout": LOOK_TIMEOUT_S, "socket_timeout": LOOK_TIMEOUT_S},
        **how,
    )


def _tls(url: RedisUrl, reach: Reach) -> dict[str, Any]:
    return {"ssl_ca_certs": str(reach.ca_file)} if reach.ca_file and url.tls else {}


def _login(url: RedisUrl, reach: Reach) -> dict[str, Any]:
    how = _tls(url, reach)
    if reach.credentials is not None:
        how["credential_provider"] = provider_of(reach.credentials, url.user, tls=url.tls)
    return how


class Link(redis.Connection):
    """Args:
    find: where to connect to; without it, where the address says.
    """

    def __init__(self, *, find: Find | None = None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._find, self._options = find, options
        self._shown: tuple[str, ...] | None = None
        self._show_again_at = 0.0

    def _connect(self) -> Any:
        if self._find is not None:
            self.host, self.port = self._find()
        self._shown, self._show_again_at = None, time.monotonic() + SHOW_AGAIN_S
        return super()._connect()  # type: ignore[no-untyped-call]

    def check_health(self) -> None:
        """Before each command."""
        super().check_health()  # type: ignore[no-untyped-call]
        provider = self.credential_provider
        if provider is not None and time.monotonic() > self._show_again_at:
            self._show_again(provider)

    def _show_again(self, provider: redis.CredentialProvider) -> None:
        """Show the credentials of now, if they are others, before the server closes this.

        If they are refused it goes on with what it showed before.
        """
        self._show_again_at = time.monotonic() + SHOW_AGAIN_S
        try:
            credentials = provider.get_credentials()
            if credentials == self._shown:
                return
            # A refusal here would end this connection, so another one tries first.
            other = type(self)(find=self._find, **self._options)
            other.connect()  # type: ignore[no-untyped-call]
            other.disconnect()  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            log.warning("Redis does not take new credentials yet", message=str(error))
            return
        self.send_command("AUTH", *credentials, check_health=False)  # type: ignore[no-untyped-call]
        self.read_response()
        self._shown = credentials

    def read_response(self, *args: Any, **how: Any) -> Any:
        try:
            return super().read_response(*args, **how)
        except AskError as error:  # MOVED, too
            if self._find is None:
                raise
            raise ClusterDownError(f"the keys are moved to another server: {error}") from error
        except redis.ResponseError as error:
            raise _named(_out_of_script(error)) from error.__cause__


class SecureLink(Link, redis.SSLConnection):
    """Over TLS."""


def _out_of_script(error: redis.ResponseError) -> redis.ResponseError:
    """Redis before 7 wraps what a script's command met: `ERR Error running script …: -OOM …`."""
    if not str(error).startswith("Error running script"):
        return error
    found = _IN_SCRIPT.search(str(error))
    if found is None:
        return error
    told: redis.ResponseError = DefaultParser.parse_error(found[1])  # type: ignore[no-untyped-call]
    return told


def _named(error: redis.ResponseError) -> redis.ResponseError:
    """redis-py has no class for it."""
    return TooFewReplicas(str(error)) if str(error).startswith("NOREPLICAS") else error
