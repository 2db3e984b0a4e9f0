"""What a Redis cannot do for a while, made real: all go on by themselves, and nothing is lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from infra.local.redis import RedisServer, begin_redis, start_redis
from shared.broker.apps import caption_prefix, leased_queues, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_broker, prove_captioner
from shared.errors import BrokerUnavailable
from tests.integration.test_listen_sick_redis import queue_url
from tests.topologies import PASSWORD, Cluster, cluster, is_up
from tests.traffic import PAUSE_S, Traffic
from tests.waiting import wait_until
from tests.world import World

__all__ = ["queue_url"]
pytestmark = pytest.mark.integration

LINES = 12
PADDING = 2000
"""Keys that it has to load, 20 ms each, until it is told to hurry."""


class Sick:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: RedisServer = start_redis(folder)
        self.admin = redis.Redis.from_url(self.server.url)

    def close(self) -> None:
        self.admin.close()
        self.server.stop()


@contextmanager
def loading(sick: Sick) -> Iterator[None]:
    """It was started again, and has much to load."""
    with sick.admin.pipeline(transaction=False) as pipe:
        for number in range(PADDING):
            pipe.set(f"padding:{number}", os.urandom(512))
        pipe.execute()
    sick.admin.bgrewriteaof()  # of a log alone it answers nobody before the end
    wait_until(lambda: _saved(sick, "aof_rewrite_in_progress"), 10, "its log")
    sick.server.process.signal_group(signal.SIGTERM)
    wait_until(lambda: sick.server.process.poll() is not None, 10, "its end")
    slowly = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]
    sick.server = begin_redis(sick.folder, sick.server.port, sick.server.password, *slowly)
    try:
        yield
    finally:
        sick.admin.config_set("key-load-delay", 0)


@contextmanager
def busy(sick: Sick) -> Iterator[None]:
    """Somebody's script does not end."""
    sick.admin.config_set("lua-time-limit", 50)

    def loop() -> None:
        with redis.Redis.from_url(sick.server.url) as other, pytest.raises(redis.ResponseError):
            other.eval("while true do end", 0)

    script = threading.Thread(target=loop)
    script.start()
    try:
        yield
    finally:
        sick.admin.script_kill()
        script.join()


@contextmanager
def misconf(sick: Sick) -> Iterator[None]:
    """It cannot save: where its file should be there is a folder."""
    sick.admin.config_set("save", "3600 1000000")
    in_its_way = sick.folder / "dump.rdb"
    in_its_way.mkdir()
    sick.admin.bgsave()
    failed = lambda: sick.admin.info("persistence")["rdb_last_bgsave_status"] == "err"  # noqa: E731
    wait_until(failed, 10, "a failure to save")
    try:
        yield
    finally:
        in_its_way.rmdir()
        sick.admin.bgsave()
        wait_until(lambda: _saved(sick, "rdb_bgsave_in_progress"), 10, "its file")


def _saved(sick: Sick, under_way: str) -> bool:
    return not sick.admin.info("persistence")[under_way]


TAG = "{sick}"
"""Of all that is on the cluster."""


@contextmanager
def uncovered(three: Cluster) -> Iterator[None]:
    """Another primary is away, and a cluster serves all slots or none."""
    owner = three.owner(TAG)
    other = next(node for node in three.nodes if node is not owner)
    other.process.signal_group(signal.SIGSTOP)
    wait_until(lambda: not is_up(owner), 10, "a cluster that is down")
    try:
        yield
    finally:
        other.process.signal_group(signal.SIGCONT)


@contextmanager
def moving(three: Cluster) -> Iterator[None]:
    """Our slot is on its way to another node: some keys are here, some there."""
    slot, source = redis.crc.key_slot(TAG.encode()), three.owner(TAG)
    target = next(node for node in three.nodes if node is not source)
    here, there = (node.client.execute_command("CLUSTER MYID") for node in (source, target))
    source.client.mset({f"{TAG}a": 1, f"{TAG}b": 1})
    target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here)
    source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there)

    def move(*keys: str | bytes) -> None:
        source.client.migrate("127.0.0.1", target.port, keys, 0, 5000, auth=PASSWORD)

    move(f"{TAG}a")
    try:
        with pytest.raises(BrokerUnavailable, match="rehashing"), reaching_redis():
            LeasedQueues(three.url(), TAG, 30).redis.mget(f"{TAG}a", f"{TAG}b")
        yield
    finally:
        move(*source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000))
        for node in (target, source):
            node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", there)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        for node in made.nodes:
            node.client.config_set("cluster-node-timeout", 500)
        yield made


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.uploads.listen.LOOK_AGAIN_S", PAUSE_S)
    monkeypatch.setattr("producer.uploads.listen.WAIT_S", 1)


@pytest.mark.parametrize(
    ("cause", "said"),
    [(loading, "loading its data"), (busy, "busy with a script"), (misconf, "cannot save")],
)
def test_a_server_that_cannot_for_a_while(
    world: World,
    queue_url: str,
    tmp_path: Path,
    cause: Callable[[Sick], AbstractContextManager[None]],
    said: str,
) -> None:
    sick = Sick(tmp_path / "redis")
    try:
        there = replace(world, redis_url=sick.server.url, redis_prefix=cause.__name__)
        endure(Traffic(there, queue_url, LINES), cause(sick), said)
    finally:
        sick.close()


@pytest.mark.parametrize("cause", [uncovered, moving])
def test_a_cluster_that_cannot_for_a_while(
    world: World,
    queue_url: str,
    three: Cluster,
    cause: Callable[[Cluster], AbstractContextManager[None]],
) -> None:
    there = replace(world, redis_url=three.url(), redis_prefix=f"{TAG}-{cause.__name__}")
    endure(Traffic(there, queue_url, LINES), cause(three), "primary is away")


def endure(traffic: Traffic, cause: AbstractContextManager[None], said: str) -> None:
    """Through the cause and behind it: nothing ends, nothing is lost, nothing comes twice."""
    traffic.upload("a", "b")
    with traffic.flowing():
        traffic.wait_until_all_hold_one()
        with cause:
            traffic.upload("c", "d")
            traffic.wait_until_all_hear(said)
            traffic.gate.set()
            *_, hasty = traffic.takers
            wait_until(lambda: sum(hasty.written.values()), 10, "a job that ends meanwhile")
            assert not hasty.leases.flush(0.3)
            settings = traffic.world.settings
            for prove in (prove_captioner, prove_broker):
                with pytest.raises(BrokerUnavailable, match=said) as caught:
                    prove(leased_queues(settings, caption_prefix(settings)))
                assert type(caught.value) is BrokerUnavailable  # that is: it waits
        traffic.wait_until_all_is_done()
    traffic.check()
