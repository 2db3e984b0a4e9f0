"""A Redis that is there and refuses: each fault has its own error and cure, or passes by itself."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
from redis._parsers.base import BaseParser

from infra.local.procfile import ROOT
from infra.local.redis import RedisServer, start_redis
from producer.jobs.in_flight import remove
from shared.broker import proofs
from shared.broker.apps import leased_queues, reaching_redis
from shared.broker.backlog_progress import FORGOTTEN_S, NOWHERE, BacklogProgress
from shared.broker.connections import Reach
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_broker, prove_captioner, prove_remover, prove_trainer
from shared.broker.refusals import meaning, passes
from shared.errors import (
    BrokerFails,
    BrokerRefuses,
    BrokerUnavailable,
    JamakError,
    Retry,
)
from shared.settings import Settings
from tests.silent import silent_server
from tests.tls import make_certificate, tls_proxy

pytestmark = pytest.mark.integration

USERS = ROOT / "infra/redis/users.acl"
CALL = "ERR Error running script (call to f_1): @user_script:3: @user_script: 3:"


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
        prove_trainer(LeasedQueues(url, "jamak:", 30, Reach(ca_file=ca_file)))
    return caught.value


@pytest.mark.parametrize(
    ("user", "database", "said", "cure"),
    [
        (":wrong@", "0", "not with this password", "percent-encode"),
        ("nobody:pw@", "0", "does not know this user", "JAMAK_REDIS_URL"),
        ("gone:pw@", "0", "does not know this user", "JAMAK_REDIS_URL"),
        ("", "0", "wants a password", "user:password@"),
        ("weak:pw@", "0", "no permission to run blpop, del, ", "users.acl"),
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
    prove_trainer(LeasedQueues(f"rediss://{login}:{port}/0", "jamak:", 30, Reach(certificate)))


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
                partial(prove_trainer, queues),  # at its start a worker waits, and asks again
                lambda: queues.take(queues.new_lease(), ["q"]),
            ):
                with pytest.raises(BrokerUnavailable, match="replica"), reaching_redis():
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
            prove_captioner(queues)
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


def test_a_backlog_can_be_ended_on_a_full_redis(server: RedisServer) -> None:
    """Which is a way to make room."""
    queues = LeasedQueues(server.url, "ended:", 30)
    progress = BacklogProgress(queues, "b")
    assert progress.feed("q", 0, 2, ["1", "2"]) == (2, True)
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", 1)
        try:
            prove_remover(queues)
            progress.stop()
            assert progress.fed() == NOWHERE
            assert remove(queues, ["q"], lambda item: True) == 2
            progress.forget()
            BacklogProgress(queues, "new").forget()
        finally:
            admin.config_set("maxmemory", 0)
    assert BacklogProgress(queues, "new").fed() is None
    assert queues.redis.ttl("ended:backlog:b:fed") <= FORGOTTEN_S


def test_a_redis_that_may_throw_jobs_away_is_refused(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "evicted:", 30)
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(BrokerRefuses, match="allkeys-lru") as caught:
                prove_trainer(queues)
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in caught.value.cure


def test_a_sender_refuses_it_too_where_it_may_ask(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(proofs.log, "warning", lambda event, **_: warned.append(event))
    (line,) = (one for one in USERS.read_text().splitlines() if "jamak-producer" in one)
    rules = line.split()[2:]
    url = f"redis://sender:change-me-producer@127.0.0.1:{server.port}/0"
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "sender", *rules)
        prove_broker(LeasedQueues(url, "jamak:", 30))
        admin.config_set("maxmemory-policy", "volatile-ttl")
        try:
            with pytest.raises(BrokerRefuses, match="volatile-ttl"):
                prove_broker(LeasedQueues(url, "jamak:", 30))
            assert not warned
            admin.execute_command("ACL", "SETUSER", "sender", "-info")
            prove_broker(LeasedQueues(url, "jamak:", 30))
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
    assert warned == ["cannot see whether Redis may throw jobs away"]


def test_an_error_that_nobody_knows_is_no_fault_of_the_configuration(server: RedisServer) -> None:
    queues = LeasedQueues(server.url, "wrong:", 30)
    queues.redis.set("wrong:q", "no list")
    with pytest.raises(BrokerFails, match="is asked: WRONGTYPE") as caught, reaching_redis():
        queues.waiting("q")
    assert caught.value.exit_code == 1
    queues.redis.set("wrong:unacked", "no hash")  # whoever starts, waits until somebody looked
    with pytest.raises(Retry, match="WRONGTYPE"):
        prove_trainer(queues)
    assert not passes(redis.ResponseError("WRONGTYPE"))  # and nothing waits behind it


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            "ERR unknown command 'EVALSHA', with args beginning with:",
            BrokerRefuses,
            "does not know",
        ),
        ("MOVED 3999 127.0.0.1:6381", BrokerRefuses, "is a cluster"),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailable, "primary is away"),
        ("MASTERDOWN Link with MASTER is down", BrokerUnavailable, "primary is away"),
        ("TRYAGAIN Multiple keys request during rehashing", BrokerUnavailable, "primary is away"),
        ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable, "too few replicas"),
        ("BUSY Redis is busy running a script.", BrokerUnavailable, "busy with a script"),
        ("BUSY Valkey is busy running a script.", BrokerUnavailable, "busy with a script"),
        ("NOSCRIPT No matching script.", BrokerUnavailable, "another Redis"),
        ("UNBLOCKED force unblock from blocking operation", BrokerUnavailable, "another Redis"),
        # As Redis 6 says it, of a script.
        (f"{CALL} -OOM command not allowed when used memory > 'maxm'.", BrokerUnavailable, "full"),
        (
            f"{CALL} -READONLY You can't write against a read only replica.",
            BrokerUnavailable,
            "repl",
        ),
        (
            f"{CALL} The user executing the script can't run this command",
            BrokerRefuses,
            "this user",
        ),
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
